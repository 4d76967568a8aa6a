"""`raysvc job artifacts`: the files a job left in RAYSVC_OUTPUT_DIR."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

from raysvc.cli.output import Columns, Format, OutputOption, ProjectOption, console, show
from raysvc.cli.session import JobArgument, connect
from raysvc.client.client import Client
from raysvc.errors import NotFound

_COLUMNS: Columns = {
    "PATH": lambda file: file.path,
    "SIZE": lambda file: f"{file.size:,}",
    "MODIFIED": lambda file: f"{file.modified_at:%Y-%m-%d %H:%M:%S}",
}


class Verb(StrEnum):
    GET = "get"


def artifacts(
    job_id: JobArgument,
    verb: Annotated[Verb | None, typer.Argument(help="`get` fetches a file; without it they are listed.")] = None,
    path: Annotated[str | None, typer.Argument(help="The file to get.")] = None,
    *,
    to: Annotated[Path, typer.Option("--to", help="Where to put it: a file, a folder, or - for stdout.")] = Path(),
    project: ProjectOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """List the files that a job left, or get one of them."""
    if (verb is None) != (path is None):
        raise typer.BadParameter("To get a file, write: raysvc job artifacts ID get PATH")
    with connect(project) as client:
        if path is None:
            show(client.jobs.artifacts.list(job_id), output, _COLUMNS, key="path")
        elif str(to) == "-":
            for chunk in client.jobs.artifacts.read(job_id, path):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        else:
            typer.echo(_download(client, job_id, path, to))


def _download(client: Client, job_id: str, path: str, to: Path) -> Path:
    file = next((each for each in client.jobs.artifacts.list(job_id) if each.path == path), None)
    if file is None:
        raise NotFound(f"Job {job_id} has no artifact {path!r}. `raysvc job artifacts {job_id}` shows those it has.")
    screen = console(err=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal) as progress:
        bar = progress.add_task(path, total=file.size)
        return client.jobs.artifacts.download(job_id, path, to, on_progress=lambda size: progress.advance(bar, size))
