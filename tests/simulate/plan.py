"""A seed becomes a plan: what is asked for, and what goes wrong. Pure; the same seed, the same plan."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from raysvc.testing.backend import Faults

# Faults are over after this long; what comes then must mend all that they did.
FAULTY_S = 12.0
# Each plan has a few of the kinds of fault, each often: what only two faults together can do is found sooner so.
_CLUSTER = {
    "unknown": 0.3,
    "stale": 0.3,
    "unread": 0.3,
    "refused": 0.2,
    "reply_lost": 0.2,
    "late": 0.3,
    "twice": 0.3,
    "lost": 0.3,
}
_STORE = {"store_refused": 0.1, "store_reply_lost": 0.1}
_TROUBLE = {
    "kill": 5,
    "freeze": 5,
    "jump": 3,
    "lose": 2,
    "head": 2,
    "outage": 2,
    "pause": 1,
    "by_hand": 1,
    "forget": 1,
    "shutdown": 1,
}
# A job that runs until its client stops it, at the latest when the faults are over.
FOREVER_S = 1000
PROJECTS = ("default", "other")


@dataclass(frozen=True)
class Op:
    """One thing that happens. `what` says to whom, and how."""

    at: float
    kind: str
    what: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.at:7.3f} {self.kind} " + " ".join(f"{name}={value}" for name, value in self.what.items())


@dataclass(frozen=True)
class Plan:
    """All that a run depends on. `kinds`: the faults that strike by chance, and how likely.

    `two_steps`: an attempt is made by one call and begun by another.
    """

    seed: int
    servers: int
    slots: int
    startup_s: float
    stop_s: float
    latency_s: float
    kinds: dict[str, float]
    limits: dict[str, dict[str, float]]
    ops: tuple[Op, ...]
    two_steps: bool = False

    def cluster_faults(self) -> Faults:
        chances = {name: chance for name, chance in self.kinds.items() if name in _CLUSTER}
        return Faults(**chances, late_s=6.0, stale_s=1.0)


def draw(seed: int) -> Plan:
    """Return the plan of a seed."""
    dice = Random(seed)  # noqa: S311 replayed, not secret
    kinds = {name: most * dice.random() for name, most in (_CLUSTER | _STORE).items() if dice.random() < 0.25}
    limits = {project: _limits(dice) for project in PROJECTS}
    jobs = dice.randint(1, 4)
    ops = [_submit(dice, number, limits) for number in range(jobs)]
    for number in range(jobs):
        ops += [Op(_when(dice), kind, {"job": number}) for kind in ("stop", "delete") if dice.random() < 0.25]
    troubles = dice.choices(list(_TROUBLE), list(_TROUBLE.values()), k=dice.randint(0, 4))
    # An old answer is told from a lost job by the wall clock: set forward in that second, it cannot be.
    kinds = {name: chance for name, chance in kinds.items() if name != "stale"} if "jump" in troubles else kinds
    ops += [_trouble(dice, kind, jobs) for kind in troubles]
    return Plan(
        seed=seed,
        servers=dice.choice((1, 2)),
        slots=dice.randint(1, 3),
        startup_s=dice.choice((0.0, 0.4, 1.5)),
        stop_s=dice.choice((0.0, 0.0, 1.0)),
        latency_s=dice.choice((0.0, 0.0, 0.02, 0.2)),
        kinds=kinds,
        limits=limits,
        ops=tuple(sorted(ops, key=lambda op: op.at)),
        two_steps=dice.random() < 0.2,
    )


def crowded(plan: Plan) -> Plan:
    """Return the plan with two servers, far from their store, and room for one job: what is done twice is seen soon."""
    return replace(plan, servers=2, slots=1, latency_s=0.2)


def lossy(plan: Plan) -> Plan:
    """Return the plan with other faults: no answer comes, and what was asked for comes about all the same."""
    return replace(plan, kinds={"late": 0.3, "unread": 0.2, "reply_lost": 0.2, "store_reply_lost": 0.1})


def _when(dice: Random) -> float:
    return round(FAULTY_S * dice.random(), 3)


def _limits(dice: Random) -> dict[str, float]:
    limits: tuple[dict[str, float], ...] = ({}, {}, {"max_running_jobs": 1}, {"max_cpus": 2})
    return dice.choice(limits)


def _submit(dice: Random, number: int, limits: dict[str, dict[str, float]]) -> Op:
    project = dice.choice(PROJECTS)
    code = dice.choice((0, 0, 0, 1))
    seconds = dice.choice((0, 0.3, 1, 3, 6, FOREVER_S))
    spec: dict[str, Any] = {
        "entrypoint": f"echo begun {number}; sleep {seconds}; echo ended; exit {code}",
        "priority": dice.choice((0, 0, 1)),
        "resources": {"cpus": dice.choice((0, 1, 2, 4 if "max_cpus" not in limits[project] else 2))},
        "retry": {
            "infrastructure": dice.choice((0, 1, 3)),
            "user": dice.choice((0, 0, 1)),
            "backoff_s": dice.choice((0, 0.5)),
            "max_backoff_s": 1.0,
        },
    }
    if dice.random() < 0.15:
        spec["timeout_s"] = dice.choice((1, 4))
    if dice.random() < 0.1:
        spec["secrets"] = {"TOKEN": "TOKEN"}
    # Half of the clients send an idempotency key, half an id of their own.
    what = {"job": number, "project": project, "keyed": dice.random() < 0.5, "spec": spec}
    return Op(round(FAULTY_S / 2 * dice.random() ** 2, 3), "submit", what)


def _trouble(dice: Random, kind: str, jobs: int) -> Op:
    what: dict[str, Any] = {}
    if kind in {"kill", "freeze", "jump", "shutdown"}:
        what["server"] = dice.choice("AB")
    if kind in {"kill", "freeze"}:
        what["after_calls"] = dice.choice((0, 0, 1, 2, 3, 5))
    if kind in {"kill", "shutdown", "freeze"}:
        what["seconds"] = dice.choice((0.1, 1, 4, 9, 15) if kind == "freeze" else (0.1, 1, 4))
    if kind in {"head", "outage", "pause"}:
        what["seconds"] = dice.choice((0.1, 1, 5))
    if kind == "jump":
        what["seconds"] = dice.choice((-40, -10, -3, 3, 30, 600))
        what["server"] = dice.choice(("A", "B", "AB", "AB"))
    if kind == "by_hand":
        what["job"] = dice.randrange(jobs)
    return Op(_when(dice), kind, what)
