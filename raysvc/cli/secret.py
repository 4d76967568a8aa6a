"""`raysvc secret`: values that jobs use by name. Never an argument: those stand in `ps` and in shell histories."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from raysvc.cli.output import Columns, DryRunOption, Format, OutputOption, ProjectOption, show, show_one
from raysvc.cli.session import connect, rehearse

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Keep secrets that jobs use by name.")

NameArgument = Annotated[str, typer.Argument(help="The secret's name, such as HF_TOKEN.")]
_COLUMNS: Columns = {
    "NAME": lambda secret: secret.name,
    "PROJECT": lambda secret: secret.project,
    "UPDATED": lambda secret: f"{secret.updated_at:%Y-%m-%d %H:%M:%S}",
}


@app.command("set")
def set_(
    name: NameArgument,
    *,
    from_file: Annotated[
        Path | None, typer.Option("--from-file", help="Read the value from a file.", exists=True, dir_okay=False)
    ] = None,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Keep a secret, encrypted. Its value comes from a prompt, from stdin where that is a pipe, or from a file.

    One newline at the end is left off.
    """
    value = _value(name, from_file)
    with connect(project) as client:
        if dry_run:
            rehearse(client, client.secrets.setting(name, value), output, hidden="value")
        else:
            show_one(client.secrets.set(name, value), output, _COLUMNS)


@app.command("list")
def list_(*, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """List the secrets' names; their values cannot be read back."""
    with connect(project) as client:
        show(client.secrets.list(), output, _COLUMNS)


@app.command()
def delete(
    name: NameArgument,
    *,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Forget a secret. Queued jobs that name it will fail."""
    with connect(project) as client:
        if dry_run:
            rehearse(client, client.secrets.deletion(name), output)
            return
        client.secrets.delete(name)
    typer.echo(name if output is Format.ID else f"Secret {name} is deleted.")


def _value(name: str, from_file: Path | None) -> str:
    if from_file is not None:
        text = from_file.read_text()
    elif sys.stdin.isatty():
        text = typer.prompt(f"Value of {name}", hide_input=True, err=True)
    else:
        text = sys.stdin.read()
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise typer.BadParameter("The value is empty. Type it, pipe it in, or name a file with --from-file.")
    return value
