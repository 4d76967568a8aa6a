"""When to look at which job: as was decided, unless something has become of it since."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysvc.control import agenda as rules
from raysvc.control.agenda import FAR, ROW_S, Agenda
from raysvc.domain.job import JobPhase
from raysvc.domain.query import DueRow

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
P = JobPhase
IDLE: frozenset[str] = frozenset()


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def row(uid: str, version: int = 1, due_at: datetime = NOW, phase: JobPhase = P.RUNNING) -> DueRow:
    return DueRow(uid, due_at, version, phase)


def read(*rows: DueRow, at: datetime = NOW) -> Agenda:
    agenda = Agenda()
    agenda.read(rows, at)
    return agenda


def test_what_is_read_for_the_first_time_is_looked_at_at_once() -> None:
    agenda = read(row("a"), row("b"))
    assert agenda.due(NOW, IDLE) == ["a", "b"]
    assert agenda.ahead(IDLE) == NOW


def test_one_that_was_looked_at_has_its_time_until_somebody_else_changes_it() -> None:
    agenda = read(row("a"))
    agenda.put("a", after(5))
    agenda.read([row("a")], after(1))
    assert agenda.due(after(1), IDLE) == []
    assert agenda.ahead(IDLE) == after(5)
    agenda.read([row("a", version=2)], after(2))
    assert agenda.due(after(2), IDLE) == ["a"]


def test_ones_own_change_is_no_news() -> None:
    agenda = read(row("a"))
    agenda.saved("a", 2, after(5))
    agenda.read([row("a", version=2)], after(1))
    assert agenda.due(after(1), IDLE) == []


def test_one_that_is_changed_is_looked_at_when_the_change_says_and_not_when_an_earlier_look_did() -> None:
    agenda = read(row("a", phase=P.QUEUED))
    agenda.put("a", after(600))  # it waits, and has until then
    agenda.saved("a", 2, None)  # it is admitted, and due at once by its record
    agenda.read([row("a", version=2)], after(1))
    assert agenda.due(after(1), IDLE) == ["a"]


def test_one_that_is_not_to_be_looked_at_is_when_it_is_read_as_due_again() -> None:
    agenda = read(row("a"))
    agenda.saved("a", 2, None)
    assert (agenda.due(after(9), IDLE), agenda.ahead(IDLE)) == ([], None)
    agenda.read([row("a", version=2)], after(9))
    assert agenda.due(after(9), IDLE) == ["a"]


def test_who_is_busy_is_neither_due_nor_waited_for() -> None:
    agenda = read(row("a"), row("b"))
    agenda.put("b", after(5))
    assert agenda.due(NOW, {"a"}) == []
    assert agenda.ahead({"a"}) == after(5)


def test_a_hint_brings_a_look_forward_and_one_for_who_is_busy_is_kept() -> None:
    agenda = read(row("a"), row("b"))
    agenda.put("a", after(5))
    agenda.put("b", after(5))
    agenda.hint("a")
    assert agenda.due(after(1), {"a"}) == []
    agenda.put("a", after(6))
    assert agenda.due(after(2), IDLE) == ["a"]
    agenda.put("a", after(6))
    assert agenda.due(after(3), IDLE) == [], "once"


def test_a_hint_of_one_that_is_not_due_at_all_says_nothing() -> None:
    agenda = read(row("a"))
    agenda.hint("another")
    assert agenda.due(NOW, IDLE) == ["a"]


def test_of_too_many_those_that_have_waited_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "DUE_LIMIT", 2)
    agenda = read(*(row(uid) for uid in "abcd"))
    for uid, seconds in zip("abcd", (3, 1, 2, 4), strict=True):
        agenda.put(uid, after(seconds))
    assert agenda.due(after(9), IDLE) == ["b", "c"]


def test_a_few_are_read_at_each_step_and_thousands_after_a_rest() -> None:
    assert not read(row("a")).rests(after(0.001))
    many = read(*(row(str(number)) for number in range(4000)))
    rest = 4000 * ROW_S
    assert many.rests(after(rest * 0.9))
    assert not many.rests(after(rest * 1.1))
    assert not many.rests(after(-1)), "the clock was set back"


def test_one_that_was_admitted_before_anything_was_read_is_due_whatever_the_clock_does_meanwhile() -> None:
    agenda = Agenda()
    agenda.saved("a", 2, None)
    agenda.read([row("a", version=2)], after(-40))
    assert agenda.due(after(-40), IDLE) == ["a"]


class TestClock:
    """What was due before is due though the clock was set back, and does not wait until it has caught up."""

    def test_at_first_all_are_read_for_nobody_knows_how_late_it_has_been(self) -> None:
        assert Agenda().until(NOW) == NOW + FAR

    def test_one_that_is_due_later_than_now_by_the_record_stays_due(self) -> None:
        agenda = read(row("a", due_at=after(40)), row("q", due_at=after(600), phase=P.QUEUED))
        assert agenda.until(after(1)) == after(40), "a deadline in the queue is no sign of a clock"

    def test_set_back_the_times_are_forgotten_and_all_are_read(self) -> None:
        agenda = read(row("a"))
        agenda.put("a", after(1))
        assert agenda.until(after(-3600)) == after(-3600) + FAR
        agenda.read([row("a")], after(-3600))
        assert agenda.due(after(-3600), IDLE) == ["a"]
        assert agenda.until(after(-3599)) == NOW, "as late as it has been"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.booleans()), max_size=30))
def test_nobody_who_is_read_is_forgotten(steps: list[tuple[str, int, bool]]) -> None:
    """Whatever was decided, all that are read are due by then or have a time to come that is not beyond the decided."""
    agenda, versions = read(*(row(uid) for uid in "abc")), dict.fromkeys("abc", 1)
    now = NOW
    for uid, seconds, mine in steps:
        now += timedelta(seconds=1)
        if mine:
            versions[uid] += 1
            agenda.saved(uid, versions[uid], now + timedelta(seconds=seconds))
        else:
            agenda.put(uid, now + timedelta(seconds=seconds))
        agenda.read([row(name, version) for name, version in versions.items()], now)
    assert sorted(agenda.due(now + timedelta(seconds=9), IDLE)) == ["a", "b", "c"]
