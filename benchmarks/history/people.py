"""Who has submitted what: the job of each number, skewed as real histories are, and the same whenever it is asked for.

Projects differ in size by a factor of 1,000; an owner works in one project only, so that some filters never meet; one
label is in each second job, another in one of 200, a third in 100 jobs each; of the names' beginnings one is in 40 % of
the jobs and one in 1 of 10,000.
"""

from dataclasses import dataclass
from typing import NamedTuple

from raysvc.domain.job import JobPhase

PROJECTS = tuple(f"p{n:02}" for n in range(20))
OWNERS_EACH = 10
QUEUES = ("default", "urgent", "nightly")
# Out of 10,000: 40 % of the jobs are of the first project, 10 in 10,000 of each of the last ten.
_SHARES = (4000, 2000, 1200, 800, 600, 500, 400, 200, 120, 80, *[10] * 10)
_BY_SHARE = tuple(p for p, share in enumerate(_SHARES) for _ in range(share))
_NAMES = ("train", "train", "train", "train", "eval", "eval", "eval", "", "", "")
_PRIME = 7_919
_PHASES = (JobPhase.CANCELLED, *[JobPhase.FAILED] * 9, *[JobPhase.SUCCEEDED] * 40)


class Facts(NamedTuple):
    """What is particular to one job; the rest is its kind's."""

    project: str
    owner: str
    name: str
    team: str
    run: str
    tier: str
    queue: str


def facts(number: int) -> Facts:
    """Return the facts of a job: by arithmetic that mixes well, since five million are asked for."""
    mixed = number * 2_654_435_761 % 4_294_967_296
    dice = mixed >> 7
    p = _BY_SHARE[dice % len(_BY_SHARE)]
    owner = f"o{p * OWNERS_EACH + (mixed >> 3) % OWNERS_EACH:03}"
    stem = _NAMES[(mixed >> 11) % len(_NAMES)]
    if number % 9_973 == 0:
        stem = "hotfix"
    elif number % 331 == 0:
        stem = "sweep"
    labelled = (mixed >> 5) & 1
    return Facts(
        project=PROJECTS[p],
        owner=owner,
        name=f"{stem}-{number:07}" if stem else "",
        team=f"t{(mixed >> 9) % 10}" if labelled else "",
        run=f"r{number // 200}" if labelled else "",
        tier="gold" if number % 200 == _PRIME % 200 else "",
        queue=QUEUES[(mixed >> 13) % len(QUEUES)],
    )


@dataclass(frozen=True)
class Size:
    """How many jobs. Of the live ones `placed` occupy the cluster and the rest wait."""

    finished: int
    live: int
    placed: int

    @property
    def total(self) -> int:
        return self.finished + self.live

    def phase(self, number: int) -> JobPhase:
        """Return the phase of a job: the oldest have finished, then come those that run, then those that wait."""
        if number < self.finished:
            return _PHASES[number * 31 % len(_PHASES)]
        return JobPhase.RUNNING if number < self.finished + self.placed else JobPhase.QUEUED


FULL = Size(finished=5_000_000, live=100_000, placed=2_000)
QUICK = Size(finished=100_000, live=5_000, placed=200)
