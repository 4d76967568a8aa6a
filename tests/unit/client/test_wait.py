"""Waiting at a server that holds its replies: each look asks for news beyond the last, and none is a busy loop."""

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from raysvc.client.client import Client
from raysvc.domain.job import JobPhase

if TYPE_CHECKING:
    from tests.unit.client.conftest import Answer, Scripted

Make = Callable[..., dict[str, Any]]


@pytest.fixture
def client(server: "Scripted", naps: list[float]) -> Iterator[Client]:
    with Client(server.url, "raysvc_t", "team-a", sleep=naps.append) as made:
        yield made


def tagged(server: "Scripted", job: dict[str, Any], version: int) -> "Answer":
    return server.raw(json.dumps(job).encode(), Content_Type="application/json", ETag=f'W/"{version}"')


def test_looks_follow_the_changes_without_a_pause(
    server: "Scripted", client: Client, job_json: Make, naps: list[float]
) -> None:
    phases = ("QUEUED", "STARTING", "RUNNING", "SUCCEEDED")
    server.says(*(tagged(server, job_json(phase=phase), version) for version, phase in enumerate(phases)))
    assert client.jobs.wait("j").phase is JobPhase.SUCCEEDED
    assert naps == []
    sent = [(asked.headers.get("prefer"), asked.headers.get("if-none-match")) for asked in server.asked]
    assert sent == [(None, None), ("wait=2", 'W/"0"'), ("wait=2", 'W/"1"'), ("wait=2", 'W/"2"')]


def test_a_server_that_names_versions_and_holds_nothing_is_not_overrun(
    server: "Scripted", client: Client, job_json: Make, naps: list[float]
) -> None:
    same = [tagged(server, job_json(phase="RUNNING"), 1)] * 4
    server.says(*same, tagged(server, job_json(phase="SUCCEEDED"), 2))
    client.jobs.wait("j")
    assert len(naps) == 3


def test_nothing_is_held_beyond_the_callers_own_patience(
    server: "Scripted", client: Client, job_json: Make, naps: list[float]
) -> None:
    server.says(tagged(server, job_json(), 1))
    with pytest.raises(TimeoutError):
        client.jobs.wait("j", timeout=0.1)
    assert all("prefer" not in asked.headers for asked in server.asked)
    assert naps == []
