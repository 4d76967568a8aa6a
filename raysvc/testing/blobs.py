"""The Blobs in memory, for simulations and tests."""

import re
from collections.abc import AsyncIterator

from raysvc.errors import Conflict, Invalid, NotFound, OverLimit

_KEY = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[a-z0-9._-]{1,255}(?:/(?!\Z)|\Z))+")
_CHUNK = 1 << 20  # bytes


class MemoryBlobs:
    """The Blobs port, without a disk that could be full."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytearray] = {}

    async def put(self, key: str, chunks: AsyncIterator[bytes], *, limit: int | None = None) -> int:
        _check(key)
        blob = bytearray()
        async for chunk in chunks:
            blob += chunk
            if limit is not None and len(blob) > limit:
                raise OverLimit(f"It is larger than {limit:,} bytes, the most that is kept.")
        self._claim(key)
        self._blobs[key] = blob
        return len(blob)

    async def append(self, key: str, data: bytes, *, at: int) -> int:
        _check(key)
        size = len(self._blobs.get(key, b""))
        if size != at:
            raise Conflict(f"It ends at byte {size}, not {at}. Go on from there.")
        self._claim(key)
        blob = self._blobs.setdefault(key, bytearray())
        blob += data
        return len(blob)

    async def size(self, key: str) -> int:
        return sum(len(self._blobs[one]) for one in self._named(key))

    async def read(self, key: str, *, offset: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        _check(key)
        blob = self._blobs.get(key)
        if blob is None:
            raise NotFound(f"There is no blob {key!r}.")
        end = len(blob) if length is None else min(len(blob), offset + length)
        for start in range(offset, end, _CHUNK):
            yield bytes(blob[start : min(end, start + _CHUNK)])

    async def keys(self, below: str) -> AsyncIterator[str]:
        for key in sorted(self._named(below)):
            yield key

    async def delete(self, key: str) -> None:
        for one in self._named(key):
            del self._blobs[one]

    def _named(self, key: str) -> list[str]:
        """Return the keys of one blob, or of all below a key that ends in '/'."""
        _check(key.removesuffix("/"))
        return [one for one in self._blobs if one == key or (key.endswith("/") and one.startswith(key))]

    def _claim(self, key: str) -> None:
        """Refuse what a directory could not hold: a blob where a folder is, or below another blob."""
        if any(one.startswith(f"{key}/") or key.startswith(f"{one}/") for one in self._blobs):
            raise Conflict(f"{key!r} cannot be kept: another blob has the name of one of its folders.")


def _check(key: str) -> None:
    if len(key) > 1024 or _KEY.fullmatch(key) is None:  # noqa: PLR2004 characters
        raise Invalid(
            f"{key[:100]!r} is no key of a blob: it takes segments of a-z, 0-9, '.', '_' and '-', joined by '/'.",
            field="key",
        )
