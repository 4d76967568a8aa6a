"""What Ray's clients send becomes a JobSpec, or is refused as Ray's own server refuses it."""

import importlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysvc.domain.job import JobSpec, Retry
from raysvc.domain.metadata import RaySubmission, from_ray
from raysvc.domain.resources import Resources
from raysvc.errors import Invalid


def submit(**body: Any) -> RaySubmission:
    return from_ray({"entrypoint": "python train.py", **body})


def refused(**body: Any) -> Invalid:
    with pytest.raises(Invalid) as caught:
        submit(**body)
    return caught.value


def test_the_smallest_body_is_a_job_with_our_defaults() -> None:
    assert submit() == RaySubmission(spec=JobSpec(entrypoint="python train.py"))


def test_a_body_of_rays_client_is_taken_field_by_field() -> None:
    runtime_env = {"working_dir": "gcs://_ray_pkg_0123456789abcdef.zip", "env_vars": {"A": "1"}}
    taken = submit(
        submission_id="raysubmit_Abc123",
        runtime_env=runtime_env,
        metadata={"team": "vision"},
        entrypoint_num_cpus=2,
        entrypoint_num_gpus=0.5,
        entrypoint_memory=1 << 30,
        entrypoint_resources={"special": 1},
        entrypoint_label_selector={"ray.io/accelerator-type": "H100"},
    )
    assert taken.submission_id == "raysubmit_Abc123"
    assert taken.idempotency_key is None
    assert taken.spec == JobSpec(
        entrypoint="python train.py",
        runtime_env=runtime_env,
        metadata={"team": "vision"},
        resources=Resources(cpus=2, gpus=0.5, memory=1 << 30, custom={"special": 1}),
        label_selector={"ray.io/accelerator-type": "H100"},
    )


def test_null_fields_count_as_absent_as_in_ray() -> None:
    assert submit(submission_id=None, runtime_env=None, metadata=None, entrypoint_num_cpus=None, zzz=None) == submit()


def test_the_deprecated_job_id_is_the_submission_id_unless_both_are_given() -> None:
    assert submit(job_id="old").submission_id == "old"
    assert submit(job_id="old", submission_id="new").submission_id == "new"
    assert submit(submission_id="", job_id="").submission_id is None


def test_our_keys_ride_in_metadata_and_the_metadata_stays_as_it_was() -> None:
    metadata = {
        "job_name": "nightly run",
        "raysvc.priority": "-5",
        "raysvc.queue": "nightly",
        "raysvc.timeout_s": "90.5",
        "raysvc.retries": "7",
        "raysvc.idempotency_key": "run 2026-01-01",
        "raysvc.label.team": "vision",
        "raysvc.label.example.com/cost-center": "42",
        "other": "x",
    }
    taken = submit(metadata=metadata)
    spec = taken.spec
    assert taken.idempotency_key == "run 2026-01-01"
    assert spec.metadata == metadata
    assert (spec.name, spec.priority, spec.queue, spec.timeout_s) == ("nightly run", -5, "nightly", 90.5)
    assert spec.retry == Retry(user=7, infrastructure=7)
    assert spec.labels == {"team": "vision", "example.com/cost-center": "42"}


def test_asking_for_few_retries_does_not_lower_those_for_lost_machines() -> None:
    assert submit(metadata={"raysvc.retries": "1"}).spec.retry == Retry(user=1, infrastructure=3)
    assert submit(metadata={"raysvc.retries": "0"}).spec.retry == Retry(user=0, infrastructure=3)


def test_the_kind_of_driver_is_a_key_of_ours() -> None:
    assert submit(metadata={"raysvc.driver": "warm"}).spec.driver == "warm"
    error = refused(metadata={"raysvc.driver": "cold"})
    assert error.field == "metadata.raysvc.driver"
    assert "'ray' or 'warm'" in error.message


@pytest.mark.parametrize("key", ["raysvc.prioritty", "raysvc.", "raysvc.label.", "raysvc.label", "raysvc.Priority"])
def test_an_unknown_key_of_ours_is_refused_with_those_there_are(key: str) -> None:
    error = refused(metadata={key: "1"})
    assert repr(key) in error.message
    assert "raysvc.priority, raysvc.queue, raysvc.timeout_s, raysvc.retries, raysvc.idempotency_key" in error.message
    assert "raysvc.label.<name>" in error.message
    assert error.field == "metadata"


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("raysvc.priority", "high", "must be a whole number written as text, got 'high'"),
        ("raysvc.priority", "1.5", "must be a whole number"),
        ("raysvc.priority", "1_000", "must be a whole number"),
        ("raysvc.priority", "", "must be a whole number"),
        ("raysvc.priority", "9" * 5000, "must be a whole number"),
        ("raysvc.priority", "1001", "less than or equal to 1000"),
        ("raysvc.queue", "Night Shift", "lower-case letters, digits and '-', got 'Night Shift'"),
        ("raysvc.timeout_s", "1h", "must be a number of seconds"),
        ("raysvc.timeout_s", "0", "greater than 0"),
        ("raysvc.timeout_s", "nan", "less than or equal to 31536000"),
        ("raysvc.timeout_s", "inf", "less than or equal to 31536000"),
        ("raysvc.retries", "-1", "greater than or equal to 0"),
        ("raysvc.retries", "101", "less than or equal to 100"),
        ("raysvc.idempotency_key", "", "1 to 255 printable characters"),
        ("raysvc.idempotency_key", "x" * 256, "1 to 255 printable characters, got 256"),
        ("raysvc.idempotency_key", "a\r\nb", "1 to 255 printable characters"),
        ("job_name", "x" * 129, "at most 128 characters"),
    ],
)
def test_a_bad_value_is_refused_by_its_key(key: str, value: str, says: str) -> None:
    error = refused(metadata={key: value})
    assert error.field == f"metadata.{key}"
    assert key in error.message
    assert says in error.message
    assert len(error.message) < 400


def test_an_unknown_field_is_refused_in_rays_words() -> None:
    error = refused(queue="x")
    assert error.message == "JobSubmitRequest.__init__() got an unexpected keyword argument 'queue'"
    assert error.field == "queue"


@pytest.mark.parametrize("body", [None, [], "text", 1, True])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    with pytest.raises(Invalid, match="must be a JSON object"):
        from_ray(body)


WRONG_TYPES = {
    "entrypoint": (1, "entrypoint must be a string, got <class 'int'>"),
    "submission_id": (1, "submission_id must be a string if provided, got <class 'int'>"),
    "job_id": ([], "job_id must be a string if provided, got <class 'list'>"),
    "runtime_env": ("x", "runtime_env must be a dict, got <class 'str'>"),
    "metadata": ([1], "metadata must be a dict, got <class 'list'>"),
    "entrypoint_num_cpus": ("1", "entrypoint_num_cpus must be a number, got <class 'str'>"),
    "entrypoint_num_gpus": ({}, "entrypoint_num_gpus must be a number, got <class 'dict'>"),
    "entrypoint_memory": (1.5, "entrypoint_memory must be an integer, got <class 'float'>"),
    "entrypoint_resources": ("x", "entrypoint_resources must be a dict, got <class 'str'>"),
    "entrypoint_label_selector": ("x", "entrypoint_label_selector must be a dict, got <class 'str'>"),
}


@pytest.mark.parametrize(("field", "value", "says"), [(field, *rest) for field, rest in WRONG_TYPES.items()])
def test_a_wrong_type_is_refused_by_its_field_in_rays_words(field: str, value: Any, says: str) -> None:
    error = refused(**{field: value})
    assert error.message == says
    assert error.field == field


@pytest.mark.ray
@pytest.mark.parametrize(("field", "value"), [(field, value) for field, (value, _) in WRONG_TYPES.items()])
def test_rays_own_server_says_the_same(field: str, value: Any) -> None:
    request = importlib.import_module("ray.dashboard.modules.job.common").JobSubmitRequest
    with pytest.raises(TypeError) as caught:
        request(**{"entrypoint": "x", field: value})
    assert str(caught.value) == WRONG_TYPES[field][1]


@pytest.mark.ray
def test_our_fields_are_those_of_rays_request() -> None:
    common = importlib.import_module("ray.dashboard.modules.job.common")
    with pytest.raises(TypeError) as caught:
        common.JobSubmitRequest(entrypoint="x", queue="y")
    assert str(caught.value) == refused(queue="y").message
    with pytest.raises(TypeError) as caught:
        common.JobSubmitRequest()
    with pytest.raises(Invalid) as ours:
        from_ray({})
    assert str(caught.value) == ours.value.message
    for name in common.JobSubmitRequest.__dataclass_fields__:
        assert submit(**{name: None} if name != "entrypoint" else {}) == submit()


def test_values_in_maps_are_checked_and_named() -> None:
    assert refused(metadata={"a": 1}).message == "metadata values must be strings, got <class 'int'> for 'a'"
    assert "entrypoint_resources values must be numbers" in refused(entrypoint_resources={"a": "1"}).message
    assert "entrypoint_label_selector values must be strings" in refused(entrypoint_label_selector={"a": 1}).message
    assert "must be a number" in refused(entrypoint_num_cpus=True).message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entrypoint_num_cpus", -1),
        ("entrypoint_num_gpus", float("inf")),
        ("entrypoint_num_cpus", float("nan")),
        ("entrypoint_num_cpus", 10**400),
        ("entrypoint_memory", -1),
        ("entrypoint_resources", {"a": -1}),
        ("entrypoint_resources", {"a": float("nan")}),
        ("entrypoint", ""),
        ("entrypoint", "x" * 65537),
        ("entrypoint", "\ud800"),
    ],
)
def test_impossible_amounts_and_texts_are_refused_by_rays_name_of_the_field(field: str, value: Any) -> None:
    error = refused(**{field: value})
    assert error.field is not None
    assert error.field.startswith(field)
    assert error.message.startswith(field)


@pytest.mark.parametrize(
    "job_id", ["a/b", "../x", "a b", "é", ".hidden", "-x", "a\n", "a" * 129, "a" * 300, "\ud800", "%2e"]
)
def test_an_id_that_cannot_stand_in_a_url_is_refused_with_what_may(job_id: str) -> None:
    error = refused(submission_id=job_id)
    assert error.field == "submission_id"
    assert "1 to 128 letters, digits, '_', '.' and '-'" in error.message
    assert f"this one has {len(job_id)} characters" in error.message
    assert len(error.message) < 300


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("runtime_env", "says"),
    [
        (nested(70), "nested deeper than 64 levels"),
        (nested(900), "nested deeper than 64 levels"),
        ({"a": [float("nan")]}, "a[] is nan"),
        ({"a": {"b": float("-inf")}}, "a.b is -inf"),
        ({"a": "\ud800"}, "a is not valid Unicode"),
        ({"\udfff": 1}, "not valid Unicode"),
        ({"a": {1: 2}}, "keys must be text"),
        ({"a": b"x"}, "is a bytes"),
    ],
)
def test_a_runtime_env_that_could_not_be_kept_is_refused(runtime_env: Any, says: str) -> None:
    error = refused(runtime_env=runtime_env)
    assert error.field == "runtime_env"
    assert says in error.message
    assert len(error.message) < 300


def test_a_deep_but_sane_runtime_env_survives_being_kept() -> None:
    spec = submit(runtime_env=nested(60)).spec
    assert JobSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("where", ["metadata", "entrypoint_label_selector"])
def test_text_that_no_database_takes_is_refused_everywhere(where: str) -> None:
    assert refused(**{where: {"a": "\ud800"}}).field == where
    assert refused(**{where: {"\ud800": "a"}}).field == where


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)
FIELDS = [*WRONG_TYPES, "unknown"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_body_is_taken_and_can_be_kept_or_is_invalid(body: dict[str, Any]) -> None:
    try:
        taken = from_ray(body)
    except Invalid as error:
        json.dumps({"detail": error.message, "field": error.field}).encode()
        return
    assert JobSpec.model_validate_json(taken.spec.model_dump_json()) == taken.spec
