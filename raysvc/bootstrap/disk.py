"""What the system says of a file, in our words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from raysvc.errors import DiskFull, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def told(undone: str) -> Iterator[None]:
    """Raise DiskFull or Unavailable for what the system reports; `undone` says what has not been done."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(f"{undone}: the disk is full. Free some space, or name another place.") from error
        where = f" ({error.filename})" if error.filename else ""
        raise Unavailable(f"{undone}: {error.strerror or error}{where}.") from error
