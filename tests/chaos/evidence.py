"""What is there in the end: the store's rows, Ray's jobs, logs, packages, and the marks of jobs themselves."""

import asyncio
import fcntl
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

import raysvc
from raysvc.backends.local.head import HeadFiles, HeadState
from raysvc.backends.rayjob.api import RayApi
from raysvc.control.housekeeping import Retention, claimed
from raysvc.control.vault import package_key
from raysvc.domain.event import Event
from raysvc.domain.job import Job, JobRef
from raysvc.domain.project import Package
from raysvc.store import schema
from raysvc.store.engine import open_reader, parse
from tests.chaos.history import History, Key, Mark, MarkKind, OnRay, PackageFound

_POLL_S = 0.2


@dataclass(frozen=True)
class Scene:
    """Where to look: the database, the blobs, and the folder of whoever started Ray."""

    database: str
    blobs: Path
    ray: Path

    @property
    def head(self) -> HeadState:
        state = HeadFiles(self.ray).read()
        assert state is not None, "there was never a Ray"
        return state


def settle(scene: Scene, seconds: float) -> None:
    """Wait until the server has nothing left to do: all jobs have ended, and Ray has been swept.

    What is not so by then is for the checker to say.
    """
    deadline = time.monotonic() + seconds
    left = sa.select(sa.func.count()).where(schema.job.c.due_at.is_not(None))
    live = sa.select(sa.func.count()).where(schema.job.c.finished_at.is_(None))
    engine = open_reader(parse(scene.database))
    with engine.connect() as connection:
        while connection.scalar(left) or connection.scalar(live):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
        jobs = _jobs(connection)
    engine.dispose()
    while any(not found.claimed or found.status in {"PENDING", "RUNNING"} for found in _on_ray(scene, jobs)):
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


def gather(scene: Scene, client: raysvc.Client) -> History:
    """Return a history that holds all but what clients planned and saw."""
    engine = open_reader(parse(scene.database))
    with engine.connect() as connection:
        jobs = _jobs(connection)
        events: defaultdict[str, list[Event]] = defaultdict(list)
        for body in connection.scalars(sa.select(schema.event.c.body).order_by(schema.event.c.uid, schema.event.c.seq)):
            event = Event.model_validate_json(body)
            events[event.uid].append(event)
        keys = [Key(key=row.key, uid=row.uid) for row in connection.execute(sa.select(schema.idempotency))]
        packages = _packages(connection, scene.blobs)
    engine.dispose()
    marks = Path(scene.head.root) / "tmp" / "chaos"
    return History(
        jobs=tuple(jobs),
        events={uid: tuple(those) for uid, those in events.items()},
        keys=tuple(keys),
        marks=tuple(_marks(marks / "marks")),
        on_ray=tuple(_on_ray(scene, jobs)),
        logs={job.uid: "".join(client.jobs.logs(job.id)) for job in jobs if not job.deleted and not job.live},
        packages=tuple(packages),
        held=tuple(sorted(path.stem for path in marks.glob("*.lock") if _held(path))),
    )


def _jobs(connection: sa.Connection) -> list[Job]:
    rows = connection.scalars(sa.select(schema.job.c.body).order_by(schema.job.c.uid))
    return [Job.model_validate_json(body) for body in rows]


def _marks(path: Path) -> list[Mark]:
    marks = []
    for line in path.read_text().splitlines() if path.exists() else ():
        kind, tag, attempt, pid, code, at = line.split()
        marks.append(
            Mark(kind=MarkKind(kind), tag=tag, attempt=int(attempt), pid=int(pid), exit_code=int(code), at=int(at))
        )
    return marks


def _held(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _packages(connection: sa.Connection, blobs: Path) -> list[PackageFound]:
    """Return the packages on record. One whose bytes are gone is looked for again: it may have been collected."""
    found = []
    for body in connection.scalars(sa.select(schema.package.c.body)).all():
        package = Package.model_validate_json(body)
        path = blobs / package_key(package)
        kept = path.stat().st_size if path.exists() else 0
        again = sa.select(sa.func.count()).where(schema.package.c.body == body)
        if kept == package.size or connection.scalar(again):
            found.append(PackageFound(name=package.name, size=package.size, kept=kept))
    return found


def _on_ray(scene: Scene, jobs: list[Job]) -> list[OnRay]:
    by_uid = {job.uid: job for job in jobs}
    now, keep = datetime.now(UTC), Retention().on_cluster
    found = []
    for record in asyncio.run(_records(scene)):
        ref = JobRef.parse(str(record.get("submission_id")))
        if ref is not None:
            is_claimed = claimed(by_uid.get(ref.uid), ref, now, keep)
            found.append(OnRay(uid=ref.uid, attempt=ref.attempt, status=str(record.get("status")), claimed=is_claimed))
    return found


async def _records(scene: Scene) -> list[dict[str, object]]:
    api = RayApi(scene.head.url, (Path(scene.head.root) / "token").read_text())
    try:
        return await api.jobs()
    finally:
        await api.close()
