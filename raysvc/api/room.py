"""Room for everybody: how many connections a server holds, and which of them goes when there are too many.

A client that opens connections and sends nothing would otherwise use up the process's files, and with them those of the
database and of the logs.
"""

import resource
from collections.abc import Iterable
from typing import Protocol

# Files for the store, the logs, Ray and what each request opens.
RESERVE = 256
# Two origins share the rest. A connection costs about 10 kB.
MOST = 10_000
FEWEST = 32
# What we raise the limit to, where we may: many systems begin with 1,024 and allow far more.
WANTED_FILES = 65_536


class Idler(Protocol):
    """A connection that can say since when it has been owing us a request; None while it owes nothing.

    By `time.monotonic`: the loop's clock stands still while a burst of connections is taken in.
    """

    @property
    def idle_since(self) -> float | None: ...

    def drop(self) -> None: ...


def raise_limit() -> None:
    """Let this process open as many files as it may, up to WANTED_FILES. May be repeated."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):  # macOS allows less than it says
            return


def most_connections() -> int:
    """Return how many connections one origin may hold."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MOST * 2 + RESERVE if soft == resource.RLIM_INFINITY else soft
    return max(FEWEST, min(MOST, (files - RESERVE) // 2))


def longest_idle(connections: Iterable[object]) -> Idler | None:
    """Return the connection that has been owing a request for the longest; None where all are at work."""
    found: Idler | None = None
    since = float("inf")
    for connection in connections:
        idle = getattr(connection, "idle_since", None)
        if idle is not None and idle < since:
            found, since = connection, idle  # type: ignore[assignment]  # what says this is an Idler
    return found
