"""The guard: ASGI middleware in vLLM's own API server (`--middleware guard.Guard`). Standard library only.

It opens the server to inference keys, holds each to its limits, and meters what it used, in the spool, before the
last byte of the answer leaves. It asks nobody: the replica beside it writes the table of keys, and reads the spool.
Everything lies in the folder that RAYSVC_GUARD names, which only this user may enter:

    keys.json   {"keys": [...]}, read anew within half a second of a change
    door        the word with which the replica itself may read /health and /metrics
    spool/      usage (spool.py)
    gauge       three 64-bit numbers: requests in flight, ended, turned away
"""

import asyncio
import json
import math
import mmap
import os
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ledger import Account, Accounts, Refusal
from spool import SpoolWriter

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# What a key opens. All else of vLLM's server (adapters, caches, weights, /invocations, its docs) stays shut.
METERED = frozenset(
    (
        *("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"),
        *("/v1/score", "/v1/rerank", "/score", "/rerank", "/pooling", "/classify"),
    )
)
FREE = frozenset(("/v1/models", "/tokenize", "/detokenize", "/v1/messages/count_tokens"))
DOORS = frozenset(("/health", "/metrics"))
LOOK_S = 0.5
# A key that was made a moment ago comes with the replica's next call, so an unknown one is refused only after that. So
# many wait at once; the others are told at once.
NEW_KEY_S, NEW_KEYS = 4.0, 64
_KEY = b"rsk-"
GAUGE_BYTES = 24
CLIENT_GONE = 499
BAD_REQUEST = 400

# Of the usage object and what follows it. Text within an answer cannot look so: its quotes are escaped.
_USAGE = b'"usage":'
_PLAIN = re.compile(rb'"usage":{"prompt_tokens":(\d+),"total_tokens":\d+,"completion_tokens":(\d+)')
_PROMPT = re.compile(rb'"(?:prompt|input|total)_tokens":\s*(\d+)')
_COMPLETION = re.compile(rb'"(?:completion|output)_tokens":\s*(\d+)')
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_UNKNOWN = "invalid_api_key"
# vLLM's answer to a unary request whose client has gone away.
_NOTHING = b"null"
# Where the usage is not known: so many bytes of a request are taken for a token.
_BYTES_A_TOKEN = 4

# A request that ends: its id, when it began, its headers; status, pieces sent, whether its client has gone; the last
# two pieces. Plain: a named one takes half a microsecond to make.
Ended = tuple[bytes, float, dict[bytes, bytes], int, int, bool, bytes, bytes]


class Guard:
    """`app` is called for what may pass. The clocks are seconds: one that never goes back, one since 1970."""

    def __init__(
        self,
        app: App,
        folder: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._app = app
        self._folder = folder or Path(os.environ["RAYSVC_GUARD"])
        self._clock = clock
        self._wall = wall
        self._sleep = sleep
        self._accounts = Accounts()
        self._spool = SpoolWriter(self._folder / "spool")
        self._door = sha256((self._folder / "door").read_bytes()).digest()
        self._gauge = _gauge(self._folder / "gauge")
        self._next_look = 0.0
        self._seen: tuple[int, int] | None = None
        self._ended: set[str] = set()
        self._waiting = 0
        self._prefix = os.urandom(6).hex().encode()
        self._count = 0
        # Tokens a second of the answers that were not streamed: what one that was given up is taken to have cost.
        self._pace = 0.0

    def __call__(self, scope: Message, receive: Receive, send: Send) -> Awaitable[None]:
        """Return what is to be awaited: the inner app's own answer, or a refusal."""
        if scope["type"] != "http":
            return self._app(scope, receive, send) if scope["type"] == "lifespan" else _hang_up(send)
        headers = dict(scope["headers"])
        path = scope["path"]
        now = self._clock()
        if now >= self._next_look:
            self._look(now)
        try:
            if path in METERED:
                account = self._account(headers)
                account.admit(now, self._wall())
                return self._metered(account, now, headers, scope, receive, send)
            if path in FREE:
                self._account(headers)
            elif path not in DOORS:
                raise Refusal(404, "not_found", f"There is no {path} here.")  # noqa: TRY301 one way out for all
            elif sha256(_bearer(headers)).digest() != self._door:
                raise Refusal(403, "forbidden", "Only the platform itself may see this.")  # noqa: TRY301
            return self._app(scope, receive, send)
        except Refusal as refusal:
            digest = sha256(_bearer(headers)).hexdigest()
            if refusal.code == _UNKNOWN and self._may_be_new(headers, digest):
                return self._look_again(refusal, digest, (scope, receive, send))
            self._gauge[2] += 1
            return _refuse(send, refusal)

    def _account(self, headers: dict[bytes, bytes]) -> Account:
        secret = _bearer(headers)
        account = self._accounts.by_digest.get(sha256(secret).hexdigest())
        if account is not None:
            return account
        if self._seen is None:
            raise Refusal(503, "starting", "This replica does not know its keys yet.", 1.0)
        if not secret:
            raise Refusal(401, "invalid_api_key", "No API key was given: send Authorization: Bearer KEY.")
        raise Refusal(401, "invalid_api_key", "This API key opens nothing here.")

    def _may_be_new(self, headers: dict[bytes, bytes], digest: str) -> bool:
        known = digest in self._accounts.by_digest or digest in self._ended
        return not known and self._waiting < NEW_KEYS and _bearer(headers).startswith(_KEY)

    async def _look_again(self, refusal: Refusal, digest: str, call: tuple[Message, Receive, Send]) -> None:
        """Hold a request until its key is known, for some seconds at most."""
        self._waiting += 1
        try:
            deadline = self._clock() + NEW_KEY_S
            while digest not in self._accounts.by_digest and self._clock() < deadline:
                await self._sleep(LOOK_S)
                self._look(self._clock())
        finally:
            self._waiting -= 1
        if digest in self._accounts.by_digest:
            await self(*call)
        else:
            self._gauge[2] += 1
            await _refuse(call[2], refusal)

    async def _metered(
        self,
        account: Account,
        began: float,
        headers: dict[bytes, bytes],
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        given = headers.get(b"x-request-id")
        if given is None or not _REQUEST_ID.fullmatch(given):
            self._count += 1
            given = b"%s%08x" % (self._prefix, self._count)
        last = before = b""
        status = chunks = 0
        settled = False
        gauge = self._gauge
        gauge[0] += 1
        if b"content-length" not in headers:
            receive = _measured(receive, headers)

        def forward(message: Message) -> Awaitable[None]:
            # Plain, and little: it runs for each chunk of each stream.
            nonlocal last, before, status, chunks, settled
            if body := message.get("body"):
                before = last
                last = body
                chunks += 1
            elif message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", given)]
                return send(message)
            if not message.get("more_body") and not settled:
                settled = True
                self._settle(account, (given, began, headers, status, chunks, last == _NOTHING, before, last))
            return send(message)

        try:
            await self._app(scope, receive, forward)
        except Exception:
            status = status or 500  # what the server makes of it, out of our sight
            raise
        finally:
            if not settled:
                self._settle(account, (given, began, headers, status, chunks, status < BAD_REQUEST, before, last))
            gauge[0] -= 1
            gauge[1] += 1

    def _settle(self, account: Account, ended: Ended) -> None:
        """Write the usage of a request that ends: exactly, where an end of its answer says it, else by a guess."""
        request_id, began, headers, status, chunks, gone, before, last = ended
        estimated = False
        if (usage := _usage(last) or _usage(before)) is not None:
            prompt, completion = usage
            if chunks == 1 and completion:
                self._pace += (completion / (self._clock() - began + 1e-6) - self._pace) / 5.0
        elif status >= BAD_REQUEST:
            prompt = completion = 0
        else:
            estimated = True
            prompt = -(-int(headers.get(b"content-length", b"0")) // _BYTES_A_TOKEN)
            completion = chunks if chunks > 1 or not gone else int((self._clock() - began) * self._pace)
        account.settle(prompt + completion)
        status = CLIENT_GONE if gone else status
        self._spool.append(account.id, request_id, self._wall(), (status, prompt, completion, estimated))

    def _look(self, now: float) -> None:
        """Read the table of keys if it has changed. One that cannot be read leaves the one before in force."""
        self._next_look = now + LOOK_S
        try:
            status = os.stat(self._folder / "keys.json")  # noqa: PTH116 pathlib's costs three times as much
            seen = status.st_mtime_ns, status.st_ino
            if seen != self._seen:
                table = json.loads((self._folder / "keys.json").read_bytes())
                before = set(self._accounts.by_digest)
                self._accounts.replace(table["keys"], now)
                self._ended = (self._ended | before) - self._accounts.by_digest.keys()
                self._seen = seen
        except (OSError, ValueError, KeyError, TypeError):
            return


def _usage(data: bytes) -> tuple[int, int] | None:
    """Return (prompt, completion) tokens as the last usage in these bytes says them; None where none does."""
    end = len(data)
    while (start := data.rfind(_USAGE, 0, end)) >= 0:
        if plain := _PLAIN.match(data, start):
            return int(plain[1]), int(plain[2])
        if prompt := _PROMPT.search(data, start, end):
            completion = _COMPLETION.search(data, start, end)
            return int(prompt[1]), int(completion[1]) if completion else 0
        end = start
    return None


def _measured(receive: Receive, headers: dict[bytes, bytes]) -> Receive:
    """Note the length of a body that comes in chunks as if it had been said beforehand."""
    length = 0

    async def measuring() -> Message:
        nonlocal length
        message = await receive()
        length += len(message.get("body", b""))
        headers[b"content-length"] = b"%d" % length
        return message

    return measuring


def _bearer(headers: dict[bytes, bytes]) -> bytes:
    value = headers.get(b"authorization", b"")
    return value[7:].strip() if value[:7].lower() == b"bearer " else headers.get(b"x-api-key", b"")


async def _refuse(send: Send, refusal: Refusal) -> None:
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error", 503: "server_error"}
    error = {
        "message": refusal.message,
        "type": kind.get(refusal.status, "invalid_request_error"),
        "param": None,
        "code": refusal.code,
    }
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, math.ceil(refusal.retry_after_s))).encode()))
    if refusal.status == 401:  # noqa: PLR2004
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _hang_up(send: Send) -> None:
    await send({"type": "websocket.close", "code": 1008, "reason": "no websockets here"})


def _gauge(path: Path) -> memoryview:
    """Return three numbers that the replica sees change. They begin at zero."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(descriptor, 0)
        os.ftruncate(descriptor, GAUGE_BYTES)
        return memoryview(mmap.mmap(descriptor, GAUGE_BYTES)).cast("q")
    finally:
        os.close(descriptor)
