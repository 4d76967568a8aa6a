"""What lies below a key."""

import pytest

from raysvc.errors import Invalid
from raysvc.ports import Blobs
from tests.contract.blobs.make import stream


async def below(blobs: Blobs, key: str) -> list[str]:
    return sorted([one async for one in blobs.keys(key)])


async def test_all_keys_below_one_are_told_and_no_others(blobs: Blobs) -> None:
    for key in ("packages/a/1", "packages/a/b/2", "packages/c/3", "packages-too/4", "logs/5"):
        await blobs.put(key, stream(b"x"))
    await blobs.append("packages/a/log", b"x", at=0)
    assert await below(blobs, "packages/") == ["packages/a/1", "packages/a/b/2", "packages/a/log", "packages/c/3"]
    assert await below(blobs, "packages/a/") == ["packages/a/1", "packages/a/b/2", "packages/a/log"]
    await blobs.delete("packages/a/1")
    assert await below(blobs, "packages/a/") == ["packages/a/b/2", "packages/a/log"]


async def test_below_what_is_not_there_is_nothing(blobs: Blobs) -> None:
    assert await below(blobs, "packages/") == []


async def test_what_is_no_key_is_refused(blobs: Blobs) -> None:
    with pytest.raises(Invalid):
        await below(blobs, "../")
