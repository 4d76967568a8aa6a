"""Named bytes: put whole, appended at the end, read from anywhere, deleted."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from raysvc.errors import Conflict, Invalid, NotFound, OverLimit
from raysvc.ports import Blobs
from tests.contract.blobs.make import content, stream

MIB = 1 << 20


async def test_what_is_put_is_read(blobs: Blobs) -> None:
    assert await blobs.put("packages/a/b.zip", stream(b"one", b"", b"two")) == 6
    assert await content(blobs, "packages/a/b.zip") == b"onetwo"
    assert await blobs.size("packages/a/b.zip") == 6


async def test_nothing_at_all_may_be_put(blobs: Blobs) -> None:
    assert await blobs.put("empty", stream()) == 0
    assert await content(blobs, "empty") == b""


async def test_a_large_blob_is_read_in_chunks(blobs: Blobs) -> None:
    data = bytes(range(256)) * (11 * 1024) + b"end"
    pieces = [data[start : start + 100_000] for start in range(0, len(data), 100_000)]
    assert await blobs.put("large", stream(*pieces)) == len(data)
    chunks = [chunk async for chunk in blobs.read("large")]
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= MIB


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (3, 4, b"3456"),
        (8, 10, b"89"),
        (10, None, b""),
        (99, 5, b""),
        (0, 0, b""),
    ],
)
async def test_a_part_is_read(blobs: Blobs, offset: int, length: int | None, expected: bytes) -> None:
    await blobs.put("a", stream(b"0123456789"))
    assert await content(blobs, "a", offset=offset, length=length) == expected


async def test_a_part_beyond_a_chunk_is_read(blobs: Blobs) -> None:
    await blobs.put("a", stream(b"x" * MIB, b"y" * MIB, b"z"))
    assert await content(blobs, "a", offset=MIB - 1, length=MIB + 2) == b"x" + b"y" * MIB + b"z"


async def test_a_put_replaces(blobs: Blobs) -> None:
    await blobs.put("a", stream(b"long and old"))
    await blobs.put("a", stream(b"new"))
    assert await content(blobs, "a") == b"new"


async def test_one_who_reads_goes_on_with_what_he_began_to_read(blobs: Blobs) -> None:
    await blobs.put("a", stream(b"o" * MIB, b"o" * MIB))
    reader = blobs.read("a")
    first = await anext(reader)
    await blobs.put("a", stream(b"new"))
    rest = b"".join([chunk async for chunk in reader])
    assert first + rest == b"o" * (2 * MIB)


async def test_a_limit_refuses_and_keeps_what_was_there(blobs: Blobs) -> None:
    await blobs.put("a", stream(b"old"))
    with pytest.raises(OverLimit, match="5 bytes"):
        await blobs.put("a", stream(b"1234", b"56"), limit=5)
    assert await content(blobs, "a") == b"old"
    assert await blobs.put("a", stream(b"1234", b"5"), limit=5) == 5


async def test_a_put_that_breaks_off_keeps_what_was_there(blobs: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    await blobs.put("a", stream(b"old"))
    for key in ("a", "b"):
        with pytest.raises(ConnectionResetError):
            await blobs.put(key, broken())
    assert await content(blobs, "a") == b"old"
    assert await blobs.size("b") == 0
    with pytest.raises(NotFound):
        await content(blobs, "b")


async def test_a_put_that_is_cancelled_keeps_what_was_there(blobs: Blobs) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"half"
        begun.set()
        await asyncio.Event().wait()

    await blobs.put("a", stream(b"old"))
    put = asyncio.create_task(blobs.put("a", endless()))
    await begun.wait()
    put.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put
    assert await content(blobs, "a") == b"old"


async def test_appends_follow_one_another(blobs: Blobs) -> None:
    assert await blobs.append("logs/job", b"one", at=0) == 3
    assert await blobs.append("logs/job", b"two", at=3) == 6
    assert await blobs.append("logs/job", b"", at=6) == 6
    assert await content(blobs, "logs/job") == b"onetwo"


@pytest.mark.parametrize("at", [0, 2, 4])
async def test_an_append_elsewhere_is_refused(blobs: Blobs, at: int) -> None:
    await blobs.append("log", b"one", at=0)
    with pytest.raises(Conflict, match="3"):
        await blobs.append("log", b"two", at=at)
    assert await content(blobs, "log") == b"one"


async def test_an_append_after_nothing_is_refused_and_makes_nothing(blobs: Blobs) -> None:
    with pytest.raises(Conflict):
        await blobs.append("log", b"two", at=3)
    with pytest.raises(NotFound):
        await content(blobs, "log")


async def test_of_appends_at_one_place_one_wins(blobs: Blobs) -> None:
    await blobs.append("log", b"start", at=0)
    results = await asyncio.gather(
        *(blobs.append("log", str(n).encode(), at=5) for n in range(10)), return_exceptions=True
    )
    assert results.count(6) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 9
    assert await blobs.size("log") == 6


async def test_an_append_goes_on_after_a_put(blobs: Blobs) -> None:
    await blobs.put("a", stream(b"one"))
    assert await blobs.append("a", b"two", at=3) == 6


async def test_what_is_not_there_is_not_found_and_has_no_size(blobs: Blobs) -> None:
    await blobs.put("a/b/c", stream(b"x"))
    for key in ("a", "a/b", "a/x", "x", "a/b/c/d"):
        assert await blobs.size(key) == 0
        with pytest.raises(NotFound, match=key):
            await content(blobs, key)


async def test_a_blob_is_deleted_and_its_absence_is_no_error(blobs: Blobs) -> None:
    await blobs.put("a/b", stream(b"x"))
    await blobs.put("a/c", stream(b"y"))
    for _ in range(2):
        await blobs.delete("a/b")
    await blobs.delete("a")  # no blob, a folder
    await blobs.delete("none/at/all")
    assert await blobs.size("a/b") == 0
    assert await content(blobs, "a/c") == b"y"


async def test_all_below_a_key_is_deleted(blobs: Blobs) -> None:
    for key in ("logs/a/1", "logs/a/2/3", "logs/ab", "logs/b/1"):
        await blobs.put(key, stream(b"x"))
    for _ in range(2):
        await blobs.delete("logs/a/")
    assert [await blobs.size(key) for key in ("logs/a/1", "logs/a/2/3", "logs/ab", "logs/b/1")] == [0, 0, 1, 1]
    await blobs.put("logs/a/1", stream(b"again"))
    assert await content(blobs, "logs/a/1") == b"again"


async def test_the_size_of_all_below_a_key(blobs: Blobs) -> None:
    for key in ("logs/a/1", "logs/a/2/3", "logs/ab"):
        await blobs.put(key, stream(b"xyz"))
    assert [await blobs.size(key) for key in ("logs/a/", "logs/", "logs/none/")] == [6, 9, 0]


async def test_a_blob_is_no_folder(blobs: Blobs) -> None:
    await blobs.put("a/b", stream(b"x"))
    for key in ("a/b/c", "a"):
        with pytest.raises(Conflict, match="folder"):
            await blobs.put(key, stream(b"y"))
        with pytest.raises(Conflict):
            await blobs.append(key, b"y", at=0)
    assert await content(blobs, "a/b") == b"x"


@pytest.mark.parametrize(
    "key",
    ["", "/", "/a", "a//b", ".", "..", "../a", "a/..", "a/../b", "a/./b", "A", "a b", "é", "a\\b", "a\x00b", "a\n",
     "+tmp", "a" * 256, "/".join(["a"] * 600), "~", "a:b", "a/*"],
)  # fmt: skip
async def test_a_key_that_leaves_the_directory_or_its_alphabet_is_refused(blobs: Blobs, key: str) -> None:
    for call in (
        lambda: blobs.put(key, stream(b"x")),
        lambda: blobs.append(key, b"x", at=0),
        lambda: blobs.size(key),
        lambda: content(blobs, key),
        lambda: blobs.delete(key),
    ):
        with pytest.raises(Invalid, match="key") as refusal:
            await call()
        assert refusal.value.field == "key"


@pytest.mark.parametrize("key", ["a/", "a/b/"])
async def test_only_a_delete_and_a_size_may_end_in_a_slash(blobs: Blobs, key: str) -> None:
    with pytest.raises(Invalid):
        await blobs.put(key, stream(b"x"))
    with pytest.raises(Invalid):
        await content(blobs, key)
    await blobs.delete(key)


@pytest.mark.parametrize("key", ["a", "0", "...", ".a", "a.b-c_d", "a" * 255, "_ray_pkg_0f1.zip", "a/.../b"])
async def test_every_key_of_the_alphabet_is_taken(blobs: Blobs, key: str) -> None:
    await blobs.put(key, stream(b"x"))
    assert await content(blobs, key) == b"x"


async def test_many_puts_of_one_key_leave_one_of_them_whole(blobs: Blobs) -> None:
    values = [str(n).encode() * 1000 for n in range(20)]
    await asyncio.gather(*(blobs.put("deep/er/key", stream(value)) for value in values))
    assert await content(blobs, "deep/er/key") in values


async def test_puts_beside_a_delete_of_their_folder_either_stay_or_go(blobs: Blobs) -> None:
    for _ in range(10):
        puts = [blobs.put(f"folder/{n}", stream(b"x")) for n in range(5)]
        await asyncio.gather(*puts, blobs.delete("folder/"), blobs.delete("folder/"))
        assert {await blobs.size(f"folder/{n}") for n in range(5)} <= {0, 1}
