"""The SDK as the commands use it: connected as the environment says, its warnings on stderr, its changes rehearsed."""

from collections.abc import Iterator
from typing import Annotated

import typer

from raysvc.cli.output import Format, show_data, warn
from raysvc.client.client import Client
from raysvc.client.wire import Call
from raysvc.errors import RaysvcError


def connect(project: str | None = None) -> Client:
    """Return a client of the server that the environment names; raises Unavailable where there is none."""
    return Client(project=project, warn=warn)


def rehearse(client: Client, call: Call, output: Format, *, hidden: str | None = None) -> None:
    """Let the server check a change, and print the exact request that would make it. `hidden` names a secret field."""
    client.wire.rehearse(call)
    params = {name: value for name, value in call.params.items() if value is not None}
    request = {"method": call.method, "path": call.path, "query": params, "body": call.json}
    if hidden is not None:
        request["body"] = {**call.json, hidden: "(not shown)"}
    show_data({name: value for name, value in request.items() if value}, output)


def complete_job(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Yield ids of recent jobs for the shell's completion; none where the server does not answer."""
    try:
        with connect(ctx.params.get("project")) as client:
            found = [(job.id, f"{job.phase} {job.name}") for job in client.jobs.list(limit=50)]
    except RaysvcError:
        return
    yield from (each for each in found if each[0].startswith(incomplete))


JobArgument = Annotated[str, typer.Argument(metavar="ID", help="The job's id.", autocompletion=complete_job)]
