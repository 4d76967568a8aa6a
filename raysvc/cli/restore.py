"""`raysvc restore`: a platform out of a backup."""

import asyncio
import socket
from pathlib import Path
from typing import Annotated

import typer

from raysvc.bootstrap.datadir import DataDir
from raysvc.bootstrap.restore import check_target, inspect, restore
from raysvc.cli.backup import contents
from raysvc.cli.output import say, warn
from raysvc.settings import Settings

app = typer.Typer(add_completion=False)


@app.command("restore", help="Check a backup from end to end, then make the platform that it holds.")
def restore_(
    source: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Of `raysvc backup`.")],
    *,
    data_dir: Annotated[Path, typer.Option(help="A new or empty directory.")],
    database_url: Annotated[
        str | None, typer.Option(envvar="RAYSVC_DATABASE_URL", help="An empty PostgreSQL, instead of an SQLite file.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the backup and the directory.")] = False,
) -> None:
    directory = data_dir.expanduser().absolute()
    check_target(directory)
    found = inspect(source)
    manifest = found.manifest
    what = f"{contents(manifest)}, of {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC, raysvc {manifest.raysvc}"
    for flaw in manifest.flaws:
        warn(flaw)
    if dry_run:
        say(f"{source} is whole: {what}. Nothing was restored.")
        return
    asyncio.run(restore(found, directory, Settings(data_dir=directory, database_url=database_url).database))
    say(f"Restored {what}.")
    say(f"Start it: raysvc up --data-dir {data_dir}{' --database-url …' if database_url else ''}")
    if manifest.host == socket.gethostname() and (pid := DataDir(Path(manifest.data_dir)).holder()) is not None:
        warn(f"The server of this backup runs (pid {pid}). Beside it, the new one would run its unfinished jobs again.")
    say("Jobs that ran are looked for on its Ray; what is not there is tried again. So end the old server first.")
