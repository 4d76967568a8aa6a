"""SIGTERM and Ctrl-C: ask the workers to save, wait briefly, leave with an error.

Ray sends a stopped job's driver SIGTERM and kills it 3 s later (RAY_JOB_STOP_WAIT_TIME_S); the workers get no signal
at all, they die with the driver. So the driver leaves them a file, which rank 0 looks for before each step.
"""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_GRACE_S = 2.2  # of Ray's 3: the rest is for leaving


class Stopper:
    """Install it in the main thread, before work begins in another. `file` is this driver's own."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.file.unlink(missing_ok=True)
        self._signal: int | None = None
        self._deadline = float("inf")

    def install(self) -> None:
        for number in _SIGNALS:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._signal is None:
            self._signal = number
            self._deadline = time.monotonic() + _GRACE_S
            self.file.touch()

    @property
    def saved(self) -> bool:
        """Whether the workers have answered a signal: they remove the file once the last step is safe."""
        return self._signal is not None and not self.file.exists()

    def wait(self, result: "Future[T]", tick: Callable[[], None]) -> None:
        """Return when the result is there or, after a signal, the workers have saved or the grace is over.

        Calls `tick` meanwhile, and once more at the end.
        """
        while not (result.done() or self.saved or time.monotonic() > self._deadline):
            wait([result], timeout=0.1)
            tick()
        tick()

    def leave_if_told(self) -> None:
        """End the process if a signal came, with 128 + its number, as a shell has it.

        Without ceremony: ray.shutdown, with training in flight, took 11 s once in 12 times. The cluster clears up after
        a driver that is gone.
        """
        if self._signal is not None:
            print(f"stopped by a signal: {'saved the last step' if self.saved else 'no time to save'}", flush=True)
            self.close()
            os._exit(128 + self._signal)

    def close(self) -> None:
        """Let signals end the process as they usually do."""
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self.file.unlink(missing_ok=True)


def in_background(work: Callable[[], T]) -> "Future[T]":
    """Return the result to come of `work`, run in a thread that does not keep the process alive.

    The main thread has to stay free: signals are handled between its bytecodes, not inside a blocking call.
    """
    result: Future[T] = Future()

    def fill() -> None:
        try:
            result.set_result(work())
        except BaseException as problem:  # noqa: BLE001 raised again by whoever asks for the result
            result.set_exception(problem)

    Thread(target=fill, daemon=True).start()
    return result
