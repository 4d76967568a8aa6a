"""`raysvc admission`: hold queued jobs back, and let them go."""

from typing import Annotated

import typer

from raysvc.cli.output import DryRunOption, Format, OutputOption, show_one
from raysvc.cli.session import connect, rehearse
from raysvc.control.floor import AdmissionState

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Pause and resume the start of queued jobs.")


@app.command()
def status(output: OutputOption = Format.TABLE) -> None:
    """Say whether queued jobs may start."""
    with connect() as client:
        _show(client.admission.status(), output)


@app.command()
def pause(
    message: Annotated[str, typer.Option("--message", "-m", help="What those who wait are told.")] = "",
    *,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Start no queued job until resumed. Submits are still taken; what runs goes on."""
    with connect() as client:
        if dry_run:
            rehearse(client, client.admission.pausing(message), output)
        else:
            _show(client.admission.pause(message), output)


@app.command()
def resume(*, dry_run: DryRunOption = False, output: OutputOption = Format.TABLE) -> None:
    """Let queued jobs start again."""
    with connect() as client:
        if dry_run:
            rehearse(client, client.admission.resuming(), output)
        else:
            _show(client.admission.resume(), output)


def _show(state: AdmissionState, output: Format) -> None:
    if output is Format.TABLE:
        said = f": {state.message}" if state.message else "."
        typer.echo(f"Admission is paused{said}" if state.paused else "Queued jobs start as there is room.")
    elif output is Format.ID:
        typer.echo("paused" if state.paused else "open")
    else:
        show_one(state, output, {})
