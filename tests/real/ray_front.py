"""A front that is really served, on the fake backend: for clients that are real."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
from cryptography.fernet import Fernet
from uvicorn.loops.auto import auto_loop_factory

from raysvc.api.app import create_app
from raysvc.api.context import ApiSettings
from raysvc.api.dashboard import create_dashboard
from raysvc.api.server import Listeners
from raysvc.blobs.directory import DirectoryBlobs
from raysvc.bootstrap.clock import SystemClock
from raysvc.control.ids import RandomIds
from raysvc.control.platform import Parts, Platform, ensure_project
from raysvc.control.vault import Vault
from raysvc.domain.project import Role
from raysvc.ports import Backend, Clock, Materials
from raysvc.testing.backend import FakeBackend
from raysvc.testing.store import MemoryStore

T = TypeVar("T")
DEADLINE_S = 120.0
TOKEN = "raysvc_test_token"


class Front:
    """Serves from a thread of its own until the `with` is over, on the fake backend or another one."""

    def __init__(self, folder: Path, backend: Callable[[Materials, Clock], Backend] | None = None) -> None:
        self._folder = folder
        self._make_backend = backend or (lambda materials, clock: FakeBackend(clock, materials))
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="front", daemon=True)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)
        if self._error is not None:
            raise self._error
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop as on SIGTERM, and wait. May be repeated."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(DEADLINE_S)
            assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE_S)

    def token(self, role: Role, *projects: str) -> str:
        """Return the secret of a new token."""
        return self.call(self.platform.gate.issue(role, owner="ada", projects=projects))[1]

    @property
    def environment(self) -> dict[str, str]:
        """What a shell of somebody who uses Ray's own token variables has."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "RAY_ADDRESS": self.url, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}

    def ray(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the `ray` command and return what became of it."""
        program = Path(sys.executable).with_name("ray")
        return run([str(program), *arguments], {**self.environment, **environment})

    def submit(self, entrypoint: str, job_id: str, project: str = "default") -> None:
        """Submit a job as Ray's client does. Its command quotes what a shell would read, so this is for scripts."""
        body = {"entrypoint": entrypoint, "submission_id": job_id}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        httpx.post(f"{self.url}/p/{project}/api/jobs/", json=body, headers=headers).raise_for_status()

    def _serve(self) -> None:
        try:
            with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001 told to the test
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        listeners = Listeners.bind("127.0.0.1", 0, 0)
        self.url, self.dashboard_url = listeners.url, listeners.dashboard_url
        self.platform = self._platform()
        await self.platform.store.open()
        await self.platform.gate.adopt(TOKEN, Role.ADMIN, owner="admin")
        settings = ApiSettings(self.url, self.dashboard_url, version="0", session_key=b"k" * 32)
        app, dashboard = create_app(self.platform, settings), create_dashboard(self.platform, settings)
        await self.platform.start()
        await ensure_project(self.platform.store, "team-a", self.platform.clock)
        try:
            await listeners.serve(app, dashboard, self._stop, on_ready=self._ready.set)
        finally:
            await self.platform.close()

    def _platform(self) -> Platform:
        clock, store = SystemClock(), MemoryStore()
        blobs = DirectoryBlobs(self._folder / "blobs")
        spool = self._folder / "spool"
        spool.mkdir()
        vault = Vault(Fernet.generate_key(), store.secrets, store.packages, blobs, clock)
        return Platform(
            Parts(
                store=store,
                blobs=blobs,
                backend=self._make_backend(vault, clock),
                vault=vault,
                clock=clock,
                ids=RandomIds(),
                policies=(),
                spool=spool,
                holder="test",
            )
        )


def run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program and return its result; its output is text, both streams in one."""
    return subprocess.run(
        command,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )


@contextmanager
def started(command: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program beside the test, and end it with it."""
    process = subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
