"""Events: what is hashed is what is kept, and a changed copy is another event."""

import hashlib

import pytest

from raysvc.domain.event import BrokenChain, Event, fold
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
