"""An event loop on virtual time, and processes on it that can be frozen or killed between any two of their steps.

No threads, no sockets, no real waiting: what is ready runs in the order in which it became ready; when nothing is,
time moves to the next timer. Timers of one moment go in the order in which they were set. So a run depends on nothing
but its seed.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")
# More steps than any run takes without time moving on: whoever takes them is stuck.
_STUCK = 200_000


class Stuck(AssertionError):
    """Time does not move on, or nothing is left that could move it."""


class Process:
    """What a `kill -9` ends or a SIGSTOP freezes as one: the tasks that were begun in its context."""

    def __init__(self, name: str, loop: "VirtualLoop") -> None:
        self.name = name
        self.alive = True
        self.tasks: list[asyncio.Task[Any]] = []
        self._loop = loop
        self._frozen = False
        self._kept: list[asyncio.Handle] = []

    def holds(self, handle: asyncio.Handle) -> bool:
        """Return whether a step must not be taken: never, of the dead; later, of the frozen."""
        if not self.alive:
            return True
        if self._frozen:
            self._kept.append(handle)
        return self._frozen

    def kill(self) -> None:
        """End it between two steps. Its tasks are left as they are, and kept from being finished by the collector."""
        self.alive = False
        self._kept.clear()

    def bury(self) -> None:
        """Clear away what it was about when it died, after the run: none of it can have an effect any more."""
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 killed, as was meant
            coroutine = task.get_coro()
            if not task.done() and isinstance(coroutine, Coroutine):
                with suppress(RuntimeError):  # it wanted to wait for something once more
                    coroutine.close()
        self.tasks.clear()

    def freeze(self, seconds: float) -> None:
        if self.alive and not self._frozen:
            self._frozen = True
            self._loop.call_later(seconds, self.thaw, context=Context())

    def thaw(self) -> None:
        """Let it go on where it was. May be repeated."""
        self._frozen = False
        for handle in self._kept:
            self._loop.again(handle)
        self._kept.clear()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Start a task that belongs to it."""
        context = Context()
        context.run(CURRENT.set, self)
        return self._loop.create_task(coroutine, context=context)


CURRENT: ContextVar[Process | None] = ContextVar("CURRENT", default=None)


class VirtualLoop(asyncio.AbstractEventLoop):
    """As much of a loop as code without I/O needs."""

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = count()
        self._running = False
        self.unhandled: list[str] = []

    def time(self) -> float:
        return self._now

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run the coroutine to its end, in no process."""
        task = self.create_task(coroutine)
        asyncio.events._set_running_loop(self)  # noqa: SLF001 what every loop does while it runs
        self._running = True
        try:
            while not task.done():
                self._move()
                self._turn()
        finally:
            self._running = False
            asyncio.events._set_running_loop(None)  # noqa: SLF001
        return task.result()

    def _move(self) -> None:
        """Where nothing is ready, let time pass until something is."""
        timers = self._timers
        while not self._ready:
            if not timers:
                raise Stuck("everybody waits, and nobody for a time")
            when, _, handle = heapq.heappop(timers)
            if not handle.cancelled():
                self._now = max(self._now, when)
                self._ready.append(handle)
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])

    def _turn(self) -> None:
        """Do what is ready, and what becomes ready by it, until time must move on."""
        ready, steps = self._ready, 0
        while ready:
            handle = ready.popleft()
            if handle.cancelled():
                continue
            process = handle._context.get(CURRENT)  # type: ignore[attr-defined]  # noqa: SLF001 whose step it is
            if process is not None and process.holds(handle):
                continue
            handle._run()  # noqa: SLF001 what every loop does
            steps += 1
            if steps > _STUCK:
                raise Stuck(f"{steps} steps and no time has passed")

    def again(self, handle: asyncio.Handle) -> None:
        self._ready.append(handle)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None, **_: Any
    ) -> "asyncio.Task[T]":
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        process = (context or Context()).get(CURRENT) if context is not None else CURRENT.get()
        if process is not None:
            process.tasks.append(task)
        return task

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when its time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.unhandled.append(f"{context.get('message')}: {context.get('exception')!r}")
