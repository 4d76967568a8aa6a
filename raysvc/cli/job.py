"""`raysvc job`: from submit to delete."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from raysvc.cli import artifact, watch
from raysvc.cli.output import (
    Columns,
    DryRunOption,
    Format,
    OutputOption,
    ProjectOption,
    show,
    show_data,
    show_one,
)
from raysvc.cli.session import JobArgument, connect
from raysvc.cli.submit import SubmitCommand, submit
from raysvc.client.client import Client
from raysvc.client.job import Filters
from raysvc.client.wire import Call, body_of
from raysvc.domain.job import JobPhase

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Submit jobs and see what becomes of them.")
app.command(cls=SubmitCommand, name="submit")(submit)
app.command("artifacts")(artifact.artifacts)

_STYLES = {
    JobPhase.SUCCEEDED: "green",
    JobPhase.RUNNING: "cyan",
    JobPhase.FAILED: "red",
    JobPhase.CANCELLED: "yellow",
}
COLUMNS: Columns = {
    "ID": lambda job: job.id,
    "NAME": lambda job: "" if job.name == job.id else job.name,
    "PHASE": lambda job: Text(job.phase, style=_STYLES.get(job.phase, "")),
    "REASON": lambda job: job.reason.title,
    "TRY": lambda job: str(job.attempt),
    "OWNER": lambda job: job.owner,
    "AGE": lambda job: watch.age(job.created_at),
    "RAN": lambda job: watch.age(job.started_at, job.finished_at),
}
_DETAILS: Columns = {
    "id": lambda job: job.id,
    "name": lambda job: job.name,
    "project": lambda job: job.project,
    "phase": lambda job: Text(watch.state(job), style=_STYLES.get(job.phase, "")),
    "reason": lambda job: job.reason.message or job.reason.title,
    "progress": watch.progress,
    "attempts": lambda job: "\n".join(watch.attempt(each) for each in job.attempts),
    "entrypoint": lambda job: job.spec.entrypoint,
    "owner": lambda job: job.owner,
    "cluster": lambda job: job.cluster or "",
    "created": lambda job: f"{job.created_at:%Y-%m-%d %H:%M:%S} UTC",
    "started": lambda job: f"{job.started_at:%Y-%m-%d %H:%M:%S} UTC" if job.started_at else "",
    "finished": lambda job: f"{job.finished_at:%Y-%m-%d %H:%M:%S} UTC" if job.finished_at else "",
}


@app.command("list")
def list_(  # noqa: PLR0913 each is an option of the command line
    *,
    project: ProjectOption = None,
    all_projects: Annotated[bool, typer.Option("--all-projects", "-A", help="Of every project you see.")] = False,
    phase: Annotated[list[JobPhase] | None, typer.Option(case_sensitive=False, help="Repeatable.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who submitted them.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="What their names begin with.")] = None,
    label: Annotated[str | None, typer.Option(help="KEY=VALUE.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many.")] = 50,
    output: OutputOption = Format.TABLE,
) -> None:
    """List jobs, newest first."""
    filters: Filters = {}
    if phase:
        filters["phase"] = phase
    if owner:
        filters["owner"] = owner
    if name:
        filters["name_prefix"] = name
    if label:
        filters["label"] = label.replace("=", ":", 1)
    with connect(project) as client:
        jobs = list(client.jobs.list(project="*" if all_projects else None, limit=limit, **filters))
    columns = {"PROJECT": lambda job: job.project, **COLUMNS} if all_projects else COLUMNS
    show(jobs, output, columns, key="id")


@app.command()
def get(job_id: JobArgument, *, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a job."""
    with connect(project) as client:
        show_one(client.jobs.get(job_id), output, _DETAILS, key="id")


@app.command()
def logs(
    job_id: JobArgument,
    *,
    project: ProjectOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job has ended.")] = False,
    tail: Annotated[int | None, typer.Option(min=1, help="Only the last so many lines.")] = None,
) -> None:
    """Print a job's log. Ctrl-C ends the following, not the job."""
    with connect(project) as client:
        if follow:
            watch.follow(client, client.jobs.get(job_id), log_to_stderr=False)
            return
        if tail is not None:
            sys.stdout.write(_last_lines(client, job_id, tail))
            return
        for text in client.jobs.logs(job_id):
            sys.stdout.write(text)


@app.command()
def wait(
    job_id: JobArgument,
    *,
    project: ProjectOption = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds; then exit 124.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Wait for a job's end; exit 1 if it did not succeed."""
    with connect(project) as client:
        ended = watch.wait(client, client.jobs.get(job_id), timeout)
    if output is not Format.TABLE:
        show_one(ended, output, _DETAILS, key="id")
    raise typer.Exit(watch.outcome(ended))


@app.command()
def stop(
    job_id: JobArgument,
    *,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Ask a job to end. Returns at once; `raysvc job wait` waits for it."""
    with connect(project) as client:
        if dry_run:
            _rehearse(client, client.jobs.stopping(job_id), output)
            return
        job = client.jobs.stop(job_id)
    if output is Format.TABLE:
        typer.echo(f"{job.id} is asked to stop." if job.live else f"{job.id} had already ended: {job.phase}.")
    else:
        show_one(job, output, _DETAILS, key="id")


@app.command()
def delete(
    job_id: JobArgument,
    *,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Forget a job that has ended, its log and its artifacts."""
    with connect(project) as client:
        if dry_run:
            _rehearse(client, client.jobs.deletion(job_id), output)
            return
        client.jobs.delete(job_id)
    typer.echo(job_id if output is Format.ID else f"{job_id} is deleted.")


@app.command()
def explain(job_id: JobArgument, *, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """Say why a job is where it is, what happens next, and what you can do."""
    with connect(project) as client:
        found = client.jobs.explain(job_id)
    if output is not Format.TABLE:
        show_one(found, output, {}, key="id")
        return
    deadline = f"Its time is over at {found.deadline:%H:%M:%S} UTC." if found.deadline else ""
    where = f"It is placed: {found.placement}." if found.placement else ""
    pools = [f"  pool {it.pool}: {it.message}" for it in found.pools]
    nearest = f"Nearest: {found.nearest.message}." if found.nearest else ""
    attempts = [f"  {attempt}" for attempt in found.attempts]
    lines = (found.summary, *attempts, where, *pools, nearest, found.next, found.advice, deadline)
    typer.echo("\n".join(line for line in lines if line))


@app.command()
def events(
    job_id: JobArgument,
    *,
    project: ProjectOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job has ended.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what happened to a job, oldest first."""
    columns: Columns = {
        "TIME": lambda event: f"{event.at:%Y-%m-%d %H:%M:%S}",
        "KIND": lambda event: event.kind,
        "ACTOR": lambda event: event.actor,
        "MESSAGE": lambda event: event.message,
    }
    with connect(project) as client:
        if not follow:
            show(list(client.jobs.events(job_id)), output, columns, key="seq")
            return
        for event in client.jobs.events(job_id, follow=True):
            if output is Format.TABLE:
                typer.echo("  ".join(str(cell(event)) for cell in columns.values()))
            else:  # one document a line, so that what reads along can
                typer.echo(event.model_dump_json() if output is not Format.ID else event.seq)


def _rehearse(client: Client, call: Call, output: Format) -> None:
    show_data(body_of(client.wire.rehearse(call), "rendered"), output)


def _last_lines(client: Client, job_id: str, count: int) -> str:
    """Return the log's last lines, from a window at its end that grows until it holds enough of them."""
    window = count * 200  # bytes; a line is rarely longer
    while True:
        text = "".join(client.jobs.tail(job_id, window))
        lines = text.splitlines(keepends=True)
        if len(lines) > count or len(text.encode()) < window:
            return "".join(lines[-count:])
        window *= 4
