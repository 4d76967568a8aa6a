"""HAProxy as raysvc's edge: started, adopted by the next server, given new routes without a dropped request, ended.

It is a daemon in a session of its own, so that serving goes on while the server is dead. A new table is a reload
through the master's socket: workers hand on the listening socket, and old ones end with their last request.
"""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import structlog

from raysvc.backends.edge.process import alive, binary, end, free, strays, taken
from raysvc.backends.edge.render import EdgeConfig, files
from raysvc.errors import Conflict, Unavailable
from raysvc.ports import Clock
from raysvc.ports.serving import Route

log = structlog.get_logger()

_WATCH_S = 1.0
_START_S = 20.0
_RELOAD_S = 20.0
_POLL_S = 0.02


@dataclass(frozen=True)
class _State:
    """What the next server must know: the daemon's first process, known by id and birth, and its port."""

    pid: int
    born: float
    host: str
    port: int


class HaproxyEdge:
    """`port` 0: the one it had before, or a free one. `control` is the control plane's URL, which lists the models.

    The process starts with the first route: who serves no models has none.
    """

    def __init__(self, folder: Path, host: str, port: int, control: str, clock: Clock) -> None:
        self._folder = folder
        self._asked = port
        self._clock = clock
        self._config = EdgeConfig(host=host, port=port, control=control, drop=os.geteuid() == 0)
        self._lock = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens, without `/v1`; known after `start`."""
        host = self._config.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self._config.port}"

    async def start(self) -> None:
        """Adopt the one that runs, with the routes it has, or choose where the next one is to listen.

        Raises Conflict where its port is taken, Unavailable where there is no HAProxy.
        """
        async with self._lock:
            await _whole(self._begin)
        self._watch = asyncio.create_task(self._keep(), name="edge")

    async def route(self, routes: Sequence[Route]) -> None:
        """Make this the whole table, without dropping a request. Idempotent. Raises Unavailable."""
        async with self._lock:
            self._config = replace(self._config, routes=tuple(sorted(routes, key=lambda route: route.service)))
            await _whole(self._settle)

    async def close(self, *, leave_running: bool = False) -> None:
        """End it, or only let go of it. May be repeated."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        async with self._lock:
            if not leave_running:
                await _whole(self._finish)

    async def _keep(self) -> None:
        """Start it anew, with the last table, where it should run and does not."""
        while True:
            await self._clock.sleep(_WATCH_S)
            async with self._lock:
                try:
                    if self._config.routes and self._running() is None:
                        log.warning("edge has died and is started anew")
                        await _whole(self._launch)
                except (Conflict, Unavailable, OSError) as error:
                    log.warning("edge not started", detail=str(error))

    def _begin(self) -> None:
        binary()
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state, process = self._state(), self._running()
        port = self._asked or (state.port if state else 0)
        if process is not None and state is not None:
            if (state.host, state.port) == (self._config.host, port):
                self._config = replace(self._config, port=port)
                return
            end(process)
        if not self._asked and (port == 0 or taken(self._config.host, port)):
            port = free(self._config.host)
        self._config = replace(self._config, port=port)
        self._require_port()

    def _settle(self) -> None:
        """Bring what runs to the configuration that is wanted."""
        if self._running() is None:
            if self._config.routes:
                self._launch()
            return
        self._write()
        if not self._loaded.exists():
            answer = self._tell("reload")
            if "Success=1" not in answer:
                raise Unavailable(f"HAProxy did not take its new routes: {answer.strip()[-500:]}")
            self._loaded.touch()

    def _require_port(self) -> None:
        if taken(self._config.host, self._config.port):
            raise Conflict(
                f"Port {self._config.port} of {self._config.host}, for OpenAI clients, is taken. Give another "
                "--openai-port, or end what uses it.",
                field="openai_port",
            )

    def _finish(self) -> None:
        for process in strays(self._folder):
            end(process)

    def _launch(self) -> None:
        self._finish()
        self._require_port()
        self._write()
        (self._folder / "pid").unlink(missing_ok=True)
        # -W: a master that reloads; -D: returns when the sockets are bound, or says why not.
        command = [str(binary()), "-W", "-D", "-C", str(self._folder), "-S", "unix@master.sock,mode,600", "-p", "pid"]
        try:
            with (self._folder / "start.log").open("wb") as said:
                begun = subprocess.run(  # noqa: S603 our own command line
                    [*command, "-f", "haproxy.cfg"],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    cwd=self._folder,
                    env={"PATH": os.defpath},
                    check=False,
                    timeout=_START_S,
                )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"HAProxy did not start within {_START_S:.0f} s.") from error
        if begun.returncode != 0:
            words = (self._folder / "start.log").read_text(errors="replace")
            raise Unavailable(f"HAProxy did not start: {words.strip()[-500:]}")
        state = self._born()
        draft = self._folder / "edge.new"
        draft.write_text(json.dumps(state.__dict__))
        draft.replace(self._folder / "edge.json")
        self._loaded.touch()

    def _born(self) -> _State:
        """Return what was just started. It may write its process's id a moment after its parent has returned."""
        deadline = time.monotonic() + _START_S
        while True:
            try:
                first = psutil.Process(int((self._folder / "pid").read_text()))
                return _State(first.pid, first.create_time(), self._config.host, self._config.port)
            except (OSError, ValueError, psutil.Error) as error:
                if time.monotonic() > deadline:
                    raise Unavailable(f"HAProxy ended as soon as it began: {error}.") from error
            time.sleep(_POLL_S)

    @property
    def _loaded(self) -> Path:
        """A file that is there while HAProxy runs with what is written, as far as anybody knows."""
        return self._folder / "loaded"

    def _write(self) -> None:
        """Write the configuration's files. Until HAProxy has taken what changed, `loaded` is gone."""
        for name, text in files(self._config).items():
            path, data = self._folder / name, text.encode()
            if not path.exists() or path.read_bytes() != data:
                self._loaded.unlink(missing_ok=True)
                draft = path.with_name(f"{name}.new")
                draft.write_bytes(data)
                draft.replace(path)

    def _state(self) -> _State | None:
        try:
            return _State(**json.loads((self._folder / "edge.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def _running(self) -> psutil.Process | None:
        """Return the daemon's first process while it lives."""
        if (state := self._state()) is None:
            return None
        try:
            process = psutil.Process(state.pid)
            same = abs(process.create_time() - state.born) < 1.0
        except psutil.NoSuchProcess:
            return None
        return process if same and alive(process) else None

    def _tell(self, command: str) -> str:
        """Return what the master answers to a command, which may reach it twice. Raises Unavailable."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        deadline = time.monotonic() + _RELOAD_S
        try:
            while True:
                try:
                    # By way of a descriptor: the folder's own path may be longer than a socket's may.
                    if answer := _told(f"/proc/self/fd/{folder}/master.sock", command):
                        return answer
                    why = "it hung up"
                except OSError as error:
                    why = str(error)
                # Just started or reloading, it takes no connection for some milliseconds, or drops one that it took.
                if time.monotonic() > deadline:
                    raise Unavailable(f"HAProxy's master does not answer: {why}.")
                time.sleep(_POLL_S)
        finally:
            os.close(folder)


def _told(path: str, command: str) -> str:
    """Say a command at a socket; return all that is answered."""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(_RELOAD_S)
        door.connect(path)
        door.sendall(f"{command}\n".encode())
        return b"".join(iter(lambda: door.recv(65536), b"")).decode(errors="replace")


async def _whole(work: Callable[[], None]) -> None:
    """Do blocking work in a thread, to its end even where the caller is cancelled: nothing is left half started."""
    begun = asyncio.create_task(asyncio.to_thread(work))
    try:
        await asyncio.shield(begun)
    except asyncio.CancelledError:
        await asyncio.wait([begun])
        raise
