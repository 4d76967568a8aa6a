"""A job as Ray's HTTP calls: what is sent, and what is only named until the moment of sending."""

from datetime import UTC, datetime
from typing import Any

import pytest

from raysvc.backends.rayjob.body import Place, fill, package_references, render, secret_names, vet
from raysvc.domain.job import Job, JobSpec, submit
from raysvc.errors import Invalid

PLACE = Place("/area/jobs/u/checkpoint", "/area/jobs/u/output", "server-1")
PACKAGE = "_ray_pkg_0123456789abcdef.zip"
UID = "0" * 16


def job(attempt: int = 1, **spec: Any) -> Job:
    made, _ = submit(
        JobSpec.model_validate({"entrypoint": "python train.py", **spec}),
        job_id="raysubmit_1",
        uid=UID,
        project="vision",
        owner="ada",
        now=datetime(2026, 11, 24, tzinfo=UTC),
    )
    return made.model_copy(update={"attempt": attempt})


def test_a_plain_job_is_one_call() -> None:
    assert render(job(), PLACE).model_dump() == {
        "format": "http",
        "documents": (
            {
                "method": "POST",
                "path": "/api/jobs/",
                "body": {
                    "submission_id": f"job-{UID}-1",
                    "entrypoint": "python train.py",
                    "runtime_env": {
                        "env_vars": {
                            "PYTHONUNBUFFERED": "1",
                            "RAYSVC_JOB_ID": "raysubmit_1",
                            "RAYSVC_PROJECT": "vision",
                            "RAYSVC_ATTEMPT": "1",
                            "RAYSVC_CHECKPOINT_DIR": "/area/jobs/u/checkpoint",
                            "RAYSVC_OUTPUT_DIR": "/area/jobs/u/output",
                        }
                    },
                    "metadata": {
                        "job_name": "raysubmit_1",
                        "raysvc.job_id": "raysubmit_1",
                        "raysvc.project": "vision",
                        "raysvc.instance": "server-1",
                    },
                },
            },
        ),
    }


def test_everything_a_job_can_say_goes_along() -> None:
    full = job(
        attempt=3,
        name="night run",
        runtime_env={
            "working_dir": f"gcs://{PACKAGE}",
            "py_modules": [f"gcs://{PACKAGE}", "https://example.com/lib.zip"],
            "pip": ["six"],
            "env_vars": {"COLOUR": "blue", "RAYSVC_ATTEMPT": "99", "URL": "https://u:${secret:PW}@host"},
        },
        metadata={"team": "vision", "job_submission_id": "somebody-elses"},
        resources={"cpus": 0.5, "gpus": 1, "memory": 1 << 30, "custom": {"licence": 1}},
        label_selector={"zone": "a"},
        secrets={"HF_TOKEN": "HUGGING_FACE"},
    )
    upload, call = render(full, PLACE).documents
    assert upload["method"] == "PUT"
    assert upload["path"] == f"/api/packages/gcs/${{package:{PACKAGE}}}"
    body = call["body"]
    assert body["submission_id"] == f"job-{UID}-3"
    assert body["runtime_env"]["working_dir"] == f"gcs://${{package:{PACKAGE}}}"
    assert body["runtime_env"]["py_modules"] == [f"gcs://${{package:{PACKAGE}}}", "https://example.com/lib.zip"]
    assert body["runtime_env"]["pip"] == ["six"]
    variables = body["runtime_env"]["env_vars"]
    assert variables["COLOUR"] == "blue"
    assert variables["RAYSVC_ATTEMPT"] == "3"
    assert variables["HF_TOKEN"] == "${secret:HUGGING_FACE}"
    assert variables["URL"] == "https://u:${secret:PW}@host"
    assert body["metadata"]["team"] == "vision"
    assert body["metadata"]["job_name"] == "night run"
    assert "job_submission_id" not in body["metadata"]
    assert {key: value for key, value in body.items() if key.startswith("entrypoint_")} == {
        "entrypoint_num_cpus": 0.5,
        "entrypoint_num_gpus": 1,
        "entrypoint_memory": 1 << 30,
        "entrypoint_resources": {"licence": 1},
        "entrypoint_label_selector": {"zone": "a"},
    }
    assert set(secret_names(body["runtime_env"])) == {"HUGGING_FACE", "PW"}
    assert package_references(body["runtime_env"]) == [("package", PACKAGE)]


def test_references_are_filled_in_at_the_moment_of_sending() -> None:
    env = {
        "working_dir": f"gcs://${{package:{PACKAGE}}}",
        "py_modules": ["gcs://${payload:train_lm}", "https://u:${secret:PW}@host/x.zip"],
        "config": {"setup_timeout_seconds": 60},
        "env_vars": {"A": "${secret:PW}-${secret:PW}", "B": "${HOME}"},
    }
    uris = {("package", PACKAGE): "file:///area/a.zip", ("payload", "train_lm"): "gcs://_ray_pkg_1.zip"}
    # A secret's value is text, whatever it looks like.
    assert fill(env, {"PW": r"${secret:PW}\1"}, uris) == {
        "working_dir": "file:///area/a.zip",
        "py_modules": ["gcs://_ray_pkg_1.zip", r"https://u:${secret:PW}\1@host/x.zip"],
        "config": {"setup_timeout_seconds": 60},
        "env_vars": {"A": r"${secret:PW}\1-${secret:PW}\1", "B": "${HOME}"},
    }


@pytest.mark.parametrize(
    ("code", "working_dir"),
    [
        ({"kind": "payload", "name": "train_lm"}, "gcs://${payload:train_lm}"),
        ({"kind": "archive", "uri": f"gcs://{PACKAGE}"}, f"gcs://${{package:{PACKAGE}}}"),
        ({"kind": "archive", "uri": "https://example.com/code.zip"}, "https://example.com/code.zip"),
    ],
)
def test_code_becomes_the_working_dir(code: dict[str, str], working_dir: str) -> None:
    body = render(job(code=code), PLACE).documents[-1]["body"]
    assert body["runtime_env"]["working_dir"] == working_dir


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"code": {"kind": "image", "image": "python:3.12"}}, "code.kind"),
        ({"code": {"kind": "payload", "name": "a"}, "runtime_env": {"working_dir": f"gcs://{PACKAGE}"}}, "code"),
        ({"runtime_env": {"env_vars": {"A": 1}}}, "runtime_env.env_vars"),
        ({"runtime_env": {"env_vars": ["A=1"]}}, "runtime_env.env_vars"),
        ({"runtime_env": {"working_dir": "gcs://../../etc"}}, "runtime_env.working_dir"),
    ],
)
def test_what_ray_would_choke_on_is_refused_with_its_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        render(job(**spec), PLACE)
    assert caught.value.field == field
    with pytest.raises(Invalid) as vetted:
        vet(job(**spec).spec)
    assert vetted.value.message == caught.value.message


def test_a_job_without_an_attempt_cannot_be_rendered() -> None:
    with pytest.raises(Invalid):
        render(job(attempt=0), PLACE)
