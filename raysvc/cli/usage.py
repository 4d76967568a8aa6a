"""`raysvc usage`: the tokens that a project's keys have used."""

from datetime import datetime
from typing import Annotated

import typer

from raysvc.cli.output import Columns, Format, OutputOption, ProjectOption, show
from raysvc.cli.session import connect
from raysvc.domain.key import UsageBy

app = typer.Typer(add_completion=False, help="See the tokens that were used.")

_COLUMNS: Columns = {
    "REQUESTS": lambda total: f"{total.requests:,}",
    "FAILED": lambda total: f"{total.failed:,}",
    "PROMPT TOKENS": lambda total: f"{total.prompt_tokens:,}",
    "COMPLETION TOKENS": lambda total: f"{total.completion_tokens:,}",
    "ESTIMATED": lambda total: f"{total.estimated_tokens:,}" if total.estimated_tokens else "",
}
DayOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day, UTC, included.")]


@app.callback(invoke_without_command=True)
def usage(
    *,
    project: ProjectOption = None,
    by: Annotated[UsageBy, typer.Option(help="What to add up by.")] = UsageBy.KEY,
    since: DayOption = None,
    until: DayOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what the project used, by key, service or day: each ended request once."""
    with connect(project) as client:
        totals = client.keys.usage(by, since=since and since.date(), until=until and until.date())
    show(totals, output, {by.upper(): lambda total: total.of, **_COLUMNS}, key="of")
