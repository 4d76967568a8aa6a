"""What the pages show, put together from the platform's services. No decision is made here."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from raysvc.api.pages.plot import Plot, plot
from raysvc.api.pages.words import screen
from raysvc.control.excerpt import Window, excerpt
from raysvc.control.explain import Explanation
from raysvc.control.platform import Platform
from raysvc.control.progress import Progress
from raysvc.domain.access import Principal
from raysvc.domain.cluster import Cluster
from raysvc.domain.event import Event
from raysvc.domain.job import Job, JobPhase
from raysvc.domain.query import JobQuery
from raysvc.domain.reason import Reason
from raysvc.errors import RaysvcError
from raysvc.ports import ArtifactFile

TAIL_BYTES = 64 << 10
MOST_EVENTS = 200
MOST_FILES = 500
PLOT_POINTS = 300
# What is plotted together, where a job reports it, with the width and height of the plot.
FAMILIES = (
    (("loss", "eval_loss", "val_loss"), 640, 220),
    (("tokens_per_s",), 310, 150),
    (("lr", "learning_rate"), 310, 150),
)
# Bookkeeping that says nothing to somebody who watches.
_UNSHOWN = frozenset({"time", "attempt", "epoch_time"})


class Row(NamedTuple):
    job: Job
    reason: Reason
    position: int | None
    progress: Progress | None


class ListPage(NamedTuple):
    rows: Sequence[Row]
    next_cursor: str | None
    clusters: Sequence[Cluster]


class JobLive(NamedTuple):
    """The part of a job's page that changes by itself."""

    job: Job
    explanation: Explanation
    progress: Progress | None
    figures: dict[str, float]
    plots: Sequence[Plot]
    events: Sequence[Event]
    files: Sequence[ArtifactFile]


async def list_page(here: Platform, who: Principal, asked: JobQuery) -> ListPage:
    """Return a page of jobs, with the progress of those that run, and the clusters they run on."""
    page = await here.desk.find(who, asked)
    rows = []
    for job in page.items:
        why, position = await here.desk.reason(job)
        running = job.phase in {JobPhase.RUNNING, JobPhase.STOPPING}
        progress = await here.outputs.progress(who, job) if running else None
        rows.append(Row(job, why, position, progress))
    return ListPage(rows, page.next_cursor, await clusters(here, who))


async def clusters(here: Platform, who: Principal) -> Sequence[Cluster]:
    """Return the clusters; none where the backend does not answer, since a page must show without it."""
    try:
        return await here.floor.clusters(who)
    except RaysvcError:
        return ()


async def job_live(here: Platform, who: Principal, job: Job) -> JobLive:
    """Return the state of a job's page."""
    series = await here.outputs.series(who, job, PLOT_POINTS)
    progress = await here.outputs.progress(who, job)
    plots = [found for family in FAMILIES if (found := plot(series.points, *family))]
    events = await here.desk.events(who, job, after=max(0, job.version - MOST_EVENTS), limit=MOST_EVENTS)
    return JobLive(
        job=job,
        explanation=await here.desk.explain(who, job.project, job.id),
        progress=progress,
        figures=_figures(progress),
        plots=plots,
        events=events[::-1],
        files=(await here.outputs.find(who, job))[:MOST_FILES],
    )


async def log_tail(here: Platform, job: Job) -> dict[str, Any]:
    """Return the end of the log as text, and the offset behind it."""
    piece = await excerpt(here.logs, job, Window(-TAIL_BYTES, TAIL_BYTES))
    cut = piece.next_offset - len(piece.data) > 0
    data = piece.data.partition(b"\n")[2] if cut else piece.data
    return {"text": screen(data), "offset": piece.next_offset, "cut": cut, "complete": piece.complete}


def _figures(progress: Progress | None) -> dict[str, float]:
    metrics = progress.metrics if progress else {}
    return {name: value for name, value in metrics.items() if value is not None and name not in _UNSHOWN}
