"""The demo as it is seen: on a terminal a bar that moves, elsewhere plain lines, now and then."""

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from raysvc.cli.output import console
from raysvc.client.model import Job
from raysvc.domain.job import JobPhase

# Without a terminal, seconds: a line of progress at most so often, and the same line again only after a while.
_LINE_EVERY_S = 5.0
_AGAIN_AFTER_S = 30.0
_BLOCKS = "▁▂▃▄▅▆▇█"
_BEGINNING = {JobPhase.RUNNING: "running: it reads its text and starts its workers"}


class Screen:
    """Prints what happens, in order. Use as a context manager."""

    def __init__(self) -> None:
        self._console = console()
        self._bar: TaskID | None = None
        self._said = ""
        self._said_at = float("-inf")
        self._begun = time.monotonic()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self._console, transient=True)

    def head(self, text: str) -> None:
        """Begin a chapter."""
        seconds = time.monotonic() - self._begun
        self._console.print(Text.assemble((f"[{seconds:5.1f} s] ", "dim"), (text, "bold")), soft_wrap=True)

    def say(self, text: str | Text = "") -> None:
        """Print a line of the chapter."""
        self._console.print(Text.assemble("          ", text), soft_wrap=True)

    def raw(self, text: str) -> None:
        """Print text as it is, below each other, indented."""
        for line in text.splitlines():
            self.say(Text(line, style="italic"))

    def busy(self, text: str, fraction: float | None = None) -> None:
        """Show what is being waited for, and how far it is."""
        if not self._console.is_terminal:
            since = time.monotonic() - self._said_at
            if since >= (_LINE_EVERY_S if text != self._said else _AGAIN_AFTER_S):
                self._said, self._said_at = text, time.monotonic()
                self.say(text)
            return
        if self._bar is None:
            self._progress.start()
            self._bar = self._progress.add_task(text, total=None)
        total = None if fraction is None else 1.0
        self._progress.update(self._bar, description=text, total=total, completed=fraction or 0)

    def idle(self) -> None:
        """Take the bar away: what was waited for is there."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)
            self._progress.stop()
            self._bar = None
        self._said_at = float("-inf")

    def training(self, job: Job) -> None:
        """Show how far a training job is."""
        found = job.progress
        if found is None:
            self.busy(_BEGINNING.get(job.phase, f"{job.phase.lower()}: {job.reason.message or job.reason.title}"))
            return
        loss, speed = found.metrics.get("loss"), found.metrics.get("tokens_per_s")
        numbers = f"step {found.step:>4}/{found.total or '?'}"
        numbers += f"  loss {loss:.3f}" if loss is not None else ""
        numbers += f"  {speed:,.0f} tokens/s" if speed is not None else ""
        numbers += "  saving the model" if found.fraction == 1 else ""
        self.busy(numbers, found.fraction)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.idle()


def sparkline(values: list[float], width: int = 40) -> str:
    """Return the values as a line of blocks, the lowest value as the lowest block."""
    if not values:
        return ""
    count = min(width, len(values))
    chosen = [values[round(n * (len(values) - 1) / max(1, count - 1))] for n in range(count)]
    low, high = min(chosen), max(chosen)
    scale = (len(_BLOCKS) - 1) / (high - low) if high > low else 0
    return "".join(_BLOCKS[round((value - low) * scale)] for value in chosen)
