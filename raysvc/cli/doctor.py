"""`raysvc doctor`: what is wrong, and how to mend it."""

import asyncio
import importlib
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.text import Text

from raysvc.cli.checkup import Finding, State, checkup
from raysvc.cli.exit import Code
from raysvc.cli.output import Format, OutputOption, console, show

app = typer.Typer(add_completion=False)

_MARKS = {State.OK: ("✓", "green"), State.WARN: ("!", "yellow"), State.FAIL: ("✗", "red")}


@app.command(help="Look at this machine, the server and the token, line by line; exit 1 if something is broken.")
def doctor(
    *,
    kube: Annotated[bool, typer.Option("--kube", help="Look at a Kubernetes instead: rights, KubeRay, nodes.")] = False,
    context: Annotated[str | None, typer.Option(help="With --kube: of the kubeconfig; the current one.")] = None,
    namespace: Annotated[
        str | None, typer.Option(envvar="RAYSVC_NAMESPACE", help="With --kube: where jobs are to run; the context's.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    findings = []
    for finding in _of_kube(context, namespace) if kube else checkup():
        findings.append(finding)
        if output is Format.TABLE:
            _print(finding)
    if output is not Format.TABLE:
        show(findings, output, {}, key="subject")
    if any(finding.state is State.FAIL for finding in findings):
        raise typer.Exit(Code.FAILED)


def _of_kube(context: str | None, namespace: str | None) -> Iterable[Finding]:
    server = importlib.import_module("raysvc.bootstrap.kube")  # a client's commands load nothing of the server
    for check in asyncio.run(server.look_at_kube(context, namespace)):
        yield Finding(subject=check.subject, state=State(check.state), detail=check.detail, fix=check.fix)


def _print(finding: Finding) -> None:
    mark, style = _MARKS[finding.state]
    out = console()
    out.print(Text.assemble((mark, style), f" {finding.subject:<16}{finding.detail}"), soft_wrap=True)
    if finding.fix:
        out.print(Text(f"  {'':<16}→ {finding.fix}", style="bold"), soft_wrap=True)
