"""The checker finds every break there is: each history here is sound but for one thing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from raysvc.control.decide import admit
from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import Job, JobPhase, JobSpec, submit
from raysvc.domain.model import make_uid
from raysvc.domain.reason import ReasonCode, reason
from tests.chaos.check import RULES, check
from tests.chaos.history import (
    TAG,
    History,
    Key,
    Mark,
    MarkKind,
    OnRay,
    Op,
    Outcome,
    PackageFound,
    Plan,
    Verb,
)

NOW = datetime(2026, 11, 24, tzinfo=UTC)
P = JobPhase
Trail = tuple[Job, tuple[Event, ...]]


def made(number: int, *moves: str, tag: str | None = None) -> Trail:
    """Return a job and its events: `starts`, `runs`, `stop`, `stops`, `succeeds`, `fails`, `cancels`, `deleted` …"""
    metadata = {TAG: tag or f"t{number}"}
    job, event = submit(
        JobSpec(entrypoint="true", metadata=metadata),
        job_id=f"job-{number}",
        uid=make_uid(number, number),
        project="default",
        owner="ada",
        now=NOW,
    )
    events = [event]
    for step, move in enumerate(moves, start=1):
        job, event = MOVES[move](job, NOW + timedelta(seconds=step))
        events.append(event)
    return job, tuple(events)


def _to(phase: JobPhase, code: ReasonCode, **more: Any) -> Callable[[Job, datetime], tuple[Job, Event]]:
    def move(job: Job, now: datetime) -> tuple[Job, Event]:
        return job.to(phase, reason(code), now, **more)

    return move


def _starts(job: Job, now: datetime) -> tuple[Job, Event]:
    phase, why, fields = admit(job, "local", now)
    return job.to(phase, why, now, **fields)


MOVES: dict[str, Callable[[Job, datetime], tuple[Job, Event]]] = {
    "starts": _starts,
    "runs": _to(P.RUNNING, ReasonCode.RUNNING),
    "stop": lambda job, now: job.change(EventKind.STOP_REQUESTED, now, actor="ada", stop_requested=True),
    "stops": _to(P.STOPPING, ReasonCode.STOP_REQUESTED),
    "retries": _to(P.QUEUED, ReasonCode.BACKOFF),
    "succeeds": _to(P.SUCCEEDED, ReasonCode.SUCCEEDED),
    "fails": _to(P.FAILED, ReasonCode.ENTRYPOINT_FAILED),
    "lacks": _to(P.FAILED, ReasonCode.PACKAGE_MISSING),
    "cancels": _to(P.CANCELLED, ReasonCode.STOPPED),
    "deleted": lambda job, now: job.change(EventKind.DELETED, now, actor="ada", deleted=True),
}
RAN = ("starts", "runs", "succeeds")


def op(verb: Verb, number: int, outcome: Outcome = Outcome.OK, at: int = 1, **fields: Any) -> Op:
    names = {"tag": f"t{number}", "job_id": f"job-{number}", "uid": make_uid(number, number)}
    return Op(verb=verb, outcome=outcome, began=at, ended=at + 1, **{**names, **fields})


def mark(kind: MarkKind, number: int, attempt: int = 1, code: int = 0, at: int = 5) -> Mark:
    return Mark(kind=kind, tag=f"t{number}", attempt=attempt, pid=number, exit_code=code, at=at)


def history(*trails: Trail, **more: Any) -> History:
    """Return a sound history of jobs that were each submitted under a key, ran, and said one line."""
    jobs = tuple(job for job, _ in trails)
    numbers = [int(job.id.removeprefix("job-")) for job in jobs]
    ran = [(n, a.number) for n, job in zip(numbers, jobs, strict=True) for a in job.attempts]
    kinds = (MarkKind.BEGIN, MarkKind.END)
    fields: dict[str, Any] = {
        "plans": tuple(Plan(tag=f"t{n}", key=f"k{n}") for n in dict.fromkeys(numbers)),
        "ops": tuple(op(Verb.SUBMIT, n) for n in dict.fromkeys(numbers)),
        "jobs": jobs,
        "events": {job.uid: events for job, events in trails},
        "keys": tuple(Key(key=f"k{n}", uid=make_uid(n, n)) for n in dict.fromkeys(numbers)),
        "marks": tuple(mark(kind, n, a) for n, a in ran for kind in kinds),
        "logs": {job.uid: _log(job) for job in jobs},
    }
    return History(**{**fields, **more})


def _log(job: Job) -> str:
    said = [f"{job.spec.metadata[TAG]} {a.number} 1\n" for a in job.attempts]
    return "".join(
        line if number == 1 else f"\n[raysvc] ---- attempt {number} ----\n{line}"
        for number, line in enumerate(said, start=1)
    )


SOUND = history(made(1, *RAN), made(2, "starts", "stop", "stops", "cancels"), made(3, *RAN, "deleted"))
SOUND = SOUND.model_copy(
    update={
        "ops": (
            *SOUND.ops,
            op(Verb.SUBMIT, 1, at=3),
            op(Verb.REUSE, 1, Outcome.REFUSED, at=3),
            op(Verb.STOP, 2, live=True, at=3),
            op(Verb.DELETE, 3, at=9),
            op(Verb.GET, 1, phase=P.SUCCEEDED, at=9),
            op(Verb.LIST, 0, at=8, listed=("job-1", "job-2", "job-3")),
        ),
        "on_ray": (OnRay(uid=make_uid(1, 1), attempt=1, status="SUCCEEDED", claimed=True),),
        "packages": (PackageFound(name="a.zip", size=7, kept=7),),
    }
)


def without(records: tuple[Any, ...], number: int) -> tuple[Any, ...]:
    return tuple(r for r in records if getattr(r, "tag", None) != f"t{number}")


def altered(**fields: Any) -> History:
    return SOUND.model_copy(update=fields)


def forged() -> History:
    """A history whose record of job 1 is not what its events make of it."""
    job, *others = SOUND.jobs
    return altered(jobs=(job.model_copy(update={"owner": "eve"}), *others))


def cut() -> History:
    """A history in which an event of job 1 is lost."""
    uid = SOUND.jobs[0].uid
    return altered(events={**SOUND.events, uid: SOUND.events[uid][:1] + SOUND.events[uid][2:]})


def test_a_sound_history_has_no_violation() -> None:
    assert check(SOUND) == []


BROKEN: dict[str, tuple[str, History]] = {
    "an accepted job is nowhere": ("a 2xx submit is kept", altered(jobs=SOUND.jobs[1:])),
    "its id was taken, and it is nowhere": (
        "a 2xx submit is kept",
        history(plans=(Plan(tag="t1"),), ops=(op(Verb.SUBMIT, 1, Outcome.UNKNOWN), op(Verb.SUBMIT, 1, Outcome.EXISTS))),
    ),
    "a reply named a job that is not there": (
        "a 2xx submit is kept",
        altered(ops=(*SOUND.ops, op(Verb.SUBMIT, 1, uid=make_uid(9, 9)))),
    ),
    "a job was deleted that nobody deleted": (
        "a 2xx submit is kept",
        altered(ops=tuple(o for o in SOUND.ops if o.verb is not Verb.DELETE)),
    ),
    "a delete was accepted and did nothing": (
        "a 2xx submit is kept",
        altered(ops=(*SOUND.ops, op(Verb.DELETE, 1, at=9))),
    ),
    "a repeated submit made two": (
        "a submit exists once",
        altered(jobs=(*SOUND.jobs, made(4, *RAN, tag="t1")[0])),
    ),
    "an id was taken before its first submit": (
        "a submit exists once",
        altered(ops=(op(Verb.SUBMIT, 1, Outcome.EXISTS), *SOUND.ops)),
    ),
    "a job that nobody submitted": ("a submit exists once", altered(plans=without(SOUND.plans, 1))),
    "two jobs of one id": (
        "a submit exists once",
        altered(jobs=(*SOUND.jobs, made(4, *RAN)[0].model_copy(update={"id": "job-1"}))),
    ),
    "a key gave two jobs": ("a key has one job", altered(ops=(*SOUND.ops, op(Verb.SUBMIT, 1, uid=make_uid(2, 2))))),
    "a key is forgotten": ("a key has one job", altered(keys=SOUND.keys[1:])),
    "a key belongs to another job": (
        "a key has one job",
        altered(keys=(Key(key="k1", uid=make_uid(2, 2)), *SOUND.keys[1:])),
    ),
    "a key was taken for another body": ("a key has one job", altered(ops=(*SOUND.ops, op(Verb.REUSE, 1)))),
    "an attempt ran twice": (
        "no attempt runs twice",
        altered(marks=(*SOUND.marks, mark(MarkKind.BEGIN, 1, at=7))),
    ),
    "two attempts ran at once": ("no attempt runs twice", altered(marks=(*SOUND.marks, mark(MarkKind.OVERLAP, 1)))),
    "an attempt ran that no record knows": (
        "no attempt runs twice",
        altered(marks=(*SOUND.marks, mark(MarkKind.BEGIN, 1, attempt=2))),
    ),
    "a stop is not on record": ("a 2xx stop wins", altered(ops=(*SOUND.ops, op(Verb.STOP, 1, live=True)))),
    "a stopped job failed without an end": (
        "a 2xx stop wins",
        history(
            made(1, "starts", "runs", "stop", "fails"),
            ops=(op(Verb.SUBMIT, 1), op(Verb.STOP, 1, live=True)),
            marks=(mark(MarkKind.BEGIN, 1),),
        ),
    ),
    "a stopped job was started": ("a 2xx stop wins", history(made(1, "stop", *RAN))),
    "a stopped job was tried again": (
        "a 2xx stop wins",
        history(made(1, "starts", "runs", "stop", "retries", "starts", "runs", "succeeds")),
    ),
    "an orphan on Ray": (
        "nothing is left on Ray",
        altered(on_ray=(OnRay(uid=make_uid(3, 3), attempt=1, status="RUNNING", claimed=False),)),
    ),
    "an attempt goes on on Ray after its job": (
        "nothing is left on Ray",
        altered(on_ray=(OnRay(uid=make_uid(1, 1), attempt=1, status="RUNNING", claimed=True),)),
    ),
    "a process outlives its job": ("nothing is left on Ray", altered(held=("t1",))),
    "a package's bytes are gone": (
        "no package is missing",
        altered(packages=(PackageFound(name="a.zip", size=7, kept=0),)),
    ),
    "a job lacked its package": ("no package is missing", history(made(1, "starts", "lacks"))),
    "a job had another's package": ("no package is missing", altered(marks=(*SOUND.marks, mark(MarkKind.FOREIGN, 1)))),
    "a line is missing": ("logs are whole", altered(logs={**SOUND.logs, SOUND.jobs[0].uid: ""})),
    "a line is there twice": ("logs are whole", altered(logs={**SOUND.logs, SOUND.jobs[0].uid: "t1 1 1\nt1 1 1\n"})),
    "a log is gone": ("logs are whole", altered(logs={})),
    "the second attempt's log is in the first's": (
        "logs are whole",
        history(made(1, "starts", "runs", "retries", *RAN), logs={make_uid(1, 1): "t1 1 1\nt1 2 1\n"}),
    ),
    "a record is not its events'": ("events fold to the record", forged()),
    "an event is lost": ("events fold to the record", cut()),
    "a job never ended": ("ends are true", history(made(1, "starts", "runs"))),
    "a job succeeded that never ran": ("ends are true", altered(marks=without(SOUND.marks, 1))),
    "a job succeeded that exited with 1": (
        "ends are true",
        altered(marks=(*without(SOUND.marks, 1), mark(MarkKind.BEGIN, 1), mark(MarkKind.END, 1, code=1))),
    ),
    "a job failed that had no fault": ("ends are true", history(made(1, "starts", "runs", "fails"))),
    "an end was told and taken back": (
        "what was told stays true",
        altered(ops=(*SOUND.ops, op(Verb.GET, 1, phase=P.FAILED))),
    ),
    "a list lacks what was accepted": (
        "what was told stays true",
        altered(ops=(*SOUND.ops, op(Verb.LIST, 0, at=8, listed=("job-2", "job-3")))),
    ),
    "a get found nothing": (
        "what was told stays true",
        altered(ops=(*SOUND.ops, op(Verb.GET, 1, Outcome.REFUSED, at=8))),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_break_is_found(name: str) -> None:
    promise, broken = BROKEN[name]
    assert promise in {violation.promise for violation in check(broken)}


def test_every_rule_has_a_break_that_it_finds() -> None:
    assert {promise for promise, _ in BROKEN.values()} == set(RULES)


def test_a_history_survives_being_kept() -> None:
    assert History.model_validate_json(SOUND.model_dump_json()) == SOUND
