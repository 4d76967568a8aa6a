"""The values of a job's environment never leave."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.dashboard.runtime_env_redaction import redact_runtime_env_deep

from raysvc.api.cluster.redact import PLACEHOLDER, redact, redacted
from raysvc.errors import Unavailable

SECRET = "hf_very_secret"
ENV: dict[str, Any] = {"env_vars": {"TOKEN": SECRET}, "pip": ["torch"]}
ROWS = [
    {"runtime_env": ENV},
    {"serialized_runtime_env": json.dumps(ENV)},
    {"runtime_env_info": {"serialized_runtime_env": json.dumps(ENV)}},
    {"serializedRuntimeEnv": json.dumps({"envVars": {"TOKEN": SECRET}})},
    {"applications": {"app": {"deployed_app_config": {"runtime_env": ENV}}}},
    {"serialized_runtime_env": "{not json " + SECRET},
    {"config": {"runtime_env": json.dumps(ENV)}},
    {"env_vars": SECRET},
]


@pytest.mark.parametrize("row", ROWS)
def test_no_form_of_a_runtime_env_keeps_a_value(row: dict[str, Any]) -> None:
    out = redacted(json.dumps({"data": {"result": [row]}}).encode())
    assert SECRET.encode() not in out


def test_names_and_the_rest_stay() -> None:
    assert redact({"runtime_env": ENV, "x": 1}) == {
        "runtime_env": {"env_vars": {"TOKEN": PLACEHOLDER}, "pip": ["torch"]},
        "x": 1,
    }


def test_it_takes_out_all_that_ray_itself_would() -> None:
    for row in ROWS[:3]:
        assert redact(row) == redact(redact_runtime_env_deep(row))


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000])
def test_what_cannot_be_read_does_not_pass(body: bytes) -> None:
    with pytest.raises(Unavailable):
        redacted(body)


KEYS = st.text().filter(lambda key: "env" not in key.lower())


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(KEYS, x)
    )
)
def test_other_json_passes_as_it_is(value: Any) -> None:
    assert redact(value) == value
