"""What is safe is tried again, and nothing else; a refusal comes back as the error that the server raised."""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from raysvc import errors
from raysvc.client.client import Client
from raysvc.client.problem import _BY_CODE

if TYPE_CHECKING:
    from tests.unit.client.conftest import Scripted

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def client(server: "Scripted", naps: list[float]) -> Client:
    return Client(server.url, "raysvc_t", sleep=naps.append)


@pytest.fixture(autouse=True)
def closing(client: Client) -> Any:
    with client:
        yield


def test_a_dropped_submit_is_sent_again_under_the_same_key(server: "Scripted", client: Client, job_json: Make) -> None:
    server.says(server.drops(), server.drops(), {**job_json(), "warnings": []})
    job = client.jobs.submit(entrypoint="true")
    assert job.id == "raysubmit_1"
    assert len({asked.headers["idempotency-key"] for asked in server.asked}) == 1
    assert len({asked.body for asked in server.asked}) == 1
    assert len(server.asked) == 3


def test_two_submits_have_two_keys_and_a_given_key_is_sent_as_it_is(
    server: "Scripted", client: Client, job_json: Make
) -> None:
    server.says({**job_json(), "warnings": []})
    client.jobs.submit(entrypoint="true")
    client.jobs.submit(entrypoint="true")
    client.jobs.submit(entrypoint="true", idempotency_key="nightly-1")
    keys = [asked.headers["idempotency-key"] for asked in server.asked]
    assert len(set(keys)) == 3
    assert keys[2] == "nightly-1"


def test_a_server_that_restarts_is_waited_for(
    server: "Scripted", client: Client, job_json: Make, naps: list[float]
) -> None:
    server.says(server.problem(503, code="unavailable", detail="starting"), server.drops(), job_json())
    assert client.jobs.get("raysubmit_1").phase == "QUEUED"
    assert naps == [0.2, 0.6]


def test_a_change_that_is_not_safe_is_sent_once(server: "Scripted", client: Client) -> None:
    server.says(server.drops())
    with pytest.raises(errors.Unavailable, match="broke off"):
        client.projects.create("a")
    assert len(server.asked) == 1


def test_it_gives_up_in_the_end(server: "Scripted", client: Client, naps: list[float]) -> None:
    server.says(server.problem(503, code="unavailable", detail="The database does not answer."))
    with pytest.raises(errors.Unavailable, match="The database does not answer"):
        client.clusters.list()
    assert len(server.asked) == 4
    assert sum(naps) < 3


def test_a_full_disk_is_not_asked_again(server: "Scripted", client: Client) -> None:
    server.says(server.problem(507, code="disk_full", detail="full"))
    with pytest.raises(errors.DiskFull):
        client.jobs.submit(entrypoint="true")
    assert len(server.asked) == 1


def test_nobody_there_is_said_with_the_address(naps: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", sleep=naps.append) as client,
        pytest.raises(errors.Unavailable, match=rf"http://127.0.0.1:{port} cannot be reached.*raysvc doctor"),
    ):
        client.version()


@pytest.mark.parametrize("code", sorted(_BY_CODE))
def test_each_code_is_its_error_again(server: "Scripted", client: Client, code: str) -> None:
    kind = _BY_CODE[code]
    server.says(server.problem(kind.status, code=code, detail="why", field="spec.name", rule="p/r", request_id="req1"))
    with pytest.raises(kind) as caught:
        client.tokens.revoke("x")
    assert type(caught.value) is kind
    assert caught.value.message.startswith("why")
    assert ("req1" in caught.value.message) == (kind.status >= 500)
    assert (caught.value.field, caught.value.rule) == ("spec.name", "p/r")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.Invalid),
        (401, errors.Unauthenticated),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (413, errors.Refused),
        (421, errors.Refused),
        (500, errors.RaysvcError),
        (502, errors.Unavailable),
    ],
)
def test_a_plain_reply_is_an_error_by_its_status(
    server: "Scripted", client: Client, status: int, kind: type[errors.RaysvcError]
) -> None:
    server.says(server.raw(b"no such luck", status, Content_Type="text/plain"))
    with pytest.raises(kind, match=f"answered {status}: no such luck") as caught:
        client.version()
    assert type(caught.value) is kind


def test_what_is_not_raysvc_is_told_from_it(server: "Scripted", client: Client) -> None:
    server.says(server.raw(b"<html>hello</html>", Content_Type="text/html"))
    with pytest.raises(errors.Unavailable, match="not raysvc's API"):
        client.version()
    server.says(server.raw(b"", 302, Location="https://sso"))
    with pytest.raises(errors.Unavailable, match="a redirect"):
        client.version()


def test_a_newer_servers_fields_are_left_out_and_an_alien_shape_is_named(
    server: "Scripted", client: Client, job_json: Make
) -> None:
    newer = job_json(cost={"usd": 1}, spec={"entrypoint": "true", "budget": 5})
    server.says(newer)
    assert client.jobs.get("x").spec.entrypoint == "true"
    server.says(job_json(attempt="many"))
    with pytest.raises(errors.Unavailable, match=r"attempt: .*much older"):
        client.jobs.get("x")


def test_the_token_goes_in_a_header_and_into_no_error(server: "Scripted", client: Client) -> None:
    server.says(server.problem(401, code="unauthenticated", detail="not known"))
    with pytest.raises(errors.Unauthenticated) as caught:
        client.whoami()
    assert server.asked[0].headers["authorization"] == "Bearer raysvc_t"
    assert "raysvc_t" not in f"{caught.value!r}{client.server!r}"


def test_a_proxy_of_the_environment_never_sees_a_local_servers_token(
    server: "Scripted", monkeypatch: pytest.MonkeyPatch
) -> None:
    server.says({"version": "1"})
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with Client(server.url) as client:
        assert client.version() == "1"


def test_names_stay_within_their_segment_of_the_path(server: "Scripted", client: Client) -> None:
    server.says(server.problem(404, code="not_found", detail="none"))
    with pytest.raises(errors.NotFound):
        client.jobs.get("../tokens?x=1#y")
    assert server.asked[0].path == "/v1/jobs/..%2Ftokens%3Fx%3D1%23y?project=default"
