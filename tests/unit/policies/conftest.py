"""What the policy tests share: a clock that stands still, and policies written in place."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent

import pytest

from raysvc.policies import PolicyFile, load

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class StandingClock:
    def now(self) -> datetime:
        return NOON

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here sleeps, and not {seconds} s")


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def policies(tmp_path: Path, clock: StandingClock) -> Callable[..., tuple[PolicyFile, ...]]:
    """Write each text as a policy file, in order, and load them."""

    def write(*texts: str) -> tuple[PolicyFile, ...]:
        for number, text in enumerate(texts):
            (tmp_path / f"{number:02}.yaml").write_text(dedent(text))
        return load([tmp_path], clock)

    return write
