"""A platform on fakes whose loops stand still: each test puts jobs into the phase that it is about."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from cryptography.fernet import Fernet
from starlette.applications import Starlette

from raysvc.api.auth import Sessions
from raysvc.api.cluster.upstream import Upstream
from raysvc.api.context import ApiSettings
from raysvc.api.dashboard import create_dashboard, dashboard_routes
from raysvc.api.ray import ray_routes
from raysvc.blobs.directory import DirectoryBlobs
from raysvc.control.decide import admit
from raysvc.control.ids import RandomIds
from raysvc.control.logbook import blob_key
from raysvc.control.platform import Parts, Platform, ensure_project
from raysvc.control.vault import Vault
from raysvc.domain.admission import Admission, Deny, Verdict, Warn
from raysvc.domain.job import TERMINAL, Job, JobPhase, JobRef
from raysvc.domain.project import Role
from raysvc.domain.reason import ReasonCode, reason
from raysvc.ports import Store
from raysvc.testing.backend import FakeBackend
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore

MAX_PACKAGE = 1 << 20
P = JobPhase


class House:
    """A policy that says what the labels of a job ask it to say, with a line end for each `⏎`."""

    name = "house"

    async def review(self, admission: Admission) -> Sequence[Verdict]:
        labels = {key: text.replace("⏎", "\n") for key, text in admission.spec.labels.items()}
        if "deny" in labels:
            return [Deny(rule="no-fun", message=labels["deny"])]
        return [Warn(rule="slow", message=labels["warn"])] if "warn" in labels else []


class World:
    def __init__(self, folder: Path, upstream: Upstream | None = None, store: Store | None = None) -> None:
        self.clock = FakeClock()
        self.store: Store = store or MemoryStore()
        self.blobs = DirectoryBlobs(folder / "blobs")
        spool = folder / "spool"
        spool.mkdir()
        vault = Vault(Fernet.generate_key(), self.store.secrets, self.store.packages, self.blobs, self.clock)
        self.backend = FakeBackend(self.clock, vault)
        self.platform = Platform(
            Parts(
                store=self.store,
                blobs=self.blobs,
                backend=self.backend,
                vault=vault,
                clock=self.clock,
                ids=RandomIds(Random(7)),  # noqa: S311 the same names in each run
                policies=(House(),),
                spool=spool,
                holder="test",
                max_package_bytes=MAX_PACKAGE,
            )
        )
        settings = ApiSettings(url="http://front", dashboard_url="http://dash:8501", version="0", session_key=b"k" * 32)
        self.app = Starlette(routes=[*ray_routes(self.platform, upstream), *dashboard_routes(self.platform)])
        self.dashboard = create_dashboard(self.platform, settings, upstream)
        self.sessions = Sessions(settings.session_key, self.clock)
        for name, value in (("platform", self.platform), ("settings", settings), ("sessions", self.sessions)):
            setattr(self.app.state, name, value)

    async def open(self) -> None:
        await self.store.open()
        await self.backend.start()
        for project in ("default", "team-a", "team-b"):
            await ensure_project(self.store, project, self.clock)

    async def token(self, role: Role = Role.ADMIN, *projects: str) -> str:
        """Return the secret of a new token."""
        return (await self.platform.gate.issue(role, owner="ada", projects=projects))[1]

    async def bearer(self, role: Role = Role.ADMIN, *projects: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {await self.token(role, *projects)}"}

    async def job(self, job_id: str, project: str = "default") -> Job:
        return await self.store.jobs.get(project, job_id)

    async def move(self, job_id: str, *phases: JobPhase, project: str = "default", **fields: Any) -> Job:
        """Take a job through these phases, as the reconciler would; `fields` are of the last."""
        for phase in phases:
            last = fields if phase is phases[-1] else {}
            job = await self.job(job_id, project)
            now = self.clock.now()
            extra: dict[str, Any] = {}
            if phase is P.STARTING:
                _, _, extra = admit(job, "local", now)
            elif phase is P.RUNNING:
                extra = {"started_at": now, "attempt_started_at": now}
            elif phase in TERMINAL:
                extra = {"finished_at": now}
            extra |= last
            why = reason(extra.pop("code", _USUAL[phase]), extra.pop("message", ""))
            after, event = job.to(phase, why, now, **extra)
            await self.store.jobs.save(after, [event])
            self.platform.signals.notify(after.uid)
        return await self.job(job_id, project)

    async def write(self, job: Job, data: bytes, attempt: int = 1) -> None:
        """Let an attempt's log grow."""
        key = blob_key(JobRef(uid=job.uid, attempt=attempt))
        await self.blobs.append(key, data, at=await self.blobs.size(key))
        self.platform.signals.notify(job.uid)


_USUAL = {
    P.QUEUED: ReasonCode.BACKOFF,
    P.STARTING: ReasonCode.SUBMITTING,
    P.RUNNING: ReasonCode.RUNNING,
    P.STOPPING: ReasonCode.STOP_REQUESTED,
    P.SUCCEEDED: ReasonCode.SUCCEEDED,
    P.FAILED: ReasonCode.ENTRYPOINT_FAILED,
    P.CANCELLED: ReasonCode.STOPPED,
}
