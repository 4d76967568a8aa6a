"""What must hold at each change of a record and at each start of an attempt, judged as it happens."""

from datetime import datetime

from raysvc.control.decide import START_TIMEOUT
from raysvc.control.lease import NAME
from raysvc.domain.job import JOB_TRANSITIONS, PLACED, Job, JobPhase, JobRef
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.project import Limits
from raysvc.domain.reason import Reason, ReasonCode
from raysvc.domain.resources import Resources
from raysvc.testing.cluster import Life
from tests.simulate.loop import CURRENT
from tests.simulate.plan import FAULTY_S
from tests.simulate.world import World

P = JobPhase
C = ReasonCode
_SEEN_ON_RAY = frozenset({C.ENTRYPOINT_FAILED, C.ENTRYPOINT_NOT_FOUND, C.RUNTIME_ENV_FAILED, C.DRIVER_LOST})


class Auditor:
    """Knows what really happened on the cluster, and holds the records against it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.wrongs: list[str] = []
        # Attempts that began when their job had ended or gone on: sent before, and late.
        self.late: set[str] = set()
        self._placed: dict[str, Job] = {}
        self._begun: set[str] = set()
        # Attempts that a record says are on the cluster: none of them may be sent once more.
        self._known: set[str] = set()
        # Attempts that arrived when their sender no longer waited, and up to when the cluster has told of each.
        self._arrived: set[str] = set()
        self._told: dict[str, datetime] = {}
        self._seen = world.backend.ray.seen
        world.backend.ray.seen = self.seen  # type: ignore[method-assign]
        world.store.jobs.witness = self.changed
        world.backend.ray.witness = self.begun

    def wrong(self, text: str) -> None:
        self.wrongs.append(text)
        self.world.note(f"WRONG: {text}")

    def changed(self, before: Job | None, job: Job) -> None:
        """Judge a change of a record, about to be kept."""
        self._tell(before, job)
        if job.phase in PLACED:
            self._placed[job.uid] = job
            sent = job.reason.code != C.SUBMITTING and not self.world.plan.two_steps
            if job.ref is not None and (job.phase is P.RUNNING or (job.phase is P.STARTING and sent)):
                self._known.add(job.ref.name)
        else:
            self._placed.pop(job.uid, None)
        if before is not None and job.phase is not before.phase:
            self._moved(before, job)

    def _moved(self, before: Job, job: Job) -> None:
        if job.phase not in JOB_TRANSITIONS[before.phase]:
            self.wrong(f"{job.id} moved from {before.phase} to {job.phase}")
        if before.stop_requested and job.phase in {P.QUEUED, P.STARTING}:
            self.wrong(f"{job.id} moved to {job.phase} after a stop was promised")
        overdue = job.deadline is not None and job.updated_at >= job.deadline
        if job.reason.code is C.TIMED_OUT and before.reason.code is not C.TIMED_OUT and not overdue:
            self.wrong(f"{job.id} is said to have timed out, and it had time until {job.deadline}")
        if job.phase is P.STARTING:
            self._check_room(job)
        elif job.phase is P.QUEUED:
            self._check_end(before, job, job.attempts[-1].reason or job.reason)
        elif not job.live:
            self._check_end(before, job, job.reason)
            self._check_budget(before, job)

    def _tell(self, before: Job | None, job: Job) -> None:
        if self.world.trace is not None:
            way = f"{before.phase} -> {job.phase}" if before and before.phase is not job.phase else f"{job.phase}"
            marks = " ".join(n for n in ("stop_requested", "finalised", "deleted") if getattr(job, n))
            why = f"{job.reason.code} {job.reason.message}".strip()
            self.world.note(f"    {job.id} v{job.version} {way} attempt {job.attempt}: {why} {marks}".rstrip())

    def _check_room(self, job: Job) -> None:
        world = self.world
        total = Resources()
        for other in self._placed.values():
            total = total.plus(other.spec.demand())
        if len(self._placed) > world.plan.slots:
            self.wrong(f"{job.id} starts, and now {len(self._placed)} run where {world.plan.slots} may")
        if beyond := total.shortfall(world.backend.cluster.resources):
            self.wrong(f"{job.id} starts, and the cluster is short of {beyond}")
        limits = Limits.model_validate(world.plan.limits[job.project])
        mine = [other for other in self._placed.values() if other.project == job.project]
        cpus = sum(other.spec.demand().cpus for other in mine)
        if limits.max_running_jobs is not None and len(mine) > limits.max_running_jobs:
            self.wrong(f"{job.id} starts, and {job.project} runs {len(mine)} of {limits.max_running_jobs} jobs")
        if limits.max_cpus is not None and cpus > limits.max_cpus:
            self.wrong(f"{job.id} starts, and {job.project} takes {cpus} of {limits.max_cpus} CPUs")
        if job.attempt > 1 + job.infrastructure_retries + job.user_retries:
            self.wrong(f"{job.id} starts attempt {job.attempt} without having been granted a retry")

    def _check_end(self, before: Job, job: Job, why: Reason) -> None:
        """Hold the end of an attempt, or of a job that waited, against what happened."""
        lives, lost = self.lives(before.ref) if before.ref and before.phase in PLACED else ([], False)
        now = self.world.clock.now()
        unseen = [life for life in lives if self._unseen(life)]
        self.late.update(life.ref.name for life in unseen)
        lives = [life for life in lives if life not in unseen]
        running = [life for life in lives if not life.over(now)]
        if running and why.code is C.SECRET_MISSING:
            self.late.update(life.ref.name for life in running)  # on its way when it was refused: swept
        elif running:
            self.wrong(f"{job.id} moved to {job.phase} ({why.code}) while its attempt {job.attempt} runs")
        ends = [life.end for life in lives if life.over(now)]
        if not self._fits(job, why, ends, lost=lost):
            seen = ", ".join(f"{end.seen} {end.cause or ''}" for end in ends) or "nothing"
            self.wrong(f"{job.id} moved to {job.phase} for {why.code}; what happened to its attempt is: {seen}")

    def _unseen(self, life: Life) -> bool:
        """Return whether an attempt came after its sender had given it up, and after the cluster was last asked of it.

        Who is told that it is absent, and was told so a while before, cannot know: it is swept.
        """
        name = life.ref.name
        return name in self._arrived and name in self._told and self._told[name] < life.began

    def _fits(self, job: Job, why: Reason, ends: list[Observation], *, lost: bool) -> bool:
        code = why.code
        natural = [end for end in ends if end.seen in {Seen.SUCCEEDED, Seen.FAILED} and end.cause is not C.CLUSTER_LOST]
        if code is C.SUCCEEDED:
            return any(end.seen is Seen.SUCCEEDED for end in ends)
        if code in _SEEN_ON_RAY:
            codes = {end.exit_code for end in ends if end.cause is code}
            return bool(codes) and job.attempts[-1].exit_code in codes
        if code is C.STOPPED:
            wished = job.stop_requested or job.uid in self.world.by_hand
            return wished and (lost or not natural)
        if code is C.TIMED_OUT:
            # Whether its time was over is judged when that is said; one that is told to end may well fail by itself.
            return lost or not any(end.seen is Seen.SUCCEEDED for end in ends)
        if code in {C.SECRET_MISSING, C.START_TIMED_OUT}:
            return self._may_not_begin(job, code)
        # What was made and had not begun is gone without a trace where somebody ends it by hand.
        return code is C.CLUSTER_LOST and (lost or (self.world.plan.two_steps and job.uid in self.world.by_hand))

    def _may_not_begin(self, job: Job, code: ReasonCode) -> bool:
        if code is C.SECRET_MISSING:
            return job.project in self.world.forgotten
        # No run lasts so long: only clocks that were set forward make it so.
        ahead: float = sum(max(0.0, op.what["seconds"]) for op in self.world.plan.ops if op.kind == "jump")
        return ahead + FAULTY_S >= START_TIMEOUT.total_seconds()

    def _check_budget(self, before: Job, job: Job) -> None:
        retry = job.spec.retry
        if job.infrastructure_retries > retry.infrastructure or job.user_retries > retry.user:
            self.wrong(f"{job.id} was tried again more often than its spec allows")
        spent = {C.CLUSTER_LOST: job.infrastructure_retries >= retry.infrastructure}
        spent[C.DRIVER_LOST] = spent[C.CLUSTER_LOST]
        spent[C.ENTRYPOINT_FAILED] = job.user_retries >= retry.user
        over = job.deadline is not None and job.updated_at >= job.deadline
        if not spent.get(job.reason.code, True) and not before.stop_requested and not over:
            self.wrong(f"{job.id} failed for {job.reason.code} with retries left")

    def lives(self, ref: JobRef) -> tuple[list[Life], bool]:
        """Return all that ran on the cluster under that name, and whether a head took one with it."""
        ray = self.world.backend.ray
        past = ray.past.get(ref.name, [])
        current = [ray.lives[ref.name]] if ref.name in ray.lives else []
        return [*(one.life for one in past), *current], any(one.lost for one in past)

    def seen(self, ref: JobRef, at: datetime) -> Observation:
        """Tell what the cluster tells, and remember up to when that goes."""
        self._told[ref.name] = max(at, self._told.get(ref.name, at))
        return self._seen(ref, at)

    def begun(self, ref: JobRef) -> None:
        """Judge the start of an attempt on the cluster."""
        world = self.world
        world.note(f"    cluster: {ref.name} begins")
        if world.backend.ray.lives[ref.name].began < world.clock.now():
            self._arrived.add(ref.name)  # worked out when somebody looks: after it was
        job = world.store.jobs._jobs.get(ref.uid)  # noqa: SLF001 what is kept now, without an await
        if job is None:
            self.wrong(f"{ref.name} begins, and no job is kept under its uid")
            return
        current = job.ref == ref and job.phase in PLACED
        sender, lease = CURRENT.get(), world.store.leases._leases.get(NAME)  # noqa: SLF001 now, without an await
        if sender is not None and (lease is None or lease.holder != sender.name):
            # Sent by one that was held up until another led. Ray refuses it, unless its head was lost meanwhile.
            self.late.add(ref.name)
        elif ref.name in self._begun and current and ref.name in self._known:
            self.wrong(f"{ref.name} begins a second time, and its record knew of the first")
        if not current:
            self.late.add(ref.name)
        self._begun.add(ref.name)
        if ref.name not in self.late and len(self.running(ref.uid)) > 1:
            self.wrong(f"{ref.name} begins while another attempt of its job runs")

    def running(self, uid: str) -> list[JobRef]:
        """Return the attempts of a job that run now. One that comes late may run beside another, and not for long."""
        now = self.world.clock.now()
        lives = self.world.backend.ray.lives.values()
        return [life.ref for life in lives if life.ref.uid == uid and not life.over(now)]

    def doubled(self) -> list[str]:
        """Return the jobs of which more than one attempt runs now."""
        return [uid for uid in self.world.uids.values() if len(self.running(uid)) > 1]
