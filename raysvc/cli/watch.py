"""Watching a job from a terminal: its state on one line that changes, its log as it comes."""

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from raysvc.cli.exit import Code
from raysvc.cli.output import console, say
from raysvc.client.client import Client
from raysvc.client.model import Job
from raysvc.domain.job import Attempt, JobPhase

_NOT_YET = frozenset({JobPhase.QUEUED, JobPhase.STARTING})


def follow(client: Client, job: Job, *, log_to_stderr: bool) -> Job:
    """Print the job's log as it comes, until it has ended, and return it. Ctrl-C leaves the job running."""
    out = sys.stderr if log_to_stderr else sys.stdout
    with _leaving(job):
        _wait(client, job, started=True)
        for text in client.jobs.logs(job.id, follow=True, project=job.project):
            out.write(text)
            out.flush()
        return client.jobs.wait(job.id, project=job.project)


def wait(client: Client, job: Job, timeout: float | None = None) -> Job:
    """Show the job's state until it has ended, and return it. Ctrl-C leaves it running; raises TimeoutError."""
    with _leaving(job):
        return _wait(client, job, timeout=timeout)


def outcome(job: Job) -> Code:
    """Say how the job ended, and return the exit code for it."""
    if job.live:
        return Code.OK
    took = f" after {age(job.started_at, job.finished_at)}" if job.started_at else ""
    detail = f": {job.reason.message}" if job.reason.message and job.phase is not JobPhase.SUCCEEDED else ""
    say(f"Job {job.id} {job.phase.lower()}{took}. {job.reason.title}{detail}")
    if job.phase is JobPhase.SUCCEEDED:
        return Code.OK
    say(f"Why: raysvc job explain {job.id}    Log: raysvc job logs {job.id}")
    return Code.FAILED


def state(job: Job) -> str:
    """Return the job's state in a few words."""
    place = f", number {job.position} in line" if job.position else ""
    why = "" if job.reason.title.upper() == job.phase else f": {job.reason.title}"
    attempt = f", attempt {job.attempt}" if job.attempt > 1 else ""
    return f"{job.phase}{attempt}{place}{why}"


def progress(job: Job) -> str:
    """Return how far the job says it is, and its latest numbers."""
    if job.progress is None:
        return ""
    of = f" of {job.progress.total}" if job.progress.total else ""
    numbers = (f"{name} {value:.4g}" for name, value in job.progress.metrics.items() if value is not None)
    return ", ".join((f"step {job.progress.step}{of}", *numbers))


def attempt(found: Attempt) -> str:
    """Return how an attempt went, in a line."""
    code = f", exit code {found.exit_code}" if found.exit_code is not None else ""
    how = found.reason.title if found.reason else "not ended"
    return f"{found.number}: {how} on {found.cluster}, {age(found.started_at, found.finished_at) or 'never ran'}{code}"


def age(start: datetime | None, end: datetime | None = None) -> str:
    """Return the time between two instants, or since one, as people say it."""
    if start is None:
        return ""
    seconds = int(max(0, ((end or datetime.now(UTC)) - start).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days}d{hours % 24}h"
    return f"{hours}h{minutes % 60}m" if hours else f"{minutes}m{seconds % 60}s" if minutes else f"{seconds}s"


def _wait(client: Client, job: Job, *, started: bool = False, timeout: float | None = None) -> Job:
    def there(found: Job) -> bool:
        return started and found.phase not in _NOT_YET

    screen = console(err=True)
    if not screen.is_terminal:
        return client.jobs.wait(job.id, timeout, project=job.project, until=there, on_look=_Lines().look)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        bar = progress.add_task(state(job), total=None)

        def look(found: Job) -> None:
            fraction = found.progress.fraction if found.progress else None
            progress.update(bar, description=state(found), total=fraction and 1, completed=fraction or 0)

        return client.jobs.wait(job.id, timeout, project=job.project, until=there, on_look=look)


class _Lines:
    """Says a job's state whenever it is another."""

    def __init__(self) -> None:
        self._said = ""

    def look(self, job: Job) -> None:
        if (now := state(job)) != self._said:
            self._said = now
            say(f"{job.id} {now}")


@contextlib.contextmanager
def _leaving(job: Job) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nStopped watching; job {job.id} goes on. `raysvc job logs -f {job.id}` follows it again.")
        raise
