"""The program `raysvc`: which commands there are, how they load, and what their errors become."""

import importlib
import os
import sys
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from raysvc.cli.exit import Code, code_of
from raysvc.cli.output import complain, say
from raysvc.errors import RaysvcError
from raysvc.version import __version__


class _Entry(NamedTuple):
    module: str
    help: str


# The one lazy registry of the CLI: a command's module is imported when the command is typed.
COMMANDS = {
    "job": _Entry("raysvc.cli.job", "Submit jobs and see what becomes of them."),
    "cluster": _Entry("raysvc.cli.cluster", "See the clusters that jobs run on."),
    "service": _Entry("raysvc.cli.service", "Plan models, and serve them."),
    "pool": _Entry("raysvc.cli.pool", "Declare node pools, and see what fits them."),
    "node": _Entry("raysvc.cli.node", "See nodes, and keep work away from bad ones."),
    "up": _Entry("raysvc.cli.up", "Run the platform on this machine."),
    "demo": _Entry("raysvc.cli.demo", "See it all work: train a model, kill a worker, watch it resume."),
    "backup": _Entry("raysvc.cli.backup", "Keep all of a platform in one file, while it serves."),
    "restore": _Entry("raysvc.cli.restore", "Make a platform out of a backup."),
    "doctor": _Entry("raysvc.cli.doctor", "Find what is wrong, and how to mend it."),
    "project": _Entry("raysvc.cli.project", "Make projects and set their limits."),
    "token": _Entry("raysvc.cli.token", "Make and revoke tokens."),
    "key": _Entry("raysvc.cli.key", "Make and revoke inference keys."),
    "usage": _Entry("raysvc.cli.usage", "See the tokens that were used."),
    "secret": _Entry("raysvc.cli.secret", "Keep secrets that jobs use by name."),
    "policy": _Entry("raysvc.cli.policy", "Try policy files before they bite."),
    "admission": _Entry("raysvc.cli.admission", "Pause and resume the start of queued jobs."),
}


class Commands(TyperGroup):
    """Loads a command's module when it is typed, and turns raysvc's errors into a line and an exit code."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002 as typer has it
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ARG002
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = typer.main.get_command(importlib.import_module(entry.module).app)
        command.name = cmd_name
        return command

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        self._listing().format_help(ctx, formatter)

    def shell_complete(self, ctx: typer.Context, incomplete: str) -> Any:  # type: ignore[override]
        ctx.command = self._listing()
        return super().shell_complete(ctx, incomplete)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        try:
            return super().invoke(ctx)
        except RaysvcError as error:
            complain(error)
            raise typer.Exit(code_of(error)) from error
        except TimeoutError as error:
            say(str(error))
            raise typer.Exit(Code.TIMED_OUT) from error
        except KeyboardInterrupt as interrupt:
            raise typer.Exit(Code.INTERRUPTED) from interrupt
        except BrokenPipeError as error:
            # Whoever read our output has gone (`| head`). Python would complain again while it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(Code.BROKEN_PIPE) from error

    def _listing(self) -> TyperGroup:
        """Return the same commands by name and help alone, for which no module need be loaded."""
        stubs = [TyperCommand(name, help=entry.help) for name, entry in COMMANDS.items()]
        return TyperGroup(name=self.name, commands=stubs, params=self.params, help=self.help, epilog=self.epilog)


app = typer.Typer(
    cls=Commands,
    name="raysvc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # locals in a traceback could hold a token
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 the job failed, 2 usage, 3 refused, 4 not found, 5 the server cannot be reached, "
    "74 the database is damaged. "
    "Clients read RAYSVC_URL, RAYSVC_TOKEN and RAYSVC_PROJECT; without them, the server that runs on this machine.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"raysvc {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A managed Ray service: submit training jobs, and have them kept, queued, watched and explained."""


def main() -> None:
    """Run the program on this process's arguments."""
    app(prog_name="raysvc")
