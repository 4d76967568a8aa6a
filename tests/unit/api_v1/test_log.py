"""Logs by offset, and followed."""

import asyncio

import pytest

from raysvc.control.logbook import separator
from raysvc.domain.job import Job, JobPhase
from tests.unit.api_v1.world import World

P = JobPhase


async def running(world: World) -> Job:
    job = await world.submit()
    return await world.move(job.id, P.STARTING, P.RUNNING)


async def test_a_log_is_read_piece_by_piece(world: World) -> None:
    job = await running(world)
    await world.write(job, b"0123456789")
    first = await world.call("GET", f"/v1/jobs/{job.id}/logs?limit=4")
    assert (first.content, first.headers["x-next-offset"], first.headers["x-log-complete"]) == (b"0123", "4", "false")
    assert first.headers["content-type"] == "text/plain; charset=utf-8"
    rest = await world.call("GET", f"/v1/jobs/{job.id}/logs?offset=4")
    assert (rest.content, rest.headers["x-next-offset"], rest.headers["x-log-complete"]) == (b"456789", "10", "false")
    await world.move(job.id, P.SUCCEEDED)
    end = await world.call("GET", f"/v1/jobs/{job.id}/logs?offset=10")
    assert (end.content, end.headers["x-next-offset"], end.headers["x-log-complete"]) == (b"", "10", "true")


@pytest.mark.parametrize(
    ("offset", "content", "following"), [(-3, b"789", "10"), (-99, b"0123456789", "10"), (99, b"", "10")]
)
async def test_offsets_beyond_the_log_are_its_ends(world: World, offset: int, content: bytes, following: str) -> None:
    job = await running(world)
    await world.write(job, b"0123456789")
    reply = await world.call("GET", f"/v1/jobs/{job.id}/logs?offset={offset}")
    assert (reply.content, reply.headers["x-next-offset"]) == (content, following)


async def test_one_attempt_can_be_read_alone(world: World) -> None:
    job = await running(world)
    await world.write(job, b"first")
    await world.move(job.id, P.QUEUED, P.STARTING, P.RUNNING)
    await world.write(job, b"second", attempt=2)
    whole = (await world.call("GET", f"/v1/jobs/{job.id}/logs")).content
    assert whole == b"first" + separator(2) + b"second"
    one = await world.call("GET", f"/v1/jobs/{job.id}/logs?attempt=1")
    assert (one.content, one.headers["x-log-complete"]) == (b"first", "true")
    two = await world.call("GET", f"/v1/jobs/{job.id}/logs?attempt=2&offset=2&limit=3")
    assert (two.content, two.headers["x-next-offset"], two.headers["x-log-complete"]) == (b"con", "5", "false")
    assert (await world.call("GET", f"/v1/jobs/{job.id}/logs?attempt=3")).status_code == 404


async def test_a_log_is_nothing_that_a_browser_would_run(world: World) -> None:
    job = await running(world)
    await world.write(job, b"<script>alert(1)</script>")
    headers = (await world.call("GET", f"/v1/jobs/{job.id}/logs")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]


async def test_a_followed_log_comes_as_it_grows_and_says_its_end(world: World) -> None:
    job = await running(world)
    await world.write(job, b"one\r\n")
    async with world.stream(f"/v1/jobs/{job.id}/logs?follow=true") as stream:
        first = await stream.next()
        assert first is not None
        assert (first.id, first.event, first.data) == ("5", "log", {"offset": 5, "text": "one\r\n"})
        await world.write(job, "zwei – drei\n".encode())
        second = await stream.next()
        assert second is not None
        assert second.data == {"offset": 19, "text": "zwei – drei\n"}
        await world.move(job.id, P.SUCCEEDED)
        last = await stream.next()
        assert last is not None
        assert (last.event, last.data) == ("end", {"phase": "SUCCEEDED"})
        assert await stream.next() is None


async def test_a_cut_stream_goes_on_where_it_was_cut(world: World) -> None:
    job = await running(world)
    await world.write(job, b"one two")
    await world.move(job.id, P.SUCCEEDED)
    async with world.stream(f"/v1/jobs/{job.id}/logs?follow=true&offset=1", {"Last-Event-ID": "4"}) as stream:
        assert [sent.data for sent in await stream.rest()] == [{"offset": 7, "text": "two"}, {"phase": "SUCCEEDED"}]


@pytest.mark.parametrize("given", ["-1", "zwei", "9" * 30, ""])
async def test_a_last_event_id_that_is_none_of_ours_counts_for_nothing(world: World, given: str) -> None:
    job = await running(world)
    await world.write(job, b"one two")
    await world.move(job.id, P.SUCCEEDED)
    async with world.stream(f"/v1/jobs/{job.id}/logs?follow=true&offset=-3", {"Last-Event-ID": given}) as stream:
        assert (await stream.rest())[0].data == {"offset": 7, "text": "two"}


async def test_a_character_cut_in_two_by_a_write_arrives_whole(world: World) -> None:
    job = await running(world)
    dash = "–".encode()
    await world.write(job, b"a" + dash[:1])
    async with world.stream(f"/v1/jobs/{job.id}/logs?follow=true") as stream:
        first = await stream.next()
        assert first is not None
        assert (first.id, first.data["text"]) == ("1", "a")
        await world.write(job, dash[1:])
        second = await stream.next()
        assert second is not None
        assert (second.id, second.data["text"]) == ("4", "–")


async def test_bytes_that_are_no_text_are_shown_as_such(world: World) -> None:
    job = await running(world)
    await world.write(job, b"ok\xff")
    await world.move(job.id, P.FAILED)
    async with world.stream(f"/v1/jobs/{job.id}/logs?follow=true") as stream:
        assert "".join(sent.data.get("text", "") for sent in await stream.rest()) == "ok�"


async def test_a_stopping_server_cuts_streams_without_an_end(world: World) -> None:
    job = await running(world)
    await world.write(job, b"one")
    async with world.stream(f"/v1/jobs/{job.id}/logs?follow=true") as stream:
        assert await stream.next() is not None
        world.front.state.stopping.set()
        assert await stream.next() is None


async def test_a_stream_ends_when_its_token_is_revoked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysvc.api.sse.PING_S", 0.05)
    job = await running(world)
    bearer = await world.bearer()
    async with world.stream(f"/v1/jobs/{job.id}/logs?follow=true", bearer) as stream:
        await asyncio.sleep(0)
        await world.platform.gate.revoke((await world.call("GET", "/v1/whoami", as_=bearer)).json()["token_id"])
        assert await stream.next() is None


async def test_follow_takes_no_attempt(world: World) -> None:
    job = await running(world)
    reply = await world.call("GET", f"/v1/jobs/{job.id}/logs?follow=true&attempt=1")
    assert (reply.status_code, reply.json()["field"]) == (400, "attempt")


async def test_events_are_listed_and_followed(world: World) -> None:
    job = await running(world)
    listed = (await world.call("GET", f"/v1/jobs/{job.id}/events")).json()["items"]
    assert [event["kind"] for event in listed] == ["submitted", "moved", "moved"]
    assert [
        event["seq"] for event in (await world.call("GET", f"/v1/jobs/{job.id}/events?after=2")).json()["items"]
    ] == [3]
    async with world.stream(f"/v1/jobs/{job.id}/events?follow=true&after=2") as stream:
        first = await stream.next()
        assert first is not None
        assert (first.id, first.event, first.data["kind"]) == ("3", "event", "moved")
        await world.move(job.id, P.SUCCEEDED)
        rest = await stream.rest()
        assert [(sent.event, sent.id) for sent in rest] == [("event", "4"), ("end", "4")]
        assert rest[-1].data == {"phase": "SUCCEEDED"}


async def test_events_outlive_their_job_under_its_uid(world: World) -> None:
    job = await running(world)
    await world.move(job.id, P.SUCCEEDED)
    await world.call("DELETE", f"/v1/jobs/{job.id}")
    assert (await world.call("GET", f"/v1/jobs/{job.id}/events")).status_code == 404
    events = (await world.call("GET", f"/v1/jobs/{job.uid}/events")).json()["items"]
    assert (events[-1]["kind"], events[-1]["actor"]) == ("deleted", "ada")
