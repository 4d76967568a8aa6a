"""HTTP byte ranges. Pure."""

import re
from typing import NamedTuple

from starlette.exceptions import HTTPException

_ONE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class ByteRange(NamedTuple):
    """`length` bytes from `offset`. `partial`: a range was asked for."""

    offset: int
    length: int
    partial: bool


def byte_range(header: str | None, size: int) -> ByteRange:
    """Return what of a file of `size` bytes a Range header asks for: all of it where there is none that we serve.

    Raises HTTPException 416 for a range that begins past the end.
    """
    match = _ONE.fullmatch((header or "").replace(" ", ""))
    first, last = match.groups() if match else ("", "")
    if not first and not last:
        return ByteRange(0, size, partial=False)
    if first and last and int(last) < int(first):
        return ByteRange(0, size, partial=False)  # RFC 9110 14.1.1: not a valid range, as if it were not there
    begin = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if begin >= end:
        headers = {"Content-Range": f"bytes */{size}"}
        raise HTTPException(416, f"The file has {size} bytes; no range of it begins at {begin}.", headers)
    return ByteRange(begin, end - begin, partial=True)
