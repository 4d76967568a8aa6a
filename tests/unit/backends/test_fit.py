"""Which jobs a warm driver takes, and which field keeps the others away."""

from datetime import UTC, datetime
from typing import Any

import pytest

from raysvc.backends.local.pool.fit import check
from raysvc.backends.rayjob.body import Place, render
from raysvc.domain.job import Job, JobSpec, submit
from raysvc.errors import Invalid

PACKAGE = "gcs://_ray_pkg_0123456789abcdef.zip"
PLACE = Place("/checkpoint", "/output", "server-1")


def job(**spec: Any) -> Job:
    made, _ = submit(
        JobSpec.model_validate({"entrypoint": "python main.py", "driver": "warm", **spec}),
        job_id="j",
        uid="0" * 16,
        project="vision",
        owner="ada",
        now=datetime(2026, 11, 24, tzinfo=UTC),
    )
    return made.model_copy(update={"attempt": 1})


def checked(**spec: Any) -> None:
    made = job(**spec)
    check(made, render(made, PLACE).documents[-1]["body"]["runtime_env"])


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"runtime_env": {"env_vars": {"A": "b"}, "working_dir": PACKAGE, "excludes": ["*.pt"], "pip": []}},
        {"code": {"kind": "archive", "uri": PACKAGE}},
        {"code": {"kind": "payload", "name": "train_lm"}},
        {"secrets": {"TOKEN": "TOKEN"}, "shape": {"workers": [{"name": "w"}]}},
    ],
)
def test_what_a_pool_can_do_itself_is_taken(spec: dict[str, Any]) -> None:
    checked(**spec)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"resources": {"cpus": 1}}, "resources.cpus"),
        ({"resources": {"memory": 1}}, "resources.memory"),
        ({"resources": {"custom": {"licence": 1}}}, "resources.custom"),
        ({"label_selector": {"zone": "a"}}, "label_selector"),
        ({"runtime_env": {"pip": ["six"]}}, "runtime_env.pip"),
        ({"runtime_env": {"py_modules": [PACKAGE]}}, "runtime_env.py_modules"),
        ({"runtime_env": {"image_uri": "python:3.12"}}, "runtime_env.image_uri"),
        ({"runtime_env": {"env_vars": {"A=B": "c"}}}, "runtime_env.env_vars"),
        ({"runtime_env": {"something_new": True}}, "runtime_env.something_new"),
        ({"runtime_env": {"working_dir": "https://example.com/code.zip"}}, "runtime_env.working_dir"),
        ({"code": {"kind": "archive", "uri": "s3://bucket/code.zip"}}, "runtime_env.working_dir"),
    ],
)
def test_the_field_that_needs_rays_own_job_server_is_named(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        checked(**spec)
    assert caught.value.field == field
    assert 'Leave out driver "warm"' in caught.value.message or field == "runtime_env.env_vars"


def test_a_record_of_the_default_driver_is_one_that_the_version_before_reads() -> None:
    assert "driver" not in JobSpec(entrypoint="true").model_dump()
    warm = JobSpec(entrypoint="true", driver="warm")
    assert JobSpec.model_validate(warm.model_dump(mode="json")) == warm
