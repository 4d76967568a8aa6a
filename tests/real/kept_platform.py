"""A data directory and a database with something of everything in them, made without a server; and all of it, read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from raysvc.blobs.directory import DirectoryBlobs
from raysvc.blobs.files import keys
from raysvc.bootstrap.clock import SystemClock
from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.shareddir import SharedDir
from raysvc.control.ids import RandomIds
from raysvc.control.logbook import blob_key
from raysvc.control.shelf import Shelf
from raysvc.control.token import Gate
from raysvc.control.vault import Vault
from raysvc.domain.access import Principal
from raysvc.domain.job import Job, JobPhase, JobRef
from raysvc.domain.node import Quarantine
from raysvc.domain.project import Package, Project, Role
from raysvc.domain.reason import ReasonCode, reason
from raysvc.store import SqlStore
from raysvc.store.dump import snapshot
from tests.contract.store.make import added, moved, new, saved
from tests.contract.store.test_clusters import cluster
from tests.contract.store.test_keys import batch, key, used
from tests.contract.store.test_pools import pool
from tests.contract.store.test_services import service, sighting
from tests.unit.domain.archives import REG, zipped

ADMIN = Principal(name="admin", role=Role.ADMIN)


class KeptPlatform:
    """The parts of a platform that keep something."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.clock = SystemClock()
        self.directory = DataDir(folder)
        self.directory.open()
        self.directory.admin_token()
        shared = SharedDir(folder)
        shared.session_key()
        self.store = SqlStore(url, self.clock)
        self.blobs = DirectoryBlobs(folder / "blobs")
        key = shared.secret_key()
        self.vault = Vault(key, self.store.secrets, self.store.packages, self.blobs, self.clock)
        self.shelf = Shelf(self.store, self.blobs, self.clock, folder / "spool", 1 << 30)

    async def upload(self, number: int) -> Package:
        """Keep a package, whose name and contents are those of the number."""

        async def chunks() -> AsyncIterator[bytes]:
            yield zipped(("train.py", f"print({number})".encode(), REG))

        return await self.shelf.put(ADMIN, "default", ("gcs", f"_ray_pkg_{number:016x}.zip"), chunks())

    async def log(self, job: Job, attempt: int, text: bytes) -> None:
        key = blob_key(JobRef(uid=job.uid, attempt=attempt))
        await self.blobs.append(key, text, at=await self.blobs.size(key))

    async def ran(self, phase: JobPhase, **spec: Any) -> Job:
        """Return a job in that phase, with the log of its attempt."""
        job = await saved(self.store, await added(self.store, **spec), attempt=1)
        job = await moved(self.store, job, phase)
        await self.log(job, 1, f"{job.uid} says é\n".encode())
        return job

    async def fill(self) -> None:
        """Keep something of everything."""
        store = self.store
        await store.projects.put(Project(name="default", created_at=self.clock.now()))
        await Gate(store.tokens, self.clock, RandomIds()).issue(Role.MEMBER, owner="ada")
        await self.vault.put("default", "HF_TOKEN", "mellon")
        await store.flags.put("admission_paused", "until \x01 six")
        await store.leases.acquire("reconciler", "me", now=self.clock.now(), ttl_s=8)
        await store.pools.put([pool("gpus")])
        await store.quarantines.put(Quarantine(node="n1", reason="ECC é", by="ada", at=self.clock.now()))
        await store.keys.add(key("k1", "default", name="é"), "d1")
        await store.ledger.take(batch(used(1, "k1"), project="default"))
        await store.services.add(*service())
        await store.sightings.put([sighting(1, "r1", 1)])
        await cluster(store, "lab", 1)
        await added(store, cluster="lab")
        package = await self.upload(1)
        await store.jobs.add(*new("one", labels={"team": "a"}), packages=[package.name])
        await store.jobs.add_once(*new(entrypoint="echo 'é €'"), key="once", body_digest="d")
        for phase in JobPhase:
            await self.ran(phase, labels={"team": "b", "k": "v"})
        job = await added(store)
        job, event = job.to(JobPhase.FAILED, reason(ReasonCode.STOPPED, "é\n"), self.clock.now())
        await store.jobs.save(job, [event])
        (self.folder / "policies" / "house.yaml").write_text("policy: house\nrules: []\n")


@asynccontextmanager
async def kept(folder: Path, url: str | None = None) -> AsyncIterator[KeptPlatform]:
    """Open a platform, new or kept before."""
    platform = KeptPlatform(folder, url or f"sqlite:///{folder}/raysvc.db")
    await platform.store.open()
    try:
        yield platform
    finally:
        await platform.store.close()
        platform.directory.close()


def everything(folder: Path, url: str | None = None) -> dict[str, Any]:
    """Return all that a platform keeps."""
    with snapshot(url or f"sqlite:///{folder}/raysvc.db") as moment:
        rows = {table: list(moment.rows(table)) for table in moment.tables}
    own = [folder / name for name in ("admin-token", "secret-key", "session-key")]
    files = {path: path.read_bytes() for path in (*own, *(folder / "policies").iterdir())}
    assert {path.stat().st_mode & 0o777 for path in own} == {0o600}
    return {
        "rows": rows,
        "blobs": {key: (folder / "blobs" / key).read_bytes() for key in keys(folder / "blobs", ".")},
        "files": {str(path.relative_to(folder)): content for path, content in files.items()},
    }
