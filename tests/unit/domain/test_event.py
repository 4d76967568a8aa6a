"""Events: what is hashed is what is kept, and a changed copy is another event."""

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from raysvc.domain.event import BrokenChain, Event, EventKind, fold
from raysvc.domain.job import Job, JobSpec, submit
from tests.contract.store.make import new, seconds


def test_the_digest_is_over_the_text_that_is_kept() -> None:
    job, (event,) = new("a")
    assert event.text == event.model_dump_json()
    assert job.head == event.digest() == hashlib.sha256(event.text.encode()).hexdigest()
    assert Event.model_validate_json(event.text) == event


def test_a_changed_copy_has_a_text_and_a_digest_of_its_own() -> None:
    _, (event,) = new("a")
    before = event.digest()
    forged = event.model_copy(update={"message": "nothing happened"})
    assert "nothing happened" in forged.text
    assert forged.digest() != before == event.digest()


def test_a_forged_event_breaks_the_chain() -> None:
    job, (event,) = new("a")
    _, after = job.change(event.kind, seconds(9), actor="x")
    assert fold([event, after])["version"] == 2
    with pytest.raises(BrokenChain):
        fold([event.model_copy(update={"actor": "somebody else"}), after])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"\\é', max_size=3), inner, max_size=3),
    max_leaves=8,
)
WORD = st.text('ab"\\é', max_size=3)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=100, deadline=None)
@given(config=JSON, owner=TEXT, message=TEXT)
def test_a_text_that_was_put_together_is_the_text_of_what_it_holds(config: Any, owner: str, message: str) -> None:
    spec = JobSpec(entrypoint="true", runtime_env={"config": config, 'version":1,"head': {"version": 1, "head": ""}})
    job, first = submit(spec, job_id="j", uid="0" * 16, project="p", owner=owner, now=seconds(1))
    changed, second = job.change(EventKind.REASON, seconds(1), actor=owner, message=message, unknown_since=seconds(1))
    assert [event.text for event in (first, second)] == [event.model_dump_json() for event in (first, second)]
    assert [Event.model_validate_json(event.text) for event in (first, second)] == [first, second]
    assert [Job.model_validate_json(each.text) for each in (job, changed)] == [job, changed]
    assert Job.model_validate(fold([first, second])) == changed


NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=50, deadline=None)
@given(owner=TEXT, labels=st.dictionaries(WORD, WORD, max_size=2), number=NUMBER)
def test_a_new_jobs_text_is_what_it_would_write_itself(owner: str, labels: dict[str, str], number: float) -> None:
    spec = JobSpec(entrypoint='"true"', runtime_env={"config": {"a": number}}, labels=labels, driver="warm")
    job, event = submit(spec, job_id="j", uid="0" * 16, project="p", owner=owner, now=seconds(1))
    change = job.model_dump_json(exclude={"version", "head"})
    assert f'"change":{change},' in event.text
    assert from_json(job.text) == from_json(job.model_dump_json())
    assert event.change == from_json(change) == event.model_dump()["change"]


def test_a_changed_record_has_a_text_of_its_own() -> None:
    job, _ = new("a")
    assert job.text
    assert '"attempt":7' in job.model_copy(update={"attempt": 7}).text
