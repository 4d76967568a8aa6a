"""`raysvc project`: who may have how much running at once."""

from typing import Annotated

import typer

from raysvc.cli.output import Columns, DryRunOption, Format, OutputOption, show, show_one
from raysvc.cli.session import connect, rehearse
from raysvc.domain.project import Limits

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make projects and set their limits.")

NameArgument = Annotated[str, typer.Argument(help="The project's name.")]
RunningOption = Annotated[str | None, typer.Option("--max-running-jobs", help="A number, or none.")]
QueuedOption = Annotated[str | None, typer.Option("--max-queued-jobs", help="A number, or none.")]
CpusOption = Annotated[str | None, typer.Option("--max-cpus", help="Of all its running jobs; a number, or none.")]
GpusOption = Annotated[str | None, typer.Option("--max-gpus", help="Of all its running jobs; a number, or none.")]

_COLUMNS: Columns = {
    "NAME": lambda project: project.name,
    "RUNNING JOBS": lambda project: _limit(project.limits.max_running_jobs),
    "QUEUED JOBS": lambda project: _limit(project.limits.max_queued_jobs),
    "CPUS": lambda project: _limit(project.limits.max_cpus),
    "GPUS": lambda project: _limit(project.limits.max_gpus),
    "CREATED": lambda project: f"{project.created_at:%Y-%m-%d}",
}


@app.command("list")
def list_(output: OutputOption = Format.TABLE) -> None:
    """List the projects that you see, and the most that each may have."""
    with connect() as client:
        show(client.projects.list(), output, _COLUMNS)


@app.command()
def create(  # noqa: PLR0913 each is an option of the command line
    name: NameArgument,
    *,
    max_running_jobs: RunningOption = None,
    max_queued_jobs: QueuedOption = None,
    max_cpus: CpusOption = None,
    max_gpus: GpusOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a project."""
    limits = _changed(Limits(), (max_running_jobs, max_queued_jobs, max_cpus, max_gpus))
    with connect() as client:
        if dry_run:
            rehearse(client, client.projects.creation(name, limits), output)
        else:
            show_one(client.projects.create(name, limits), output, _COLUMNS)


@app.command("set")
def set_(  # noqa: PLR0913 each is an option of the command line
    name: NameArgument,
    *,
    max_running_jobs: RunningOption = None,
    max_queued_jobs: QueuedOption = None,
    max_cpus: CpusOption = None,
    max_gpus: GpusOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Change a project's limits; those that are not named stay."""
    given = (max_running_jobs, max_queued_jobs, max_cpus, max_gpus)
    if not any(given):
        raise typer.BadParameter("Name at least one limit, such as --max-gpus 8.")
    with connect() as client:
        limits = _changed(client.projects.get(name).limits, given)
        if dry_run:
            rehearse(client, client.projects.setting(name, limits), output)
        else:
            show_one(client.projects.set(name, limits), output, _COLUMNS)


def _changed(limits: Limits, given: tuple[str | None, str | None, str | None, str | None]) -> Limits:
    running, queued, cpus, gpus = given
    changes = {
        "max_running_jobs": _number(running, whole=True),
        "max_queued_jobs": _number(queued, whole=True),
        "max_cpus": _number(cpus),
        "max_gpus": _number(gpus),
    }
    named = dict(zip(changes, given, strict=True))
    return limits.model_copy(update={key: value for key, value in changes.items() if named[key] is not None})


def _number(text: str | None, *, whole: bool = False) -> float | int | None:
    if text is None or text.lower() == "none":
        return None
    try:
        number = int(text) if whole else float(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"A limit is {'a whole number' if whole else 'a number'} or none, got {text!r}."
        ) from error
    if not 0 <= number < float("inf"):
        raise typer.BadParameter(f"A limit is 0 or more, got {text!r}; write none for no limit.")
    return number


def _limit(value: float | None) -> str:
    return "no limit" if value is None else f"{value:g}"
