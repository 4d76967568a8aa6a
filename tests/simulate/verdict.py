"""What must hold when the faults are over and time has gone on: nothing lost, nothing doubled, nothing left."""

from collections import Counter

from raysvc.control.housekeeping import claimed
from raysvc.control.logbook import LogReader, blob_key, separator
from raysvc.control.signal import Signals
from raysvc.domain.event import BrokenChain, EventKind, fold
from raysvc.domain.job import PLACED, Job, JobRef
from raysvc.domain.query import JobQuery
from tests.simulate.audit import Auditor
from tests.simulate.client import Clients, Promise
from tests.simulate.world import KEEP, World

# A leader that died is replaced within 8 s; what takes longer than this, nobody is about.
IDLE_S = 15.0


def unsettled(world: World) -> list[str]:
    """Return what has not come to rest yet."""
    jobs = world.store.jobs._jobs.values()  # noqa: SLF001 all that there are, deleted ones too
    waits = [f"{job.id} is {job.phase} ({job.reason.code} {job.reason.message})" for job in jobs if job.live]
    waits += [f"{job.id} has ended and is due at {job.due_at}" for job in jobs if not job.live and job.due_at]
    now = world.clock.now()
    for life in world.backend.ray.lives.values():
        kept = world.store.jobs._jobs.get(life.ref.uid)  # noqa: SLF001
        if not life.over(now):
            waits.append(f"{life.ref.name} runs on the cluster")
        elif not claimed(kept, life.ref, now, KEEP):
            waits.append(f"{life.ref.name} is left on the cluster, and no record claims it")
    for ref, _ in world.backend.ray.made.values():
        owner = world.store.jobs._jobs.get(ref.uid)  # noqa: SLF001
        if not (owner and owner.live) and ref.name not in world.backend.ray.lives:
            waits.append(f"{ref.name} is made on the cluster, and waits for ever")
    return waits


async def judge(world: World, clients: Clients, auditor: Auditor) -> list[str]:
    """Return all that is wrong in the end."""
    store = world.store.jobs
    wrongs = [*auditor.wrongs, *clients.wrongs, *world.said, *unsettled(world), *world.loop.unhandled]
    jobs: dict[str, Job] = dict(store._jobs)  # noqa: SLF001
    page = await store.find(JobQuery(limit=1000))
    listed = Counter(job.uid for job in page.items)
    if listed != Counter(uid for uid, job in jobs.items() if not job.deleted):
        wrongs.append("the list shows other jobs than there are")
    for number, promise in clients.promises.items():
        wrongs += _kept(number, promise, jobs)
    ids = Counter((job.project, job.id) for job in jobs.values())
    wrongs += [f"{name} exists {times} times" for name, times in ids.items() if times > 1]
    if len(jobs) > len(clients.promises):
        wrongs.append(f"{len(clients.promises)} jobs were asked for, and {len(jobs)} exist")
    for job in jobs.values():
        wrongs += await _whole(world, job)
        if not job.deleted:
            wrongs += await _logged(world, auditor, job)
        elif await world.blobs.size(f"logs/{job.uid}/") and not any(op.kind == "freeze" for op in world.plan.ops):
            # One that is held up in the midst of an append makes the blob anew; it goes when the record is pruned.
            wrongs.append(f"{job.id} is deleted and its log is not")
    return wrongs


def _kept(number: int, promise: Promise, jobs: dict[str, Job]) -> list[str]:
    """Hold one client's job against what it was promised."""
    if promise.uid is None:
        return []
    job = jobs.get(promise.uid)
    if job is None:
        return [f"job {number} was promised, and there is none"]
    wrongs = []
    if promise.stopped and not job.stop_requested and not job.finished_at:
        wrongs.append(f"job {number} was promised to stop, and nothing of it is kept")
    if promise.deleted and not job.deleted:
        wrongs.append(f"job {number} was promised to be deleted, and is not")
    if job.deleted and not promise.asked_to_delete:
        wrongs.append(f"job {number} is deleted, and nobody asked for it")
    return wrongs


async def _whole(world: World, job: Job) -> list[str]:
    """Hold a record against its events and its own books."""
    events = await world.store.jobs.events(job.uid)
    wrongs = []
    try:
        if Job.model_validate(fold(events)) != job:
            wrongs.append(f"{job.id} is not the fold of its events")
    except BrokenChain as error:
        wrongs.append(f"{job.id}: {error}")
    kinds = Counter(event.kind for event in events)
    if kinds[EventKind.SUBMITTED] != 1 or kinds[EventKind.STOP_REQUESTED] > 1 or kinds[EventKind.DELETED] > 1:
        wrongs.append(f"{job.id} was submitted, stopped or deleted more than once: {kinds}")
    if [attempt.number for attempt in job.attempts] != list(range(1, job.attempt + 1)):
        wrongs.append(f"{job.id} counts attempt {job.attempt} and has {len(job.attempts)}")
    if not job.live and not job.finalised:
        wrongs.append(f"{job.id} has ended and will never be pruned")
    return wrongs


async def _logged(world: World, auditor: Auditor, job: Job) -> list[str]:
    """Hold the archived log against what each attempt wrote."""
    wrongs, whole = [], b""
    now = world.clock.now()
    for number in range(1, job.attempt + 1):
        ref = JobRef(uid=job.uid, attempt=number)
        kept = bytes(world.blobs._blobs.get(blob_key(ref), b""))  # noqa: SLF001 without a stream
        whole += separator(number) + kept
        lives, lost = auditor.lives(ref)
        written = [life.output(now) for life in lives]
        if lost or len(written) > 1 or ref.name in auditor.late:
            # What a lost head took with it cannot be had; what was copied before must be what was written.
            if not any(text.startswith(kept) for text in (*written, b"")) and kept:
                wrongs.append(f"the log of {ref.name} is {kept!r}, and it wrote {written}")
        elif kept != b"".join(written):
            wrongs.append(f"the log of {ref.name} is {kept!r}, and it wrote {written}")
    reader = LogReader(world.store.jobs, world.blobs, Signals())
    if b"".join([chunk async for chunk in reader.read(job)]) != whole:
        wrongs.append(f"the log of {job.id} reads otherwise than its attempts' logs in a row")
    return wrongs


class Idleness:
    """Whether anything waits though nothing keeps it: an end on the cluster that is not seen, room that is not used."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[tuple[str, int, str], float] = {}
        self.wrongs: list[str] = []

    def look(self) -> None:
        """Look once; may be repeated, and tells of each only once."""
        world, now = self._world, self._world.loop.time()
        jobs = [job for job in world.store.jobs._jobs.values() if job.live]  # noqa: SLF001 all that there are
        placed = any(job.phase in PLACED for job in jobs)
        still = {
            (job.uid, job.attempt, job.phase.value)
            for job in jobs
            if (job.phase in PLACED and not self._runs(job)) or (not placed and not self._backs_off(job))
        }
        self._since = {key: self._since.get(key, now) for key in still}
        for key, since in list(self._since.items()):
            if now - since > IDLE_S:
                self.wrongs.append(f"job {key[0]} is {key[2]} for {IDLE_S:g} s and more, and nothing keeps it there")
                self._since[key] = float("inf")

    def _runs(self, job: Job) -> bool:
        life = self._world.backend.ray.lives.get(job.ref.name) if job.ref else None
        return life is not None and not life.over(self._world.clock.now())

    def _backs_off(self, job: Job) -> bool:
        clocks = [server.clock.now() for server in self._world.servers]
        return job.not_before is not None and job.not_before > min(clocks)
