"""`raysvc key`: what OpenAI clients send, and how much each may use."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from raysvc.cli import parse
from raysvc.cli.output import Columns, DryRunOption, Format, OutputOption, ProjectOption, say, show, show_one
from raysvc.cli.session import connect, rehearse
from raysvc.domain.key import Key, NewKey
from raysvc.errors import Invalid

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make and revoke inference keys.")

_COLUMNS: Columns = {
    "ID": lambda key: key.id,
    "NAME": lambda key: key.name,
    "SERVICES": lambda key: ", ".join(key.services) or "all",
    "REQUESTS/MIN": lambda key: _limit(key.requests_per_minute),
    "TOKENS/MIN": lambda key: _limit(key.tokens_per_minute),
    "BUDGET": lambda key: _limit(key.budget_tokens),
    "OWNER": lambda key: key.owner,
    "EXPIRES": lambda key: f"{key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "never",
    "STATE": lambda key: _state(key, datetime.now(UTC)),
}


@app.command("list")
def list_(*, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """List the project's inference keys; never what they are."""
    with connect(project) as client:
        show(client.keys.list(), output, _COLUMNS, key="id")


@app.command()
def create(  # noqa: PLR0913 each is an option of the command line
    *,
    project: ProjectOption = None,
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    services: Annotated[
        list[str] | None, typer.Option("--services", help="Names, with commas or repeated; none: all of the project.")
    ] = None,
    rpm: Annotated[float | None, typer.Option("--rpm", help="Requests a minute.")] = None,
    tpm: Annotated[float | None, typer.Option("--tpm", help="Tokens a minute, prompt and completion.")] = None,
    budget_tokens: Annotated[int | None, typer.Option("--budget-tokens", help="Tokens in all.")] = None,
    expires: Annotated[str | None, typer.Option("--expires", help="12h, 90d, or a date such as 2027-01-31.")] = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make an inference key and print it, alone on stdout. It is not shown again."""
    names = [part.strip() for item in services or () for part in item.split(",") if part.strip()]
    new = parse.model(
        NewKey,
        {
            "name": name,
            "services": names,
            "requests_per_minute": rpm,
            "tokens_per_minute": tpm,
            "budget_tokens": budget_tokens,
            "expires_at": _until(expires, datetime.now(UTC)),
        },
        options={"requests_per_minute": "--rpm", "tokens_per_minute": "--tpm", "expires_at": "--expires"},
    )
    with connect(project) as client:
        if dry_run:
            rehearse(client, client.keys.creation(new), output)
            return
        made = client.keys.create(new)
    if output is Format.TABLE:
        say(f"Key {made.key.id} for {', '.join(names) or 'every service'} of {made.key.project}. Keep it safe:")
        typer.echo(made.secret)
    elif output is Format.ID:
        typer.echo(made.key.id)
    else:
        show_one(made, output, {})


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from `key list`.")],
    *,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """End a key: within 5 s it opens nothing any more."""
    with connect(project) as client:
        if dry_run:
            rehearse(client, client.keys.revocation(key_id), output)
            return
        client.keys.revoke(key_id)
    typer.echo(key_id if output is Format.ID else f"Key {key_id} is revoked.")


def _until(text: str | None, now: datetime) -> datetime | None:
    """Return the instant that a length of time or a date means; raises Invalid."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now + timedelta(seconds=parse.duration(text))
        except (typer.BadParameter, OverflowError) as error:
            raise Invalid(
                f"--expires {text}: write 12h, 90d, or a date such as 2027-01-31.", field="expires"
            ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _limit(value: float | None) -> str:
    return "no limit" if value is None else f"{value:,g}" if value != int(value) else f"{int(value):,}"


def _state(key: Key, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else ""
