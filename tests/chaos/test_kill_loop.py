"""The kill loop in short: the long one is `python -m tests.chaos`."""

from pathlib import Path

import pytest

from tests.chaos.check import check
from tests.chaos.loop import run

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

KILLING_S = 10.0


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_what_was_accepted_is_kept_under_kill_9(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue("database") if kind == "postgres" else None
    history, tally = run(tmp_path, KILLING_S, seed=1, database_url=url)
    assert tally.kills >= 3
    assert sum(len(job.attempts) for job in history.jobs) >= 3, "nothing ran that could have run twice"
    assert check(history) == []
