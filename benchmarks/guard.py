"""What the guard costs the thread that it shares with vLLM's API server: microseconds of processor time.

A request through an inner ASGI app with and without the guard: key, limits, budget, request id and usage all on. The
peer is the inner app alone, so `guard_us` is the difference, and `chunk_us` what each further chunk of a stream adds.
"""

import asyncio
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.report import Report, median
from raysvc.payload import root

sys.path.insert(0, str(root() / "serving"))

from guard import Guard

SECRET = "sk-benchmark"  # noqa: S105 opens nothing
_CHUNK = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"tiny","choices":[{"index":0,"text":" a",'
    b'"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1}}\n\n'
)
# As the openai package and HAProxy send them.
_HEADERS = [
    *((b"host", b"127.0.0.1:8500"), (b"user-agent", b"OpenAI/Python 3.54.0"), (b"accept", b"application/json")),
    *((b"content-type", b"application/json"), (b"content-length", b"120"), (b"accept-encoding", b"gzip, deflate")),
    *((b"authorization", b"Bearer " + SECRET.encode()), (b"x-stainless-lang", b"python")),
]
_SCOPE = {"type": "http", "path": "/v1/completions", "headers": _HEADERS}
_SHORT, _LONG = 16, 116


def run(*, quick: bool) -> Report:
    rounds, requests = (3, 2_000) if quick else (15, 10_000)
    samples: dict[str, list[float]] = {"request_us": [], "stream_us": [], "chunk_us": [], "bare_us": []}
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        for _ in range(rounds):
            bare = _cost(_unary, requests)
            samples["bare_us"].append(bare)
            samples["request_us"].append(_cost(Guard(_unary, Path(folder)), requests) - bare)
            short, long = (_added(pieces, Path(folder), requests // 4) for pieces in (_SHORT, _LONG))
            samples["stream_us"].append(short)
            samples["chunk_us"].append((long - short) / (_LONG - _SHORT))
    metrics = {name: median(samples[name]) for name in ("request_us", "stream_us", "chunk_us")}
    return Report("guard", metrics, {"bare_us": median(samples["bare_us"])}, {}, samples)


def _prepare(folder: Path) -> None:
    grant = {
        "id": "key",
        "digest": hashlib.sha256(SECRET.encode()).hexdigest(),
        "requests_per_minute": 1e9,
        "tokens_per_minute": 1e9,
        "allowance": 10**15,
    }
    (folder / "door").write_text("door")
    (folder / "keys.json").write_text(json.dumps({"keys": [grant]}))


def _added(pieces: int, folder: Path, requests: int) -> float:
    inner = _stream(pieces)
    bare = _cost(inner, requests)
    return _cost(Guard(inner, folder), requests) - bare


def _cost(app: Callable[..., Awaitable[None]], requests: int) -> float:
    async def go() -> float:
        began = time.process_time()
        for _ in range(requests):
            await app(dict(_SCOPE), None, _nowhere)
        return (time.process_time() - began) / requests * 1e6

    return asyncio.run(go())


async def _nowhere(_message: Any) -> None:
    pass


async def _unary(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": _CHUNK})


def _stream(pieces: int) -> Callable[..., Awaitable[None]]:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": _CHUNK, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    return app
