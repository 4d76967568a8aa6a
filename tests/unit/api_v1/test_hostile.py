"""Bad input: each a clear error, nothing half done."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from raysvc.domain.admission import Admission, Amend, Verdict
from tests.unit.api_v1.world import World

OK = {"entrypoint": "true"}
HUGE = {"resources": {"cpus": 1e12}, "scale": {"want": 1000, "max": 1000}}


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({}, "spec", "is missing"),
        ({"spec": {}}, "spec.entrypoint", "is missing"),
        ({"spec": {"entrypoint": ""}}, "spec.entrypoint", "at least 1 character"),
        ({"spec": {"entrypoint": 7}}, "spec.entrypoint", "valid string"),
        ({"spec": {"entrypiont": "x", "entrypoint": "x"}}, "spec.entrypiont", "did you mean 'entrypoint'?"),
        ({"spec": OK, "projekt": "x"}, "projekt", "There may be: spec, id"),
        ({"spec": {**OK, "resources": {"cpu": 1}}}, "spec.resources.cpu", "did you mean 'cpus'?"),
        ({"spec": {**OK, "resources": {"cpus": -1}}}, "spec.resources.cpus", "greater than or equal to 0"),
        ({"spec": {**OK, "resources": {"cpus": True}}}, "spec.resources.cpus", "valid number"),
        ({"spec": {**OK, "priority": "5"}}, "spec.priority", "valid integer"),
        ({"spec": {**OK, "resources": {"memory": 10**30}}}, "spec.resources.memory", "less than or equal to"),
        ({"spec": {**OK, "shape": {"workers": [HUGE, HUGE]}}}, "spec", "more than any cluster"),
        ({"spec": {**OK, "resources": {"cpus": "many"}}}, "spec.resources.cpus", "valid number"),
        ({"spec": {**OK, "code": {"kind": "payload", "nmae": "x"}}}, "spec.code.nmae", "did you mean 'name'?"),
        ({"spec": {**OK, "code": {"kind": "floppy"}}}, "spec.code", "'payload', 'image', 'archive'"),
        ({"spec": {**OK, "shape": {"workers": [{"nam": "x"}]}}}, "spec.shape.workers.0.nam", "did you mean 'name'?"),
        ({"spec": {**OK, "timeout_s": 0}}, "spec.timeout_s", "greater than 0"),
        ({"spec": {**OK, "metadata": {"a": 1}}}, "spec.metadata.a", "valid string"),
        ({"spec": {**OK, "queue": "Not A Queue"}}, "spec.queue", "lower-case letters"),
        ({"spec": OK, "id": "a/b"}, "id", "letters, digits"),
        ({"spec": OK, "id": "../../etc"}, "id", "letters, digits"),
        ({"spec": OK, "id": "x" * 300}, "id", "at most 128"),
        ({"spec": OK, "id": ""}, "id", "letters, digits"),
        ({"spec": OK, "id": "ü"}, "id", "letters, digits"),
        ({"spec": OK, "id": "-rf"}, "id", "letters, digits"),
        ({"spec": "x"}, "spec", "should be an object"),
        ([], "body", "should be an object"),
        ("x", "body", "should be an object"),
        (None, "body", "is empty"),
    ],
)
async def test_a_wrong_submission_names_its_field(world: World, body: Any, field: str, said: str) -> None:
    reply = await world.call("POST", "/v1/jobs", json=body)
    problem = reply.json()
    assert (reply.status_code, problem["code"], problem["field"]) == (400, "invalid", field)
    assert said in problem["detail"]
    assert (await world.call("GET", "/v1/jobs")).json()["items"] == []


async def test_several_wrong_fields_are_all_named(world: World) -> None:
    reply = await world.call("POST", "/v1/jobs", json={"spec": {"entrypoint": 1, "x": 2, "priority": "high"}, "y": 3})
    fields = {error["field"] for error in reply.json()["errors"]}
    assert fields == {"spec.entrypoint", "spec.x", "spec.priority", "y"}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"spec": {"entrypoint": "x"}',
        b'{"spec": {"entrypoint": "x", "timeout_s": NaN}}',
        b'{"spec": {"entrypoint": "x", "runtime_env": {"a": Infinity}}}',
        b'{"spec": {"entrypoint": "x", "runtime_env": {"a": 1e999}}}',
        b'{"spec": {"entrypoint": "x", "resources": {"custom": {"a": 1e999}}}}',
        b'{"spec": {"entrypoint": "a\\u0000b"}}',
        b'{"spec": {"entrypoint": "x", "runtime_env": {"a\\u0000b": 1}}}',
        b'{"spec": {"entrypoint": "x", "runtime_env": {"a": "\\ud800"}}}',
        b'{"spec": {"entrypoint": "a\x00b"}}',
        b'{"spec": {"entrypoint": "x", "priority": ' + b"9" * 400 + b"}}",
        b"[" * 100_000,
        b'{"spec": {"entrypoint": "x", "runtime_env": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}}",
    ],
)
async def test_what_is_no_json_of_ours_is_refused(world: World, raw: bytes) -> None:
    reply = await world.call("POST", "/v1/jobs", content=raw, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid"), raw[:60]
    assert (await world.call("GET", "/v1/jobs")).json()["items"] == []


async def test_text_that_only_looks_like_a_nul_passes(world: World) -> None:
    raw = json.dumps({"spec": {"entrypoint": "echo '\\u0000'"}}).encode()
    reply = await world.call("POST", "/v1/jobs", content=raw, headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["spec"]["entrypoint"]) == (201, "echo '\\u0000'")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", "x/"]
)
async def test_a_body_that_is_not_called_json_is_refused(world: World, kind: str) -> None:
    reply = await world.call(
        "POST", "/v1/jobs", content=b'{"spec": {"entrypoint": "x"}}', headers={"Content-Type": kind}
    )
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize("name", ["a%2Fb", "a/b", "%2e%2e", "..", "x" * 300, "a%20b", "%C3%BC", "a%0ab", "*", "'--"])
async def test_an_id_that_is_none_is_a_clear_error(world: World, name: str) -> None:
    for method, path in (
        ("GET", f"/v1/jobs/{name}"),
        ("POST", f"/v1/jobs/{name}/stop"),
        ("DELETE", f"/v1/jobs/{name}"),
    ):
        reply = await world.call(method, path)
        assert reply.status_code in {400, 404, 405}, path
        assert reply.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/jobs/", "/v1//jobs", "/v1/nope", "/v2/jobs", "/.env", "/jobs/"])
async def test_a_path_that_is_none_is_not_found(world: World, path: str) -> None:
    reply = await world.call("GET", path)
    assert reply.status_code == 404, path
    problem = reply.json()
    assert (problem["type"], problem["code"]) == ("urn:raysvc:problem:not_found", "not_found")
    assert problem["request_id"] == reply.headers["x-request-id"]


async def test_a_method_that_is_none_says_which_there_are(world: World) -> None:
    reply = await world.call("PUT", "/v1/jobs")
    assert (reply.status_code, reply.json()["code"]) == (405, "method_not_allowed")
    assert set(reply.headers["allow"].split(", ")) & {"GET", "POST"}


@pytest.mark.parametrize("name", ["a-b", "9a", "a" * 129, "a.b"])
async def test_a_secrets_name_is_a_variables_name(world: World, name: str) -> None:
    reply = await world.call("PUT", f"/v1/secrets/{name}", json={"value": "x"})
    assert (reply.status_code, reply.json()["field"]) == (400, "name")


@pytest.mark.parametrize("body", [{"role": "king", "owner": "x"}, {"role": "viewer"}, {"role": "viewer", "owner": ""}])
async def test_a_wrong_token_is_refused(world: World, body: dict[str, str]) -> None:
    assert (await world.call("POST", "/v1/tokens", json=body)).status_code == 400


async def test_a_year_that_no_calendar_has_is_refused(world: World) -> None:
    body = {"role": "viewer", "owner": "x", "expires_at": "0001-01-01T00:00:00+14:00"}
    assert (await world.call("POST", "/v1/tokens", json=body)).status_code == 400


async def test_of_very_many_wrong_fields_the_first_are_named(world: World) -> None:
    spec = {**OK, **{f"field{number}": 1 for number in range(5000)}}
    problem = (await world.call("POST", "/v1/jobs", json={"spec": spec})).json()
    assert len(problem["errors"]) == 20
    assert problem["detail"].endswith("and many more.")
    query = "&".join(f"q{number}=1" for number in range(5000))
    assert len((await world.call("GET", f"/v1/version?{query}")).json()["errors"]) == 20


async def test_a_policys_amendment_is_held_to_the_same_as_a_users_text(world: World) -> None:
    class Meddler:
        name = "meddler"

        async def review(self, _admission: Admission) -> Sequence[Verdict]:
            return [Amend(rule="stamp", message="sets a label", changes={"labels.team": "a\nb"})]

    world.platform.intake._policies = (Meddler(),)  # noqa: SLF001 as if it were loaded
    reply = await world.call("POST", "/v1/jobs", json={"spec": OK})
    assert (reply.status_code, reply.json()["rule"]) == (400, "meddler/stamp")
    assert "Policy meddler, rule stamp: labels holds the character U+000A" in reply.json()["detail"]
