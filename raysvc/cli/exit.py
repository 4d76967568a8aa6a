"""Exit codes, which scripts rely on."""

from enum import IntEnum

from raysvc.errors import Damaged, DataDirError, NotFound, RaysvcError, Refused, Unavailable


class Code(IntEnum):
    OK = 0
    FAILED = 1  # the job did; for doctor, a check
    USAGE = 2
    REFUSED = 3
    NOT_FOUND = 4
    UNREACHABLE = 5
    INTERNAL = 70  # EX_SOFTWARE of sysexits.h: a bug, here or in the server
    DAMAGED = 74  # EX_IOERR of sysexits.h: what is stored cannot be trusted; starting again does not help
    TIMED_OUT = 124  # as timeout(1) has it: what was waited for has not come
    INTERRUPTED = 130  # 128 + SIGINT, as shells have it
    BROKEN_PIPE = 141  # 128 + SIGPIPE


def code_of(error: RaysvcError) -> Code:
    """Return the exit code that stands for an error."""
    if isinstance(error, NotFound):
        return Code.NOT_FOUND
    if isinstance(error, Refused | DataDirError):
        return Code.REFUSED
    if isinstance(error, Damaged):
        return Code.DAMAGED
    return Code.UNREACHABLE if isinstance(error, Unavailable) else Code.INTERNAL
