"""Webhooks over real sockets: what is sent, what is believed, and every way in which the other side can misbehave."""

import asyncio
import gzip
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from raysvc.domain.admission import Admission, Amend, Deny, Verdict, Warn
from raysvc.domain.job import JobSpec
from raysvc.policies import load
from raysvc.policies.call import Call, trust
from raysvc.policies.webhook import Webhook, signature

from .conftest import NOON, StandingClock
from .peer import ASKED, KEY, Behaviour, answer, ask, serving, webhook


async def test_the_admission_goes_out_as_json_signed_with_the_key(tmp_path: Path) -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        assert await ask(tmp_path, server.url) == []
    [(request, headers, body)] = server.requests
    assert request == "POST /hook?token=t0ken HTTP/1.1"
    assert Admission.model_validate_json(body) == ASKED
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"127.0.0.1:{server.port}"
    # What a receiver does, written out.
    stamp, mac = (part.split("=", 1)[1] for part in headers["x-raysvc-signature"].split(","))
    assert int(stamp) == int(NOON.timestamp())
    assert mac == hmac.new(KEY.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()


def test_the_signature_covers_time_and_body() -> None:
    assert signature(b"k", 1, b"{}") == "t=1,v1=" + hmac.new(b"k", b"1.{}", "sha256").hexdigest()
    assert (
        len({signature(b"k", 1, b"a"), signature(b"k", 2, b"a"), signature(b"j", 1, b"a"), signature(b"k", 1, b"b")})
        == 4
    )


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"verdict": "allow", "message": "fine"}, []),
        ({"verdict": "deny", "message": "too dear"}, [Deny(rule="cost-check", message="too dear")]),
        ({"verdict": "warn", "message": "dear"}, [Warn(rule="cost-check", message="dear")]),
        (
            {"verdict": "amend", "message": "priced", "changes": {"labels.price": "7", "priority": -1}},
            [Amend(rule="cost-check", message="priced", changes={"labels.price": "7", "priority": -1})],
        ),
        ({"verdict": "amend", "changes": {"priority": 0}}, []),
        ({"verdict": "deny"}, [Deny(rule="cost-check", message="The webhook refused the job and gave no reason.")]),
        ({"verdict": "deny", "message": "a\r\nX: b"}, [Deny(rule="cost-check", message="a  X: b")]),
    ],
)
async def test_each_verdict_is_taken_as_it_is_meant(
    tmp_path: Path, reply: dict[str, Any], expected: list[Verdict]
) -> None:
    async with serving(answer(reply)) as server:
        assert await ask(tmp_path, server.url) == expected


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-A: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)
    writer.close()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def half(writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"verdict": "allow"}')
    await writer.drain()


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        await writer.drain()


async def noise(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
    await writer.drain()


ALLOW = b'{"verdict": "allow"}'
MISBEHAVIOUR: dict[str, tuple[Behaviour, str]] = {
    "never answers": (silent, "did not answer within 0.4 s"),
    "drips a body": (drip, "did not answer within 0.4 s"),
    "drips headers": (drip_headers, "did not answer within 0.4 s"),
    "hangs up": (hang_up, "the call failed (RemoteProtocolError"),
    "hangs up half-way": (half, "the call failed (RemoteProtocolError"),
    "speaks no HTTP": (noise, "the call failed (RemoteProtocolError"),
    "never ends": (endless, "its reply is larger than 1 MiB"),
    "large": (answer(ALLOW + b" " * (1 << 20)), "its reply is larger than 1 MiB"),
    "no content": (answer(b"", "204 No Content"), "answered with status 204"),
    "an error": (answer(ALLOW, "500 Oops"), "answered with status 500"),
    "empty": (answer(b""), "its reply is not valid"),
    "no JSON": (answer(b"<html>"), "its reply is not valid: Invalid JSON"),
    "not an object": (answer(b'["allow"]'), "its reply is not valid"),
    "deep": (answer(b'{"verdict": "amend", "changes": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}"), "is not valid"),
    "zipped": (answer(gzip.compress(ALLOW), headers="Content-Encoding: gzip\r\n"), "its reply is not valid"),
    "another word": (answer({"verdict": "yes"}), "verdict Input should be 'allow', 'deny', 'warn' or 'amend'"),
    "a misspelt field": (answer({"verdict": "amend", "change": {"priority": 1}}), "change Extra inputs"),
    "an amend without changes": (answer({"verdict": "amend"}), "`changes` belong to an amend"),
    "a deny with changes": (answer({"verdict": "deny", "changes": {"priority": 1}}), "`changes` belong to an amend"),
    "changes that do not fit": (
        answer({"verdict": "amend", "changes": {"priority": 10_000}}),
        "Rule cost-check cannot set priority: Input should be less than or equal to 1000",
    ),
    "changes of nothing": (answer({"verdict": "amend", "changes": {"nonsense": 1}}), "a job has no such field"),
}


@pytest.mark.parametrize(("behave", "why"), MISBEHAVIOUR.values(), ids=MISBEHAVIOUR)
async def test_whatever_a_webhook_does_it_is_closed_or_open_as_its_file_says(
    tmp_path: Path, behave: Behaviour, why: str
) -> None:
    loop = asyncio.get_running_loop()
    timeout_s = 0.4 if "within 0.4 s" in why else 20
    async with serving(behave) as server:
        began = loop.time()
        [closed] = await ask(tmp_path, server.url, timeout_s=timeout_s)
        [opened] = await ask(tmp_path, server.url, timeout_s=timeout_s, on_error="open")
        assert loop.time() - began < 10
    assert isinstance(closed, Deny)
    assert closed.message.startswith("The webhook could not be asked, so the job is refused: ")
    assert why in closed.message
    assert isinstance(opened, Warn)
    assert opened.message.startswith("The webhook could not be asked, and was passed over: ")
    assert why in opened.message
    for verdict in (closed, opened):
        assert verdict.rule == "cost-check"
        assert "t0ken" not in verdict.message
        assert KEY not in verdict.message


async def test_rules_come_first_and_see_again_what_the_webhook_set(tmp_path: Path) -> None:
    rules = [
        {"name": "default", "when": "job.priority == 0", "set": {"priority": 3}},
        {"name": "limit", "when": "job.demand.gpus > 8", "deny": True, "message": "{job.demand.gpus} GPUs"},
        {"name": "high", "when": "job.priority > 2", "warn": True, "message": "high"},
    ]
    amend = {"verdict": "amend", "message": "more", "changes": {"resources.gpus": 16}}
    async with serving(answer(amend)) as server:
        text = json.loads(webhook(tmp_path, server.url)) | {"rules": rules}
        (tmp_path / "p.yaml").write_text(json.dumps(text))
        [policy] = load([tmp_path], StandingClock())
        assert await policy.review(ASKED) == [
            Amend(rule="default", message="default sets priority.", changes={"priority": 3}),
            Warn(rule="high", message="high"),
            Amend(rule="cost-check", message="more", changes={"resources.gpus": 16}),
            Deny(rule="limit", message="16 GPUs"),
        ]
        [(_, _, body)] = server.requests
        assert Admission.model_validate_json(body).spec.priority == 3, "the webhook sees what the rules set"

        refused = ASKED.model_copy(update={"spec": JobSpec(entrypoint="x", resources={"gpus": 9})})
        await policy.review(refused)
        assert len(server.requests) == 1, "a job that a rule refuses is not sent out"


async def test_after_a_webhook_only_the_rules_that_check_look_again(tmp_path: Path) -> None:
    rules = [{"name": "default", "set": {"labels.priority": "string(job.priority)"}}]
    async with serving(answer({"verdict": "amend", "message": "m", "changes": {"priority": 9}})) as server:
        text = json.loads(webhook(tmp_path, server.url)) | {"rules": rules}
        (tmp_path / "p.yaml").write_text(json.dumps(text))
        [policy] = load([tmp_path], StandingClock())
        assert [verdict.rule for verdict in await policy.review(ASKED) if isinstance(verdict, Amend)] == [
            "default",
            "cost-check",
        ]


async def test_in_warn_mode_a_webhook_refuses_and_sets_nothing(tmp_path: Path) -> None:
    for reply, says in (
        ({"verdict": "deny", "message": "no"}, "would be refused: no"),
        ({"verdict": "amend", "message": "m", "changes": {"priority": 9}}, "would have priority set: m"),
    ):
        async with serving(answer(reply)) as server:
            text = json.loads(webhook(tmp_path, server.url)) | {"mode": "warn"}
            (tmp_path / "p.yaml").write_text(json.dumps(text))
            [policy] = load([tmp_path], StandingClock())
            [verdict] = await policy.review(ASKED)
        assert isinstance(verdict, Warn)
        assert says in verdict.message


async def test_a_slow_webhook_does_not_hold_up_other_submissions(tmp_path: Path) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def wait(writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await release.wait()
        await answer({"verdict": "allow"})(writer)

    async with serving(wait) as slow, serving(answer({"verdict": "allow"})) as fast:
        first = asyncio.create_task(ask(tmp_path, slow.url, timeout_s=20))
        await arrived.wait()
        assert await asyncio.gather(*(ask(tmp_path, fast.url) for _ in range(10))) == [[]] * 10
        assert not first.done()
        release.set()
        assert await first == []


async def test_a_cancelled_review_leaves_no_connection_behind(clock: StandingClock) -> None:
    arrived = asyncio.Event()
    closed = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        closed.set()
        writer.close()

    async with await asyncio.start_server(wait, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        hook = Webhook("h", Call(f"http://127.0.0.1:{port}/", 20, allow_private=True, tls=trust(None)), b"k", clock)
        review = asyncio.create_task(hook.review(ASKED))
        await arrived.wait()
        review.cancel()
        with pytest.raises(asyncio.CancelledError):
            await review
        async with asyncio.timeout(15):
            await closed.wait()
