"""A Ray cluster in memory, as far as jobs can see one: what has happened by now is worked out when somebody looks."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from raysvc.domain.job import Job, JobRef
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import ReasonCode
from raysvc.ports import Clock
from raysvc.testing.shell import FOREVER, Run

_NOT_FOUND = frozenset({126, 127})
_LONGEST_LOSS_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """How an attempt ends, whatever its entrypoint says."""

    seen: Seen = Seen.SUCCEEDED
    cause: ReasonCode | None = None
    exit_code: int | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Life:
    """One attempt, foreseen from its start; stopping it or losing its cluster changes its end. `ends` None: never."""

    ref: JobRef
    began: datetime
    runs_from: datetime
    ends: datetime | None
    end: Observation
    run: Run

    def over(self, now: datetime) -> bool:
        return self.ends is not None and self.ends <= now

    def seen(self, now: datetime) -> Observation:
        if self.over(now):
            return self.end
        if now < self.runs_from:
            return Observation(seen=Seen.PENDING)
        return Observation(seen=Seen.RUNNING, node="node-0", started_at=self.runs_from)

    def output(self, now: datetime) -> bytes:
        """Return what the driver has written by now."""
        until = now if self.ends is None else min(now, self.ends)
        elapsed = (until - self.runs_from).total_seconds()
        return b"".join(text for at, text in self.run.lines if at <= elapsed)

    def cut(self, at: datetime, end: Observation) -> "Life":
        return self if self.over(at) else replace(self, ends=at, end=end)


@dataclass(frozen=True)
class Past:
    """A record that the cluster has no more. `lost`: with its head, and not because it was deleted."""

    life: Life
    until: datetime
    lost: bool


@dataclass
class FakeRay:
    """The records of a cluster, by attempt. Like Ray, it refuses a name it knows, and forgets one that is deleted.

    A stop takes `stop_s` to work. `past` has what it forgot, and `witness` is told of each attempt that begins.
    With `two_steps` the first apply makes an attempt and the second begins it; a lost head has it wait once more.
    """

    clock: Clock
    dice: random.Random
    startup_s: float = 0.0
    stop_s: float = 0.0
    lost: float = 0.0
    two_steps: bool = False
    # Of `two_steps`: what was made, and when; until it is deleted, or stopped before it began.
    made: dict[str, tuple[JobRef, datetime]] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)
    # By uid: how many attempts have begun, and how many were alive at one moment, at most.
    begun: Counter[str] = field(default_factory=Counter)
    most_alive: Counter[str] = field(default_factory=Counter)
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    files: dict[str, dict[str, tuple[bytes, datetime]]] = field(default_factory=dict)
    past: defaultdict[str, list[Past]] = field(default_factory=lambda: defaultdict(list))
    witness: Callable[[JobRef], None] | None = None
    _names: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    _arrivals: list[tuple[datetime, Job, Run]] = field(default_factory=list)

    def advance(self) -> datetime:
        """Let everything happen that was to happen by now; return now."""
        now = self.clock.now()
        if any(at <= now for at, _, _ in self._arrivals):
            due = sorted((item for item in self._arrivals if item[0] <= now), key=lambda item: item[0])
            self._arrivals = [item for item in self._arrivals if item[0] > now]
            for at, job, run in due:
                self.apply(at, job, run)
        return now

    def send_later(self, seconds: float, job: Job, run: Run) -> None:
        """Let a submission arrive only then, whatever has become of the job."""
        self._arrivals.append((self.clock.now() + timedelta(seconds=seconds), job, run))

    def apply(self, at: datetime, job: Job, run: Run) -> None:
        """Begin an attempt, or make one that is to be begun by the next apply."""
        if self.two_steps and job.ref is not None and job.ref.name not in self.made:
            self.made[job.ref.name] = job.ref, at
        else:
            self.begin(at, job, run)

    def begin(self, at: datetime, job: Job, run: Run) -> None:
        """Start an attempt, unless the cluster knows one of its name."""
        ref = job.ref
        if ref is None or ref.name in self.lives:
            return
        scripted = self.outcomes.get(ref.uid, [])
        outcome = scripted[ref.attempt - 1] if ref.attempt <= len(scripted) else _outcome(job, run)
        if self.lost and self.dice.random() < self.lost:
            seconds = min(outcome.seconds, _LONGEST_LOSS_S) * self.dice.random()
            outcome = Outcome(Seen.FAILED, ReasonCode.DRIVER_LOST, seconds=seconds)
        runs_from = at + timedelta(seconds=self.startup_s)
        ends = None if outcome.seconds == FOREVER else runs_from + timedelta(seconds=outcome.seconds)
        end = Observation(
            seen=outcome.seen,
            cause=outcome.cause,
            exit_code=outcome.exit_code,
            node="node-0",
            started_at=runs_from,
            finished_at=ends,
        )
        self.lives[ref.name] = Life(ref, at, runs_from, ends, end, run)
        self.begun[ref.uid] += 1
        self._names[ref.uid].add(ref.name)
        alive = sum(not self.lives[name].over(at) for name in self._names[ref.uid])
        self.most_alive[ref.uid] = max(self.most_alive[ref.uid], alive)
        self.files.setdefault(ref.uid, {}).update({name: (data, at) for name, data in run.files.items()})
        if self.witness is not None:
            self.witness(ref)

    def seen(self, ref: JobRef, at: datetime) -> Observation:
        """Return what was to be seen of an attempt at a moment that is not to come."""
        current = self.lives.get(ref.name)
        if current is not None and current.began <= at:
            return current.seen(at)
        for past in reversed(self.past[ref.name]):
            if past.life.began <= at < past.until:
                return past.life.seen(at)
        _, made_at = self.made.get(ref.name, (ref, None))
        return Observation(seen=Seen.ABSENT if made_at is None or at < made_at else Seen.WAITING)

    def stop(self, ref: JobRef) -> None:
        self._stop(ref, self.advance() + timedelta(seconds=self.stop_s))

    def _stop(self, ref: JobRef, at: datetime) -> None:
        if (life := self.lives.get(ref.name)) is None:
            self.made.pop(ref.name, None)
        else:
            self.lives[ref.name] = life.cut(at, Observation(seen=Seen.STOPPED, node="node-0", finished_at=at))

    def delete(self, ref: JobRef) -> None:
        """Stop it, and forget it when it has ended; here that takes no time."""
        now = self.advance()
        self._stop(ref, now)
        if life := self.lives.pop(ref.name, None):
            self.past[ref.name].append(Past(life, now, lost=False))
        self.made.pop(ref.name, None)
        self._names[ref.uid].discard(ref.name)

    def lose_all(self) -> None:
        """Forget every job, running or not, as when a head is started anew; what is on its way to it is lost too."""
        now = self.advance()
        end = Observation(seen=Seen.FAILED, cause=ReasonCode.CLUSTER_LOST, finished_at=now)
        for name, life in self.lives.items():
            self.past[name].append(Past(life.cut(now, end), now, lost=True))
            if life.over(now):
                self.made.pop(name, None)
        self.lives.clear()
        self._names.clear()
        self._arrivals.clear()

    def known(self) -> list[JobRef]:
        """Return the attempts that it has a record of."""
        made = {name: ref for name, (ref, _) in self.made.items()}
        return list((made | {name: life.ref for name, life in self.lives.items()}).values())

    def alive(self) -> list[JobRef]:
        """Return the attempts that occupy the cluster now."""
        now = self.advance()
        return [life.ref for life in self.lives.values() if not life.over(now)]


def _outcome(job: Job, run: Run) -> Outcome:
    """Return how an attempt ends by itself."""
    if working_dir(job).startswith("file://"):  # there are no files here
        return Outcome(Seen.FAILED, ReasonCode.RUNTIME_ENV_FAILED)
    if run.exit_code == 0:
        return Outcome(Seen.SUCCEEDED, exit_code=0, seconds=run.seconds)
    missing = run.exit_code in _NOT_FOUND
    cause = ReasonCode.ENTRYPOINT_NOT_FOUND if missing else ReasonCode.ENTRYPOINT_FAILED
    return Outcome(Seen.FAILED, cause, run.exit_code, run.seconds)


def working_dir(job: Job) -> str:
    """Return where a job's code comes from, or ''."""
    return str(getattr(job.spec.code, "uri", None) or job.spec.runtime_env.get("working_dir") or "")
