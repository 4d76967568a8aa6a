"""Places where a process kills itself, as `kill -9` would."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The point at which this process dies and on which pass of it, as `jobs.apply.after:2`.
VARIABLE = "RAYSVC_CHAOS_POINT"


class Points:
    """Counts how often each point is passed, and writes the name of each that is reached to a file, once."""

    def __init__(self, plan: str, reached: Path) -> None:
        self._name, _, number = plan.partition(":")
        self._number = int(number or 1)
        self._fate = signal.SIGKILL
        self._reached = reached
        self._passes: Counter[str] = Counter()

    def reach(self, name: str) -> None:
        """Pass the point, or die there: no `finally`, no flush, no goodbye."""
        self._passes[name] += 1
        if self._passes[name] == 1:
            with self._reached.open("a") as file:
                file.write(f"{name}\n")
        if name == self._name and self._passes[name] == self._number:
            os.kill(os.getpid(), self._fate)

    def stop_at(self, name: str) -> None:
        """Stop this process, as SIGSTOP does, when it next passes that point."""
        self._name, self._number, self._fate = name, self._passes[name] + 1, signal.SIGSTOP

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the coroutine function with a point before and one after it."""

        async def passed(*arguments: Any, **options: Any) -> Any:
            self.reach(f"{name}.before")
            result = await call(*arguments, **options)
            self.reach(f"{name}.after")
            return result

        return passed


class Tapped:
    """Stands for a part; the methods named have failpoints round them."""

    def __init__(self, part: object, points: Points, prefix: str, methods: frozenset[str]) -> None:
        self._part = part
        self._points = points
        self._prefix = prefix
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        return self._points.around(f"{self._prefix}.{name}", found) if name in self._methods else found
