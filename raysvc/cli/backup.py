"""`raysvc backup`: all of a platform in one file, while it serves."""

from pathlib import Path
from typing import Annotated

import typer

from raysvc.bootstrap.backup import Source, back_up
from raysvc.bootstrap.bundle import Manifest
from raysvc.bootstrap.clock import SystemClock
from raysvc.cli.exit import Code
from raysvc.cli.output import say, warn
from raysvc.settings import Settings, default_data_dir

app = typer.Typer(add_completion=False)


@app.command(help="Write all of a platform into one file (tar, mode 0600), while its server runs or not.")
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make; it must not be there yet.")],
    *,
    data_dir: Annotated[Path | None, typer.Option(help="Of the server. $RAYSVC_DATA_DIR, or the user's own.")] = None,
    database_url: Annotated[
        str | None, typer.Option(envvar="RAYSVC_DATABASE_URL", help="As the server was given it.")
    ] = None,
    shared_dir: Annotated[Path | None, typer.Option(help="As the server was given it.")] = None,
) -> None:
    directory = (data_dir or default_data_dir()).expanduser().absolute()
    common = directory if shared_dir is None else shared_dir.expanduser().absolute()
    source = Source(directory, common, Settings(data_dir=directory, database_url=database_url).database)
    made = back_up(source, target.expanduser().absolute(), SystemClock())
    say(f"Backed up {contents(made.manifest)} to {target} ({made.path.stat().st_size / (1 << 20):.1f} MiB).")
    say("It holds the admin token and the key of the secrets: keep it as safe as you keep those.")
    left = common / "work" / "jobs"
    if any(left.glob("*")):
        say(f"Not in it: what jobs left in {left} (checkpoints, results). Copy that folder too, if you need it.")
    say(f"Try it now and then: raysvc restore {target} --data-dir NEW --dry-run")
    for flaw in made.manifest.flaws:
        warn(flaw)
    if made.manifest.flaws:
        raise typer.Exit(Code.FAILED)


def contents(manifest: Manifest) -> str:
    """Return how much of what a backup holds, for a person."""
    counts = (("job", manifest.rows["job"]), ("package", manifest.packages), ("log", manifest.logs))
    jobs, packages, logs = (f"{count:,} {noun}{'' if count == 1 else 's'}" for noun, count in counts)
    return f"{jobs}, {packages} and {logs}"
