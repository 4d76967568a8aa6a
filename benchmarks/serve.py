"""Answers a second through key, limits, metering and routing by model, beside vLLM alone on the same tiny model.

Ours is vLLM's own server with the guard, behind HAProxy that reads the model's name; the peer is that server by itself.
Each has an engine of its own. The engines are pinned to one core, the API servers, HAProxy and this load generator to
the others; while one side is measured the other is stopped (an idle vLLM spins). The order is turned each round. The
ratio is the one to quote: a model this small makes the most of what stands before the engine.
"""

import asyncio
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.report import Report, median
from raysvc.backends.edge import HaproxyEdge
from raysvc.bootstrap.clock import SystemClock
from raysvc.payload import root
from raysvc.ports import Route, Target
from tests.real.tiny_model import make_model

sys.path.insert(0, str(root() / "serving"))

from engine import Engine, arguments, environment

SECRET = "sk-benchmark"  # noqa: S105 opens nothing
START_S = 120.0
SETTLE_S = 0.5
TOKENS = 16
_GUARD = ("--middleware", "guard.Guard", "--enable-force-include-usage")


@dataclass
class Side:
    """One vLLM server, and where its clients go."""

    engine: Engine
    first: psutil.Process
    url: str = ""

    def processes(self) -> list[psutil.Process]:
        return [self.first, *self.first.children(recursive=True)]

    def send(self, number: signal.Signals) -> None:
        for process in self.processes():
            process.send_signal(number)


def run(*, quick: bool) -> Report:
    return asyncio.run(_run(rounds=3 if quick else 10, levels=(32,) if quick else (1, 32), seconds=2.0))


async def _run(*, rounds: int, levels: tuple[int, ...], seconds: float) -> Report:
    samples: dict[str, list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="raysvc-bench-")))
        model = make_model(folder / "model")
        ours, alone = _start(folder / "ours", model, guard=True), _start(folder / "alone", model, guard=False)
        edge = HaproxyEdge(folder / "edge", "127.0.0.1", 0, "http://127.0.0.1:1", SystemClock())
        try:
            for side in (ours, alone):
                await asyncio.to_thread(side.engine.wait, START_S)
                side.url = f"http://127.0.0.1:{side.engine.port}"
                _pin(side)
            await edge.start()
            target = Target(replica="r", host="127.0.0.1", port=ours.engine.port)
            await edge.route([Route(service="0" * 16, models=("tiny",), targets=(target,))])
            ours.url = edge.url
            for side in (ours, alone):
                await _load(side.url, 4, stream=False, seconds=1.0)
                side.send(signal.SIGSTOP)
            for number in range(rounds):
                for name, side in (("ours", ours), ("peer", alone))[:: 1 if number % 2 else -1]:
                    side.send(signal.SIGCONT)
                    await asyncio.sleep(SETTLE_S)
                    for level in levels:
                        for stream in (False, True):
                            rate = await _load(side.url, level, stream=stream, seconds=seconds)
                            what = f"{'streamed' if stream else 'unary'}_{level}_per_s"
                            samples.setdefault(f"{name}_{what}", []).append(rate)
                    side.send(signal.SIGSTOP)
        finally:
            await edge.close()
            for side in (ours, alone):
                side.send(signal.SIGCONT)
                side.engine.stop()
    return _report(samples)


def _report(samples: dict[str, list[float]]) -> Report:
    medians = {name: median(values) for name, values in samples.items()}
    ours = {name.removeprefix("ours_"): value for name, value in medians.items() if name.startswith("ours_")}
    peer = {name.removeprefix("peer_"): value for name, value in medians.items() if name.startswith("peer_")}
    return Report("serve", ours, peer, {name: ours[name] / peer[name] for name in ours}, samples)


def _start(folder: Path, model: Path, *, guard: bool) -> Side:
    folder.mkdir()
    grant = {
        "id": "key",
        "digest": hashlib.sha256(SECRET.encode()).hexdigest(),
        "requests_per_minute": 1e9,
        "tokens_per_minute": 1e9,
        "allowance": 10**15,
    }
    (folder / "keys.json").write_text(json.dumps({"keys": [grant]}))
    engine = Engine(folder, "127.0.0.1", folder / "log")
    sizes = {"max_model_len": 256, "max_num_seqs": 128, "enforce_eager": True}
    flags = arguments({"model": str(model), "names": ["tiny"], "engine": sizes})
    engine.start(flags if guard else [flag for flag in flags if flag not in _GUARD], environment(folder, 0, 0))
    process = engine._process  # noqa: SLF001 pinned and stopped from outside, which no replica does
    assert process is not None
    return Side(engine, psutil.Process(process.pid))


def _pin(side: Side) -> None:
    """Pin the engine and its worker to the first core, all else to the others."""
    first, *rest = sorted(os.sched_getaffinity(0))
    for process in side.processes():
        inside = any(word in process.name() for word in ("Engine", "Worker"))
        for thread in process.threads():
            os.sched_setaffinity(thread.id, [first] if inside else rest or [first])
    os.sched_setaffinity(0, rest or [first])


async def _load(url: str, level: int, *, stream: bool, seconds: float) -> float:
    """Return the answers a second that so many clients get, each asking again as soon as it has its answer."""
    over = time.perf_counter() + seconds
    began = time.perf_counter()
    counts = await asyncio.gather(*(_client(url, over, stream=stream) for _ in range(level)))
    return sum(counts) / (time.perf_counter() - began)


async def _client(url: str, over: float, *, stream: bool) -> int:
    parts = urlsplit(url)
    body = json.dumps(
        {"model": "tiny", "prompt": "abcdefgh", "max_tokens": TOKENS, "ignore_eos": True, "stream": stream}
    ).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer {SECRET}"
    )
    request = f"{head}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    count = 0
    try:
        while time.perf_counter() < over:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            if stream:
                await reader.readuntil(b"0\r\n\r\n")
            else:
                length = answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                await reader.readexactly(int(length))
            count += 1
    finally:
        writer.close()
    return count
