"""A file's lock, waited for with an end."""

import fcntl
import time

from raysvc.errors import Unavailable

# An append takes milliseconds; a process that holds its file for so long was stopped in the midst of one.
PATIENCE_S = 3.0
_POLL_S = 0.01


def lock(fd: int) -> None:
    """Take the lock, which goes with the descriptor; blocks. Raises Unavailable where somebody else does not let go."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Unavailable("Another server holds this file and does not go on. Try again later.") from error
            time.sleep(_POLL_S)
        else:
            return
