"""Webhooks over real sockets: what is sent, what is believed, and every way in which the other side can misbehave."""

import asyncio
import datetime as dt
import gzip
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from raysvc.domain.admission import Admission, Amend, Deny, Verdict, Warn
from raysvc.domain.job import JobSpec
from raysvc.domain.project import Role
from raysvc.policies import load
from raysvc.policies.call import Call, Unheard, post, trust
from raysvc.policies.webhook import Webhook, signature

from .conftest import NOON, StandingClock

ASKED = Admission(
    project="vision", owner="ada", role=Role.MEMBER, job_id="raysubmit_1", spec=JobSpec(entrypoint="python train.py")
)
KEY = "correct horse"
Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """A peer that records what comes in and answers as it is told."""

    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=t0ken"


def answer(body: bytes | dict[str, Any], status: str = "200 OK", headers: str = "") -> Behaviour:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        await writer.drain()

    return write


@asynccontextmanager
async def serving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    server = Server()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            request, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            server.requests.append((request, headers, await reader.readexactly(int(headers["content-length"]))))
            await behave(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls) as listener:
        server.port = listener.sockets[0].getsockname()[1]
        yield server


def webhook(folder: Path, url: str, **settings: Any) -> str:
    (folder / "hook.key").write_text(f"{KEY}\n")
    fields = {"name": "cost-check", "url": url, "secret_file": "hook.key", "allow_private": True} | settings
    return json.dumps({"policy": "money", "webhooks": [fields]})  # JSON is YAML


async def ask(folder: Path, url: str, **settings: Any) -> Sequence[Verdict]:
    file = folder / "money.yaml"
    file.write_text(webhook(folder, url, **settings))
    [policy] = load([file], StandingClock())
    return await policy.review(ASKED)


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


async def test_a_port_where_nobody_listens_is_an_error_too(tmp_path: Path) -> None:
    async with serving(silent) as server:
        pass
    [verdict] = await ask(tmp_path, server.url)
    assert isinstance(verdict, Deny)
    assert "the call failed (ConnectError" in verdict.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_to_a_private_address_is_not_followed(tmp_path: Path, status: int) -> None:
    async with serving(answer({"verdict": "allow"})) as inner:
        async with serving(answer(b"", f"{status} Moved", f"Location: {inner.url}\r\n")) as server:
            [verdict] = await ask(tmp_path, server.url)
        assert isinstance(verdict, Deny)
        assert f"answered with status {status}" in verdict.message
        assert inner.requests == []


@pytest.mark.parametrize(
    ("host", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("localhost", "loopback"),
        ("2130706433", "loopback"),
        ("0x7f.1", "loopback"),
        ("[::1]", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("169.254.169.254", "metadata"),
        ("10.0.0.1", "private"),
    ],
)
async def test_a_private_address_is_refused_however_it_is_written(tmp_path: Path, host: str, kind: str) -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        [verdict] = await ask(tmp_path, f"https://{host}:{server.port}/", allow_private=False)
        assert isinstance(verdict, Deny)
        assert "is at an address that is not public" in verdict.message
        assert kind in verdict.message
        assert server.requests == []


def call(
    url: str, addresses: Sequence[Sequence[str]], *, allow_private: bool, ca: Path | None = None
) -> tuple[Call, list[str]]:
    """Return a call whose names resolve to these answers, one after another, and the list of names asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        assert port
        asked.append(host)
        return addresses[len(asked) - 1]

    return Call(url, 2, allow_private=allow_private, tls=trust(ca), resolve=resolve), asked


async def test_the_name_is_resolved_once_and_the_call_goes_where_the_check_looked() -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        # A DNS that answers otherwise the second time (rebinding) is not asked a second time.
        to, asked = call(
            f"http://hooks.example.test:{server.port}/x", [["127.0.0.1"], ["127.0.0.9"]], allow_private=True
        )
        assert await post(to, b"{}", {}) == json.dumps({"verdict": "allow"}).encode()
    assert asked == ["hooks.example.test"]
    assert server.requests[0][1]["host"] == f"hooks.example.test:{server.port}"


async def test_one_private_address_among_public_ones_is_refused() -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        to, _ = call(f"https://hooks.example.test:{server.port}/x", [["8.8.8.8", "127.0.0.1"]], allow_private=False)
        with pytest.raises(Unheard, match="not public"):
            await post(to, b"{}", {})
    assert server.requests == []


async def test_the_next_address_is_tried_where_the_first_does_not_connect() -> None:
    async with serving(answer({"verdict": "allow"})) as server:
        to, _ = call(f"http://hooks.example.test:{server.port}/x", [["127.0.0.9", "127.0.0.1"]], allow_private=True)
        await post(to, b"{}", {})
    assert len(server.requests) == 1


async def test_a_name_without_an_address_is_said_to_have_none(tmp_path: Path) -> None:
    to, _ = call("https://hooks.example.test/x", [[]], allow_private=False)
    with pytest.raises(Unheard, match=r"hooks\.example\.test has no address"):
        await post(to, b"{}", {})
    [verdict] = await ask(tmp_path, "https://name.invalid/")
    assert isinstance(verdict, Deny)
    assert "the call failed (gaierror" in verdict.message


async def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answer(b"", "502 Proxy")) as proxy, serving(answer({"verdict": "allow"})) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await ask(tmp_path, server.url) == []
        assert proxy.requests == []


def certificates(folder: Path, host: str) -> tuple[Path, ssl.SSLContext]:
    """Return an authority's file and the server's side of a certificate it made for the host."""

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    key = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(
            name(host), name(host), key.public_key(), x509.random_serial_number(), now - day, now + day
        )
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(host), x509.IPAddress(ip_address("127.0.0.7"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority = folder / "ca.pem"
    authority.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / "key.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority, private)
    return authority, server


async def test_the_certificate_is_checked_against_the_name_not_the_address(tmp_path: Path) -> None:
    authority, tls = certificates(tmp_path, "hooks.example.test")
    seen: list[str | None] = []
    tls.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with serving(answer({"verdict": "allow"}), tls) as server:

        async def reach(host: str, ca: Path | None) -> bytes:
            to, _ = call(f"https://{host}:{server.port}/", [["127.0.0.1"]], allow_private=True, ca=ca)
            return await post(to, b"{}", {})

        assert await reach("hooks.example.test", authority)
        assert seen == ["hooks.example.test"]
        with pytest.raises(Unheard, match="Hostname mismatch"):
            await reach("other.example.test", authority)
        with pytest.raises(Unheard, match="self-signed certificate"):
            await reach("hooks.example.test", None)
    assert len(server.requests) == 1


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
        async with asyncio.timeout(5):
            await closed.wait()
