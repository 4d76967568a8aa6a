"""One row that a database cannot keep must not take its neighbours in the same group commit with it."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from raysvc.domain.job import Job
from raysvc.errors import Invalid
from raysvc.store import SqlStore
from raysvc.testing.clock import FakeClock
from tests.contract.store.make import added, new, saved
from tests.postgres import PostgresServer

# Past 2,704 bytes PostgreSQL's index refuses the row; random, so that it does not compress below.
_DICE = random.Random(1)  # noqa: S311 no key
TOO_LONG = "".join(chr(_DICE.randrange(0x4E00, 0x9FFF)) for _ in range(4000))


async def _side_by_side(*work: Coroutine[Any, Any, Job]) -> list[Job | BaseException]:
    return await asyncio.gather(*work, return_exceptions=True)


@pytest.mark.parametrize(
    "spec",
    [{"name": "a\0b"}, {"labels": {"a": "\0"}}, {"name": TOO_LONG}, {"labels": {"a": TOO_LONG}}],
    ids=["a NUL in a name", "a NUL in a label", "a long name", "a long label"],
)
async def test_a_poisoned_job_fails_alone(postgres: PostgresServer, database: str, spec: dict[str, Any]) -> None:
    store = SqlStore(postgres.url(database), FakeClock())
    await store.open()
    before = await added(store)
    poisoned, events = new()
    # Past the types, as a bug of ours or an older version would bring it.
    poisoned = poisoned.model_copy(update={"spec": poisoned.spec.model_copy(update=spec)})
    outcomes = await _side_by_side(
        added(store), added(store), store.jobs.add(poisoned, events), saved(store, before), added(store)
    )
    refused, kept = outcomes.pop(2), [job for job in outcomes if isinstance(job, Job)]
    assert isinstance(refused, Invalid), refused
    assert len(kept) == 4, outcomes
    for job in kept:
        assert await store.jobs.get_by_uid(job.uid) == job
    await store.close()


async def test_a_text_too_long_for_an_index_is_invalid(postgres: PostgresServer, database: str) -> None:
    store = SqlStore(postgres.url(database), FakeClock())
    await store.open()
    with pytest.raises(Invalid, match="too long"):
        await added(store, labels={"a": TOO_LONG})
    await store.close()
