"""A service in Ray Serve's words, and back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from raysvc.backends.local.serveapp import applications, name_of, observation, uid_of
from raysvc.domain.observation import Seen
from raysvc.domain.reason import ReasonCode
from raysvc.domain.resources import Resources
from raysvc.domain.service import EngineSpec, ReplicaScale, Service, ServiceSpec, deploy, revise, scale

NOW = datetime(2026, 1, 1, tzinfo=UTC)
UID = "0" * 16
PROGRAM, FOLDER = Path("/area/programs/serving-1"), Path("/area/services") / UID


def service(**fields: Any) -> Service:
    spec = ServiceSpec(model="/models/tiny", **fields)
    return deploy(spec, name="chat", uid=UID, project="team", owner="me", now=NOW)[0]


def rendered(record: Service) -> list[dict[str, Any]]:
    return applications(record, "abc", PROGRAM, FOLDER)


def test_one_revision_is_one_application() -> None:
    (application,) = rendered(
        service(engine=EngineSpec(max_model_len=256), resources=Resources(cpus=2, memory=1 << 30))
    )
    assert application == {
        "name": f"raysvc-abc-{UID}-1",
        "route_prefix": None,
        "import_path": "replica:app",
        "runtime_env": {"working_dir": "local:///area/programs/serving-1"},
        "args": {
            "service": UID,
            "revision": 1,
            "model": "/models/tiny",
            "names": ["team/chat"],
            "engine": {
                "tensor_parallel": 1,
                "pipeline_parallel": 1,
                "max_model_len": 256,
                "kv_cache_dtype": "auto",
                "dtype": "auto",
                "enforce_eager": False,
                "trust_remote_code": False,
            },
            "host": "127.0.0.1",
            "gpus": 0,
            "memory": 1 << 30,
            "link": f"/area/services/{UID}/link.json",
            "folder": f"/area/services/{UID}/work",
            "start_timeout_s": 1800,
            "drain_s": 30.0,
        },
        "deployments": [
            {
                "name": "replica",
                "num_replicas": 1,
                "max_ongoing_requests": 100,
                "ray_actor_options": {"num_cpus": 2, "num_gpus": 0, "resources": {}, "memory": 1 << 30},
                "health_check_period_s": 5,
                "health_check_timeout_s": 15,
                "graceful_shutdown_timeout_s": 60.0,
            }
        ],
    }


def test_while_a_revision_takes_over_both_are_there() -> None:
    first = service().model_copy(update={"serving": 1})
    second = revise(first, ServiceSpec(model="/models/other"), NOW, actor="me")[-1][0]
    models = {each["name"]: each["args"]["model"] for each in rendered(second)}
    assert models == {f"raysvc-abc-{UID}-2": "/models/other", f"raysvc-abc-{UID}-1": "/models/tiny"}


@pytest.mark.parametrize("wanted", [ReplicaScale(min=3, max=3), ReplicaScale(min=1, max=4)])
def test_another_number_of_replicas_starts_no_engine_anew(wanted: ReplicaScale) -> None:
    before = service()
    after = scale(before, wanted, NOW, actor="me")[-1][0]
    (old,), (new,) = rendered(before), rendered(after)
    assert {**old, "deployments": []} == {**new, "deployments": []}
    assert old["deployments"] != new["deployments"]


def test_between_two_bounds_serve_scales_by_requests_in_flight_and_keeps_one() -> None:
    (application,) = rendered(service(replicas=ReplicaScale(min=0, max=4, target_ongoing_requests=8)))
    (deployment,) = application["deployments"]
    assert "num_replicas" not in deployment
    assert deployment["autoscaling_config"] == {
        "min_replicas": 1,
        "max_replicas": 4,
        "initial_replicas": 1,
        "target_ongoing_requests": 8,
        "upscale_delay_s": 10.0,
        "downscale_delay_s": 300.0,
        "policy": {"policy_function": "replica:by_requests"},
    }


@pytest.mark.parametrize("name", ["other", f"raysvc-xyz-{UID}-1", f"raysvc-abc-{UID}", f"raysvc-abc-{UID}-x"])
def test_only_our_own_applications_are_ours(name: str) -> None:
    assert uid_of("abc", name_of("abc", UID, 12)) == UID
    assert uid_of("abc", name) is None


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ("NOT_STARTED", Seen.PENDING),
        ("DEPLOYING", Seen.PENDING),
        ("RUNNING", Seen.RUNNING),
        ("UNHEALTHY", Seen.PENDING),
        ("DELETING", Seen.PENDING),
        ("DEPLOY_FAILED", Seen.FAILED),
        ("NEW_WORD", Seen.UNKNOWN),
    ],
)
def test_each_of_serves_words_has_a_meaning_and_a_new_one_moves_nothing(status: str, seen: Seen) -> None:
    assert observation({"status": status, "message": "", "deployments": {}}).seen is seen


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", ReasonCode.OUT_OF_MEMORY),
        ("ValueError: No available memory for the cache blocks.", ReasonCode.OUT_OF_MEMORY),
        ("The model in /m cannot be read by user nobody", ReasonCode.MODEL_NOT_FOUND),
        ("ValueError: something else", ReasonCode.ENGINE_FAILED),
    ],
)
def test_the_engines_last_words_say_why_it_failed(words: str, cause: ReasonCode) -> None:
    found = observation({"status": "DEPLOY_FAILED", "message": "", "deployments": {"replica": {"message": words}}})
    assert (found.cause, found.message) == (cause, words)
