"""One by one or in a batch: the same submissions at the same time give the same records, events and refusals."""

import asyncio
from collections.abc import Sequence
from random import Random
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysvc.control.ids import RandomIds
from raysvc.control.intake import Intake, Receipt, Submission
from raysvc.control.signal import Signals
from raysvc.control.vault import Vault
from raysvc.domain.access import Principal
from raysvc.domain.job import JobSpec
from raysvc.domain.project import Limits, Project, Role
from raysvc.domain.query import JobQuery
from raysvc.errors import RaysvcError
from raysvc.policies import PolicyFile, load
from raysvc.ports import Addition
from raysvc.store.job_row import NewJob
from raysvc.testing.backend import FakeBackend
from raysvc.testing.blobs import MemoryBlobs
from raysvc.testing.clock import FakeClock
from raysvc.testing.store import MemoryStore
from tests.unit.control.world import KEY

RULES = """
    policy: house
    rules:
    - {name: too-many, when: job.demand.gpus > 4, deny: true, message: "{job.demand.gpus} GPUs are too many"}
    - {name: urgent, when: job.priority > 10, warn: true, message: "{owner} is in a hurry"}
    - {name: nightly, when: 'job.queue == "default" && job.priority < 0', set: {queue: '"nightly"'}}
    - {name: costs, when: 'has(job.labels.team) && job.labels.team == "x"', set: {labels.cost: '"42"'}}
"""
FREE_FORM = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé"\\/\n☃'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"é', max_size=3), inner, max_size=3),
    max_leaves=6,
)
SPECS = st.builds(
    JobSpec,
    entrypoint=st.text('ab "\\\t☃', min_size=1, max_size=10),
    runtime_env=st.dictionaries(st.sampled_from(["config", "x", 'version":1,"head']), FREE_FORM, max_size=2),
    metadata=st.dictionaries(st.text('a"é', min_size=1, max_size=3), st.text("b\\", max_size=3), max_size=2),
    labels=st.dictionaries(st.sampled_from(["team", "tier"]), st.sampled_from(["x", "y"]), max_size=2),
    resources=st.sampled_from(
        [{}, {"gpus": 1}, {"gpus": 8, "memory": 1 << 40}, {"cpus": 0.1, "custom": {"TPU": 1e10}}]
    ),
    priority=st.sampled_from([-1, 0, 0, 11]),
    timeout_s=st.none() | st.floats(0.1, 1e6),
    secrets=st.sampled_from([{}, {}, {}, {"TOKEN": "MISSING"}]),
)
SUBMISSIONS = st.lists(
    st.tuples(
        SPECS,
        st.sampled_from(["default", "default", "small", "nowhere", "hidden"]),
        st.sampled_from([None, None, "a", "b"]),
    ),
    min_size=1,
    max_size=12,
)
WHO = Principal(name="ada ☃", role=Role.MEMBER, projects=("default", "small", "nowhere"))


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Sequence[PolicyFile]:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "house.yaml").write_text(dedent(RULES))
    return load([folder], FakeClock())


async def kept(rules: Sequence[PolicyFile], submissions: Sequence[Submission], *, batch: bool) -> tuple[Any, Any]:
    """Submit to a new store; return what became of each, and all rows of jobs that a database would hold."""
    clock, store = FakeClock(), MemoryStore()
    await store.open()
    for name, limits in (("default", Limits()), ("small", Limits(max_queued_jobs=2))):
        await store.projects.put(Project(name=name, limits=limits, created_at=clock.now()))
    backend = FakeBackend(clock, Vault(KEY, store.secrets, store.packages, MemoryBlobs(), clock), seed=0)
    ids = RandomIds(Random(1))  # noqa: S311 replayed, not secret
    intake = Intake(store, backend, rules, clock, ids, Signals())
    outcomes = await intake.submit_each(WHO, submissions) if batch else [await one(intake, s) for s in submissions]
    page = await store.jobs.find(JobQuery(limit=1000))
    rows = [NewJob.of(Addition(job, await store.jobs.events(job.uid))) for job in page.items]
    return [told(outcome) for outcome in outcomes], [(row.row, row.events, row.labels) for row in rows]


async def one(intake: Intake, submission: Submission) -> Receipt | RaysvcError:
    try:
        return await intake.submit(WHO, submission)
    except RaysvcError as error:
        return error


def told(outcome: Receipt | RaysvcError) -> Any:
    if isinstance(outcome, Receipt):
        return outcome.job.text, outcome.created, outcome.warnings
    return type(outcome), outcome.message, outcome.field, outcome.rule


@settings(max_examples=40, deadline=None)
@given(asked=SUBMISSIONS)
def test_a_batch_keeps_what_single_submits_keep(
    rules: Sequence[PolicyFile], asked: list[tuple[JobSpec, str, str | None]]
) -> None:
    submissions = [
        Submission(project, spec, job_id, idempotency_key=f"key-{number}" if number % 2 else None)
        for number, (spec, project, job_id) in enumerate(asked)
    ]
    singles = asyncio.run(kept(rules, submissions, batch=False))
    assert asyncio.run(kept(rules, submissions, batch=True)) == singles
