"""Any sequence of calls: the real stores answer as the one in memory does, which is simple enough to be believed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from raysvc.domain.event import EventKind, fold
from raysvc.domain.job import JOB_TRANSITIONS, TERMINAL, Job, JobPhase, JobSpec, submit
from raysvc.domain.model import make_uid
from raysvc.domain.query import JobQuery, Page
from raysvc.domain.reason import ReasonCode, reason
from raysvc.errors import RaysvcError
from raysvc.ports import Lease, Store
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore
from tests.contract.store.database import empty
from tests.contract.store.make import START, package

# Few of each, so that calls meet each other.
PROJECTS = st.sampled_from(["a", "b"])
IDS = st.sampled_from(["one", "two", "three"])
NAMES = st.sampled_from([None, "train", "train-2", "été"])
OWNERS = st.sampled_from(["ann", "bob"])
KEYS = st.sampled_from(["k", "l"])
PACKAGES = st.sampled_from(["a.zip", "b.zip"])
MOMENTS = st.integers(0, 9).map(lambda n: START + timedelta(seconds=n))
SPECS = st.builds(
    JobSpec,
    entrypoint=st.just("true"),
    name=NAMES,
    queue=st.sampled_from(["q", "r"]),
    priority=st.sampled_from([-1, 0, 5]),
    labels=st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"]), max_size=2),
)
FIELDS = st.fixed_dictionaries(
    {}, optional={"due_at": st.none() | MOMENTS, "not_before": MOMENTS, "finalised": st.booleans(), "spec": SPECS}
)
QUERIES = st.builds(
    JobQuery,
    projects=st.none() | st.lists(PROJECTS, max_size=2).map(tuple),
    phases=st.none() | st.lists(st.sampled_from(JobPhase), max_size=3).map(tuple),
    owner=st.none() | OWNERS,
    name_prefix=st.none() | st.sampled_from(["tr", "train-", "o", ""]),
    label=st.none() | st.tuples(st.sampled_from(["x", "y"]), st.sampled_from(["1", "2"])),
    created_after=st.none() | MOMENTS,
    created_before=st.none() | MOMENTS,
    limit=st.integers(1, 4),
)


async def outcome(call: Awaitable[Any]) -> Any:
    """Return what a call comes to: its value, or the kind of its error."""
    try:
        return await call
    except RaysvcError as error:
        return type(error)


class StoreMachine(RuleBasedStateMachine):
    """Each rule is one call, made to both."""

    def __init__(self, real: Store, runner: asyncio.Runner) -> None:
        super().__init__()
        self.real = real
        self.runner = runner
        self.model = MemoryStore()
        self.jobs: list[Job] = []
        self.leases: list[Lease] = []
        self.number = 0
        self.runner.run(self.model.open())

    def both(self, call: Callable[[Store], Awaitable[Any]]) -> Any:
        expected = self.runner.run(outcome(call(self.model)))
        got = self.runner.run(outcome(call(self.real)))
        assert got == expected
        return expected

    def pick(self, number: int) -> Job | None:
        return self.jobs[number % len(self.jobs)] if self.jobs else None

    @rule(
        spec=SPECS,
        id_=IDS,
        project=PROJECTS,
        owner=OWNERS,
        at=MOMENTS,
        key=st.none() | KEYS,
        digest=st.sampled_from("de"),
        packages=st.lists(PACKAGES, max_size=2),
    )
    def add(self, *, spec: JobSpec, key: str | None, digest: str, packages: list[str], **about: Any) -> None:
        self.number += 1
        uid = make_uid(int(about["at"].timestamp() * 1000), self.number)
        job, event = submit(
            spec, job_id=about["id_"], uid=uid, project=about["project"], owner=about["owner"], now=about["at"]
        )
        if key is None:
            result = self.both(lambda store: store.jobs.add(job, [event], packages=packages))
        else:
            result = self.both(
                lambda store: store.jobs.add_once(job, [event], key=key, body_digest=digest, packages=packages)
            )
        if isinstance(result, Job) or (isinstance(result, tuple) and result[1]):
            self.jobs.append(job)

    @rule(number=st.integers(0, 99), fields=FIELDS, forget=st.sampled_from([False, False, False, True]))
    def change(self, number: int, fields: dict[str, Any], *, forget: bool) -> None:
        """Who forgets that it was saved tries the next change on a version that is gone."""
        job = self.pick(number)
        if job is not None:
            changed, event = job.change(EventKind.REASON, job.updated_at + timedelta(seconds=1), actor="t", **fields)
            kept = self.both(lambda store: store.jobs.save(changed, [event])) is None
            if kept and not forget:
                self.jobs[self.jobs.index(job)] = changed

    @rule(number=st.integers(0, 99), way=st.integers(0, 9), at=MOMENTS)
    def move(self, number: int, way: int, at: datetime) -> None:
        job = self.pick(number)
        if job is None or not (steps := sorted(JOB_TRANSITIONS[job.phase])):
            return
        phase = steps[way % len(steps)]
        fields = {"finished_at": at} if phase in TERMINAL else {}
        moved, event = job.to(phase, reason(ReasonCode.WAITING), at, actor="t", **fields)
        if self.both(lambda store: store.jobs.save(moved, [event])) is None:
            self.jobs[self.jobs.index(job)] = moved

    @rule(number=st.integers(0, 99))
    def finalise_and_delete(self, number: int) -> None:
        job = self.pick(number)
        if job is None or job.phase not in TERMINAL:
            return
        gone, event = job.change(EventKind.DELETED, job.updated_at, actor="t", deleted=True, finalised=True)
        if self.both(lambda store: store.jobs.save(gone, [event])) is None:
            self.jobs[self.jobs.index(job)] = gone

    @rule(before=MOMENTS, limit=st.integers(1, 3))
    def prune(self, before: datetime, limit: int) -> None:
        self.both(lambda store: store.jobs.prune(finished_before=before, limit=limit))

    @rule(query=QUERIES)
    def find(self, query: JobQuery) -> None:
        async def pages(store: Store) -> list[tuple[Job, ...]]:
            page: Page[Job] = await store.jobs.find(query)
            found = [page.items]
            while page.next_cursor is not None:
                page = await store.jobs.find(query.model_copy(update={"cursor": page.next_cursor}))
                found.append(page.items)
            return found

        self.both(pages)

    @rule(id_=IDS, project=PROJECTS)
    def get(self, id_: str, project: str) -> None:
        self.both(lambda store: store.jobs.get(project, id_))

    @rule(now=MOMENTS)
    def due(self, now: datetime) -> None:
        async def rows_and_jobs(store: Store) -> object:
            rows = await store.jobs.due(now)
            return rows, await store.jobs.get_many([row.uid for row in rows])

        self.both(rows_and_jobs)

    @rule(per_queue=st.integers(0, 3))
    def schedule(self, per_queue: int) -> None:
        self.both(lambda store: store.jobs.waiting(per_queue))
        self.both(lambda store: store.jobs.placed())
        for project in ("a", "b"):
            self.both(lambda store, project=project: store.jobs.count_queued(project))  # type: ignore[misc]

    @rule(name=PACKAGES, project=PROJECTS, digest=st.sampled_from("de"), pinned=st.integers(0, 9))
    def add_package(self, name: str, project: str, digest: str, pinned: int) -> None:
        one = package(name, project=project, digest=digest, pinned_until=pinned)
        self.both(lambda store: store.packages.add(one))

    @rule(name=PACKAGES, project=PROJECTS, until=MOMENTS)
    def pin(self, name: str, project: str, until: datetime) -> None:
        self.both(lambda store: store.packages.pin(project, name, until))

    @rule(now=MOMENTS)
    def collect_packages(self, now: datetime) -> None:
        async def removed(store: Store) -> list[tuple[str, str]]:
            return sorted((p.project, p.name) for p in await store.packages.remove_unreferenced(now, 9))

        self.both(removed)

    @rule(project=PROJECTS)
    def find_packages(self, project: str) -> None:
        self.both(lambda store: store.packages.find(project))

    @rule(holder=OWNERS, at=MOMENTS, ttl_s=st.integers(1, 4), release=st.booleans())
    def lease(self, holder: str, at: datetime, ttl_s: int, *, release: bool) -> None:
        held = self.both(lambda store: store.leases.acquire("l", holder, now=at, ttl_s=ttl_s))
        self.both(lambda store: store.leases.get("l"))
        if held is not None:
            self.leases.append(held)
            if release:
                self.both(lambda store: store.leases.release(held))

    @rule(number=st.integers(0, 99), which=st.integers(0, 99), fields=FIELDS)
    def change_under_a_lease(self, number: int, which: int, fields: dict[str, Any]) -> None:
        """A lease of any time: what was saved under one that is somebody else's by now must not be kept."""
        job = self.pick(number)
        if job is None or not self.leases:
            return
        fence = self.leases[which % len(self.leases)]
        changed, event = job.change(EventKind.REASON, job.updated_at + timedelta(seconds=1), actor="t", **fields)
        if self.both(lambda store: store.jobs.save(changed, [event], fence=fence)) is None:
            self.jobs[self.jobs.index(job)] = changed
            latest = self.both(lambda store: store.leases.get("l"))
            assert (latest.holder, latest.token) == (fence.holder, fence.token)

    @invariant()
    def every_record_is_the_fold_of_its_events(self) -> None:
        for job in self.jobs[-2:]:
            kept = self.both(lambda store, uid=job.uid: store.jobs.get_by_uid(uid))  # type: ignore[misc]
            history = self.both(lambda store, uid=job.uid: store.jobs.events(uid))  # type: ignore[misc]
            if isinstance(kept, Job):
                assert Job.model_validate(fold(history)) == kept


def test_any_sequence_of_calls(url: str) -> None:
    with asyncio.Runner() as runner:
        real = SqlStore(url, FakeClock())
        runner.run(real.open())

        def machine() -> StoreMachine:
            empty(url)
            return StoreMachine(real, runner)

        try:
            run_state_machine_as_test(
                machine,  # type: ignore[arg-type]
                settings=settings(
                    max_examples=20,
                    stateful_step_count=30,
                    deadline=None,
                    # A failure is told as it was found: making it smaller would take minutes, with an fsync a call.
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                    database=None,
                    print_blob=True,
                ),
            )
        finally:
            runner.run(real.close())
