"""Notices that a young attempt's driver has begun to write: when it begins and ends, Ray is worth a look."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from raysvc.backends.rayjob.restlog import log_name
from raysvc.domain.job import JobRef
from raysvc.ports import Clock

# A stat costs some 2 µs; a look at Ray 10 ms of its dashboard's time.
_LOOK_S = 0.02
# So many looks after it was sent, an attempt is no longer young: who has waited that long can wait for a usual look.
_LOOKS = 1500
# Ray's agent, its supervisor and the driver itself write first; what comes later says nothing of the attempt's state.
_GROWTHS = 4
_MOST = 1000


class LogWatch:
    """`hint` hears of an attempt when its log has grown; `folder`: where Ray's logs are, None where that is afar."""

    def __init__(self, hint: Callable[[JobRef], None], folder: Callable[[], Path | None], clock: Clock) -> None:
        self._hint = hint
        self._folder = folder
        self._clock = clock
        # By attempt: looks so far, growths so far, its log's size.
        self._young: dict[JobRef, tuple[int, int, int]] = {}
        self._some = asyncio.Event()

    def add(self, ref: JobRef) -> None:
        """Watch an attempt that has just been sent."""
        if len(self._young) < _MOST:
            self._young[ref] = (0, 0, 0)
            self._some.set()

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await self._some.wait()
            while self._young:
                await self._clock.sleep(_LOOK_S)
                self._look()
            self._some.clear()

    def _look(self) -> None:
        folder = self._folder()
        for ref, (looks, growths, known) in list(self._young.items()):
            size = _size(folder / log_name(ref)) if folder else 0
            if grown := size > known:
                self._hint(ref)
            if looks < _LOOKS and growths + grown < _GROWTHS:
                self._young[ref] = looks + 1, growths + grown, size
            else:
                del self._young[ref]


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
