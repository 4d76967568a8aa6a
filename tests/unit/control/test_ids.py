"""Ids: of the right letters, all equally likely, and replayed from a seed."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from random import Random

from raysvc.control.ids import RandomIds
from raysvc.domain.model import make_uid

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_job_id_looks_like_one_that_ray_makes() -> None:
    assert re.fullmatch(r"raysubmit_[a-km-np-zA-HJ-NP-Z1-9]{16}", RandomIds().job_id())
    assert len({RandomIds().job_id() for _ in range(1000)}) == 1000


def test_each_letter_of_a_job_id_is_equally_likely() -> None:
    ids = RandomIds(Random(7))  # noqa: S311 replayed, not secret
    seen = Counter("".join(ids.job_id().removeprefix("raysubmit_") for _ in range(5000)))
    mean = 16 * 5000 / len(seen)
    assert len(seen) == 57
    # Five standard deviations.
    assert all(abs(count - mean) < 5 * mean**0.5 for count in seen.values())


def test_a_seed_gives_the_same_ids_again() -> None:
    first, second = (RandomIds(Random(1)) for _ in range(2))  # noqa: S311 replayed, not secret
    assert (first.job_id(), first.uid(NOW)) == (second.job_id(), second.uid(NOW))


def test_uids_sort_by_their_time() -> None:
    ids = RandomIds()
    uids = [ids.uid(NOW + timedelta(milliseconds=n)) for n in range(100)]
    assert uids == sorted(uids)
    assert make_uid(0, 0) == "0" * 16
    assert make_uid((1 << 50) - 1, (1 << 30) - 1) == "z" * 16
    assert make_uid(1, 33) == "0000000001000011"
