"""`raysvc doctor`: what is wrong, and how to mend it."""

import typer
from rich.text import Text

from raysvc.cli.checkup import Finding, State, checkup
from raysvc.cli.exit import Code
from raysvc.cli.output import Format, OutputOption, console, show

app = typer.Typer(add_completion=False)

_MARKS = {State.OK: ("✓", "green"), State.WARN: ("!", "yellow"), State.FAIL: ("✗", "red")}


@app.command(help="Look at this machine, the server and the token, line by line; exit 1 if something is broken.")
def doctor(output: OutputOption = Format.TABLE) -> None:
    findings = []
    for finding in checkup():
        findings.append(finding)
        if output is Format.TABLE:
            _print(finding)
    if output is not Format.TABLE:
        show(findings, output, {}, key="subject")
    if any(finding.state is State.FAIL for finding in findings):
        raise typer.Exit(Code.FAILED)


def _print(finding: Finding) -> None:
    mark, style = _MARKS[finding.state]
    out = console()
    out.print(Text.assemble((mark, style), f" {finding.subject:<16}{finding.detail}"), soft_wrap=True)
    if finding.fix:
        out.print(Text(f"  {'':<16}→ {finding.fix}", style="bold"), soft_wrap=True)
