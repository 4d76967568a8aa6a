"""`raysvc policy`: what policy files would do, before they do it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from raysvc.cli.exit import Code
from raysvc.cli.output import Columns, Format, OutputOption, say, show, show_one
from raysvc.cli.specfile import read_spec
from raysvc.client.discovery import DEFAULT_PROJECT
from raysvc.domain.admission import Admission
from raysvc.domain.project import Role
from raysvc.policies import Report, RuleReport, check, read

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Try policy files before they bite.")


@app.callback()
def root() -> None:
    """Try policy files before they bite."""


def _outcome(rule: RuleReport) -> Text:
    if rule.error:
        return Text("cannot be evaluated", style="red")
    if rule.matched is None:
        return Text("not asked", style="dim")
    if not rule.matched:
        return Text("does not apply", style="dim")
    return Text(rule.outcome or "allow", style=_STYLES.get(rule.outcome or "", ""))


_STYLES = {"deny": "red", "warn": "yellow", "amend": "cyan"}
_COLUMNS: Columns = {
    "POLICY": lambda rule: rule.policy,
    "RULE": lambda rule: rule.rule,
    "OUTCOME": _outcome,
    "SAYS": lambda rule: rule.error or rule.message,
    "SETS": lambda rule: ", ".join(f"{field}={value}" for field, value in rule.changes.items()),
}


@app.command("check")
def check_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, help="Policy files, or a folder.")],
    *,
    job: Annotated[Path, typer.Option("--job", exists=True, dir_okay=False, help="A job spec, YAML.")],
    project: Annotated[str, typer.Option("--project", "-p", help="As if submitted there.")] = DEFAULT_PROJECT,
    owner: Annotated[str, typer.Option(help="As if submitted by them.")] = "someone",
    role: Annotated[Role, typer.Option(help="As if with this role.")] = Role.MEMBER,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say what policies would do with a job; exit 3 if they would refuse it. Needs no server; asks no webhook."""
    spec = read_spec(job)
    admission = Admission(project=project, owner=owner, role=role, job_id="policy-check", spec=spec)
    report = check(read([path for named in files for path in _files(named)]), admission)
    _show(report, output)
    if report.outcome == "deny":
        raise typer.Exit(Code.REFUSED)


def _files(named: Path) -> list[Path]:
    return sorted(path for path in named.iterdir() if path.suffix in {".yaml", ".yml"}) if named.is_dir() else [named]


def _show(report: Report, output: Format) -> None:
    if output is Format.TABLE:
        show(report.rules, output, _COLUMNS)
        verdicts = {"allow": "It would be accepted.", "warn": "It would be accepted, with warnings."}
        say(verdicts.get(report.outcome, "It would be refused."))
    else:
        show_one(report, output, {}, key="outcome")
