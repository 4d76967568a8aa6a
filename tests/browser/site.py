"""The whole server but for the cluster: real time, real sockets, the reconciler at work."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cryptography.fernet import Fernet

from raysvc.api.app import create_app
from raysvc.api.context import ApiSettings
from raysvc.api.dashboard import create_dashboard
from raysvc.api.server import Listeners
from raysvc.blobs.directory import DirectoryBlobs
from raysvc.bootstrap.clock import SystemClock
from raysvc.control.ids import RandomIds
from raysvc.control.intake import Submission
from raysvc.control.platform import Parts, Platform
from raysvc.control.vault import Vault
from raysvc.domain.access import Principal
from raysvc.domain.job import Job, JobPhase, JobSpec
from raysvc.domain.project import Role
from raysvc.testing.backend import FakeBackend
from raysvc.testing.store import MemoryStore

ROOT = Principal(name="root", role=Role.ADMIN)
POLL_S = 0.05


class Site:
    def __init__(self, folder: Path) -> None:
        clock, store, blobs = SystemClock(), MemoryStore(), DirectoryBlobs(folder / "blobs")
        vault = Vault(Fernet.generate_key(), store.secrets, store.packages, blobs, clock)
        self.backend = FakeBackend(clock, vault)
        (folder / "spool").mkdir()
        self.platform = Platform(
            Parts(
                store=store,
                blobs=blobs,
                backend=self.backend,
                vault=vault,
                clock=clock,
                ids=RandomIds(),
                policies=(),
                spool=folder / "spool",
                holder="browser-test",
            )
        )
        self._listeners = Listeners.bind("127.0.0.1", 0, 0)
        self.url = self._listeners.url
        self._stop = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self.token = ""

    async def open(self) -> None:
        await self.platform.store.open()
        await self.platform.start()
        _, self.token = await self.platform.gate.issue(Role.ADMIN, owner="ada")
        settings = ApiSettings(
            url=self.url, dashboard_url=self._listeners.dashboard_url, version="0.1.0", session_key=b"k" * 32
        )
        app, dashboard = create_app(self.platform, settings), create_dashboard(self.platform, settings)
        app.state.stopping = self._stop
        ready = asyncio.Event()
        self._serving = asyncio.create_task(
            self._listeners.serve(app, dashboard, self._stop, on_ready=ready.set), name="server"
        )
        await ready.wait()

    async def close(self) -> None:
        self._stop.set()
        if self._serving is not None:
            await self._serving
        await self.platform.close()

    async def submit(self, entrypoint: str, **spec: object) -> Job:
        """Submit a job as somebody with a token does."""
        asked = Submission("default", JobSpec.model_validate({"entrypoint": entrypoint, **spec}))
        return (await self.platform.intake.submit(ROOT, asked)).job

    async def reaches(self, job: Job, phase: JobPhase) -> Job:
        """Return the job once it is in that phase; fails where that takes more than a minute."""
        async with asyncio.timeout(60):
            while True:
                job = await self.platform.store.jobs.get_by_uid(job.uid)
                if job.phase is phase:
                    return job
                await self.platform.signals.wait(job.uid, POLL_S)

    def skip(self, job: Job, seconds: float) -> None:
        """Let so many seconds of a job that runs be over at once: a test cannot know how long a browser takes."""
        assert job.ref is not None
        life, past = self.backend.ray.lives[job.ref.name], timedelta(seconds=seconds)
        assert life.ends is not None
        end = life.end.model_copy(update={"started_at": life.runs_from - past, "finished_at": life.ends - past})
        moved = replace(life, runs_from=life.runs_from - past, ends=life.ends - past, end=end)
        self.backend.ray.lives[job.ref.name] = moved
