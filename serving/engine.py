"""vLLM's own OpenAI server as a child process: its command line, its start, its health, its end."""

import http.client
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_POLL_S = 0.2
_HEALTH_S = 5.0
_LAST_BYTES = 16_384
_LAST_LINES = 30
# HAProxy lets go of an idle connection within seconds; were the server first, a request could meet its farewell.
_KEEP_ALIVE_S = "3600"
_GIB = 1 << 30


class EngineFailed(Exception):
    """vLLM ended, or did not become healthy in time; its last lines are the message."""


def arguments(spec: Mapping[str, Any]) -> list[str]:
    """Return vLLM's own arguments for a service: `model`, `names`, `engine` (as raysvc's EngineSpec has it)."""
    engine = spec["engine"]
    flags = ["--model", spec["model"], "--served-model-name", *spec["names"]]
    for field, flag in (
        ("tensor_parallel", "--tensor-parallel-size"),
        ("pipeline_parallel", "--pipeline-parallel-size"),
        ("max_model_len", "--max-model-len"),
        ("max_num_seqs", "--max-num-seqs"),
        ("max_num_batched_tokens", "--max-num-batched-tokens"),
        ("gpu_memory_utilization", "--gpu-memory-utilization"),
        ("kv_cache_dtype", "--kv-cache-dtype"),
        ("dtype", "--dtype"),
    ):
        if engine.get(field) is not None:
            flags += [flag, str(engine[field])]
    flags += [flag for field, flag in _SWITCHES if engine.get(field)]
    return [*flags, *_ALWAYS]


_SWITCHES = (("enforce_eager", "--enforce-eager"), ("trust_remote_code", "--trust-remote-code"))
# Usage on every chunk meters a cut stream exactly. The access log would name every request twice.
_ALWAYS = (
    *("--middleware", "guard.Guard", "--enable-force-include-usage"),
    *("--disable-uvicorn-access-log", "--disable-fastapi-docs"),
)


def environment(folder: Path, gpus: float, memory: int) -> dict[str, str]:
    """Return this process's environment and what vLLM and the guard need; `memory` in bytes, 0 for not said."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables |= {
        "PYTHONPATH": str(HERE),
        "RAYSVC_GUARD": str(folder),
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": _KEEP_ALIVE_S,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    if not gpus:
        # Half of what was asked for is the KV cache's; vLLM would take 4 GiB.
        space = max(1, memory // 2 // _GIB)
        variables |= {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": str(space), "CUDA_VISIBLE_DEVICES": ""}
    return variables


class Engine:
    """One server on one port of `host`. `folder` is the guard's; what the server says goes to the end of `log`."""

    def __init__(self, folder: Path, host: str, log: Path) -> None:
        self.host = host
        self._log = log
        self._door = secrets.token_urlsafe(24)
        (folder / "door").write_text(self._door)
        # Held while the server lives: bound and not listening, it keeps the port from others and not from vLLM, which
        # sets the same option and binds seconds later.
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind((host, 0))
        self.port: int = self._held.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, flags: list[str], variables: Mapping[str, str]) -> None:
        """Start it; returns at once."""
        server = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
        command = [*server, "--host", self.host, "--port", str(self.port), *flags]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 our own command line
                [sys.executable, str(HERE / "nursery.py"), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(variables),
                start_new_session=True,
            )

    def wait(self, seconds: float) -> None:
        """Return when it is healthy; raises EngineFailed."""
        deadline = time.monotonic() + seconds
        while not self.healthy():
            if not self.alive:
                raise EngineFailed(f"vLLM ended. Its last lines:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise EngineFailed(f"vLLM was not healthy within {seconds:.0f} s. Its last lines:\n{self.tail()}")
            time.sleep(_POLL_S)

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def healthy(self) -> bool:
        """Ask the server; False where it is down, or slower than a few seconds."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=_HEALTH_S)
        try:
            connection.request("GET", "/health", headers={"Authorization": f"Bearer {self._door}"})
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """End it and all below it; returns when its first process is gone. May be repeated."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            try:
                process.wait(timeout=20.0)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._held.close()

    def tail(self) -> str:
        """Return the last lines that the server wrote."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_BYTES))
                return "\n".join(log.read().decode(errors="replace").splitlines()[-_LAST_LINES:])
        except OSError:
            return ""
