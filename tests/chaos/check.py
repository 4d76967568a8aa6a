"""Which promises a history breaks. Pure: (history) -> violations; `test_check` feeds it every break there is."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

from raysvc.domain.event import BrokenChain, Event, EventKind, fold
from raysvc.domain.job import TERMINAL, Job, JobPhase
from raysvc.domain.reason import ReasonCode
from tests.chaos.history import History, Mark, MarkKind, Op, Outcome, Plan, Verb, Violation, tag_of

_SEPARATOR = re.compile(r"\n?\[raysvc\] ---- attempt (\d+) ----\n")
_LIVE_ON_RAY = frozenset({"PENDING", "RUNNING"})
# What an entrypoint exits with that is told to fail.
FAILS_WITH = 7


class _Case:
    """A history, indexed."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.plans = {plan.tag: plan for plan in history.plans}
        self.jobs = {job.uid: job for job in history.jobs}
        self.by_tag: defaultdict[str, list[Job]] = defaultdict(list)
        for job in history.jobs:
            self.by_tag[tag_of(job)].append(job)
        self.ops: defaultdict[str, list[Op]] = defaultdict(list)
        for op in history.ops:
            self.ops[op.tag].append(op)
        self.marks: defaultdict[str, list[Mark]] = defaultdict(list)
        for mark in sorted(history.marks, key=lambda mark: mark.at):
            self.marks[mark.tag].append(mark)

    def all(self, verb: Verb, outcome: Outcome | None = None) -> Iterator[Op]:
        return (op for op in self.history.ops if op.verb is verb and outcome in {None, op.outcome})

    def accepted(self) -> Iterator[tuple[Plan, list[Op]]]:
        """Yield each plan with the replies that said it was taken."""
        for plan in self.history.plans:
            taken = [
                op for op in self.ops[plan.tag] if op.verb is Verb.SUBMIT and op.outcome in {Outcome.OK, Outcome.EXISTS}
            ]
            if taken:
                yield plan, taken

    def ends(self, job: Job, attempt: int) -> list[Mark]:
        return [m for m in self.marks[tag_of(job)] if m.kind is MarkKind.END and m.attempt == attempt]


Rule = Callable[[_Case], Iterator[str]]


def check(history: History) -> list[Violation]:
    """Return every promise that the history breaks, with what shows it."""
    case = _Case(history)
    return [Violation(promise=promise, what=what) for promise, rule in RULES.items() for what in rule(case)]


def _kept(case: _Case) -> Iterator[str]:
    for plan, taken in case.accepted():
        jobs = case.by_tag[plan.tag]
        deletes = [op for op in case.ops[plan.tag] if op.verb is Verb.DELETE and op.outcome is not Outcome.REFUSED]
        if not jobs:
            yield f"{plan.tag} was accepted ({taken[0].job_id}) and is nowhere"
        elif any(job.deleted for job in jobs) and not deletes:
            yield f"{plan.tag} is deleted, and nobody asked for that"
        for op in taken:
            if op.uid and op.uid not in case.jobs:
                yield f"{plan.tag} was accepted as {op.uid}, which is nowhere"
    for op in case.all(Verb.DELETE, Outcome.OK):
        if any(job.id == op.job_id and not job.deleted for job in case.by_tag[op.tag]):
            yield f"{op.tag} was deleted, said a reply, and is still there"


def _once(case: _Case) -> Iterator[str]:
    for plan in case.history.plans:
        submits = [op for op in case.ops[plan.tag] if op.verb is Verb.SUBMIT]
        found = len(case.by_tag[plan.tag])
        most = 1 if plan.once else sum(op.outcome in {Outcome.OK, Outcome.UNKNOWN} for op in submits)
        if found > most:
            yield f"{plan.tag} exists {found} times"
        first = next((op for op in submits if op.outcome is not Outcome.REFUSED), None)
        if first is not None and first.outcome is Outcome.EXISTS:
            yield f"{plan.tag} was refused as there already before it was ever sent"
    for tag in case.by_tag:
        if tag not in case.plans:
            yield f"a job of tag {tag!r} exists that nobody submitted"
    ids = Counter(job.id for job in case.history.jobs if not job.deleted)
    yield from (f"id {job_id} belongs to {count} jobs" for job_id, count in ids.items() if count > 1)


def _one_key_one_job(case: _Case) -> Iterator[str]:
    for plan, taken in case.accepted():
        uids = {op.uid for op in taken if op.uid}
        if plan.key is not None and len(uids) > 1:
            yield f"key {plan.key} gave the jobs {sorted(uids)}"
    known = {key.key: key.uid for key in case.history.keys}
    for plan, taken in case.accepted():
        if plan.key is None:
            continue
        uid = known.get(plan.key)
        if uid is None:
            yield f"key {plan.key} was accepted and is forgotten"
        elif any(op.uid not in {"", uid} for op in taken) or uid not in {job.uid for job in case.by_tag[plan.tag]}:
            yield f"key {plan.key} belongs to {uid}, and a reply or another job says otherwise"
    for op in case.all(Verb.REUSE, Outcome.OK):
        yield f"{op.tag}: its key was taken for another body"


def _never_twice(case: _Case) -> Iterator[str]:
    begun = Counter((m.tag, m.attempt) for m in case.history.marks if m.kind is MarkKind.BEGIN)
    yield from (f"{tag}: attempt {number} ran {count} times" for (tag, number), count in begun.items() if count > 1)
    for mark in case.history.marks:
        if mark.kind is MarkKind.OVERLAP:
            yield f"{mark.tag}: attempt {mark.attempt} began while another attempt ran"
    for tag, number in begun:
        if not any(job.attempt >= number for job in case.by_tag[tag]):
            yield f"{tag}: attempt {number} ran, and no record knows of it"


def _stops_win(case: _Case) -> Iterator[str]:
    for op in case.all(Verb.STOP, Outcome.OK):
        for job in case.by_tag[op.tag]:
            if job.id != op.job_id or not op.live:
                continue
            if not job.stop_requested:
                yield f"{op.tag}: its stop was accepted and is not on record"
            elif job.phase is JobPhase.CANCELLED or job.live:
                continue
            elif not case.ends(job, job.attempt) and job.reason.code is not ReasonCode.RUNTIME_ENV_FAILED:
                yield f"{op.tag}: stopped, it is {job.phase}, and its last attempt never came to its end"
    for uid, events in case.history.events.items():
        yield from _begun_after_stop(uid, events)


def _begun_after_stop(uid: str, events: Sequence[Event]) -> Iterator[str]:
    stopped = False
    for event in events:
        stopped = stopped or event.kind is EventKind.STOP_REQUESTED
        if stopped and event.change.get("phase") in {JobPhase.QUEUED, JobPhase.STARTING}:
            yield f"{uid}: {event.message}, after its stop was accepted"


def _no_orphans(case: _Case) -> Iterator[str]:
    for found in case.history.on_ray:
        job = case.jobs.get(found.uid)
        if not found.claimed:
            yield f"attempt {found.attempt} of {found.uid} is on Ray ({found.status}), and no record claims it"
        elif found.status in _LIVE_ON_RAY and (job is None or not job.live):
            yield f"attempt {found.attempt} of {found.uid} goes on on Ray ({found.status}), and its job has ended"
    yield from (f"{tag}: its processes outlive it" for tag in case.history.held)


def _packages_there(case: _Case) -> Iterator[str]:
    for package in case.history.packages:
        if package.kept != package.size:
            yield f"package {package.name} has {package.size} bytes, and {package.kept} are kept"
    for job in case.history.jobs:
        if job.reason.code is ReasonCode.PACKAGE_MISSING:
            yield f"{tag_of(job)}: its package was gone when it was to start"
    for mark in case.history.marks:
        if mark.kind is MarkKind.FOREIGN:
            yield f"{mark.tag}: attempt {mark.attempt} ran in a working_dir that is not its own"


def _logs_whole(case: _Case) -> Iterator[str]:
    for job in case.history.jobs:
        plan = case.plans.get(tag_of(job))
        if plan is None or job.deleted or job.live:
            continue
        if job.uid not in case.history.logs:
            yield f"{plan.tag}: its log cannot be read"
            continue
        segments = _segments(case.history.logs[job.uid])
        for attempt in job.attempts:
            # Ray's own lines stand among them, such as the one that quotes the entrypoint.
            ours = re.compile(rf"{plan.tag} \d+ \d+")
            said = [line for line in segments.get(attempt.number, "").splitlines() if ours.fullmatch(line)]
            wanted = [f"{plan.tag} {attempt.number} {i}" for i in range(1, plan.lines + 1)]
            whole = any(mark.exit_code in {0, FAILS_WITH} for mark in case.ends(job, attempt.number))
            if (said != wanted) if whole else (said != wanted[: len(said)]):
                counted = f"{len(said)} of {plan.lines} lines, at last {said[-3:]}"
                yield f"{plan.tag}: the log of attempt {attempt.number} has {counted}"


def _segments(log: str) -> dict[int, str]:
    first, *rest = _SEPARATOR.split(log)
    return {1: first} | {int(number): text for number, text in zip(rest[::2], rest[1::2], strict=True)}


def _folds(case: _Case) -> Iterator[str]:
    for job in case.history.jobs:
        try:
            folded = Job.model_validate(fold(case.history.events.get(job.uid, ())))
        except (BrokenChain, ValueError) as error:
            yield f"{job.uid}: its events are no history: {error}"
            continue
        if folded != job:
            yield f"{job.uid}: its record is not what its events say"


def _ends_are_true(case: _Case) -> Iterator[str]:
    for job in case.history.jobs:
        if job.live:
            yield f"{tag_of(job)}: still {job.phase} when all should have ended ({job.reason.code})"
            continue
        codes = {mark.exit_code for mark in case.ends(job, job.attempt)}
        plan = case.plans.get(tag_of(job))
        if job.phase is JobPhase.SUCCEEDED and codes != {0}:
            yield f"{tag_of(job)}: SUCCEEDED, and its last attempt exited with {sorted(codes) or 'nothing'}"
        elif job.phase is JobPhase.FAILED and plan is not None and plan.fails < job.attempt and not job.stop_requested:
            yield f"{tag_of(job)}: FAILED ({job.reason.code}: {job.reason.message}), though nothing was wrong with it"


def _told_is_true(case: _Case) -> Iterator[str]:
    """What a reply said once stays so: an end is final, and who was told of a job finds it."""
    for op in case.all(Verb.GET, Outcome.OK):
        job = case.jobs.get(op.uid)
        if op.phase in TERMINAL and (job is None or job.phase is not op.phase):
            yield f"{op.tag}: a reply said {op.phase}, in the end it is {job.phase if job else 'gone'}"
    gone_from: dict[str, int] = {}
    for op in case.all(Verb.DELETE):
        gone_from[op.job_id] = min(op.began, gone_from.get(op.job_id, op.began))
    taken = [(op.job_id, op.ended) for op in case.all(Verb.SUBMIT, Outcome.OK)]
    for op in case.all(Verb.LIST, Outcome.OK):
        listed = set(op.listed)
        for job_id, since in taken:
            if since < op.began and gone_from.get(job_id, op.ended) >= op.ended and job_id not in listed:
                yield f"{job_id} was accepted before a list that does not have it"
    for op in case.all(Verb.GET, Outcome.REFUSED):
        if gone_from.get(op.job_id, op.ended) >= op.ended:
            yield f"{op.tag}: a get was refused ({op.detail}), and nobody had deleted it"


RULES: dict[str, Rule] = {
    "a 2xx submit is kept": _kept,
    "a submit exists once": _once,
    "a key has one job": _one_key_one_job,
    "no attempt runs twice": _never_twice,
    "a 2xx stop wins": _stops_win,
    "nothing is left on Ray": _no_orphans,
    "no package is missing": _packages_there,
    "logs are whole": _logs_whole,
    "events fold to the record": _folds,
    "ends are true": _ends_are_true,
    "what was told stays true": _told_is_true,
}
