"""`raysvc token`: who may come in."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from raysvc.cli import parse
from raysvc.cli.output import Columns, DryRunOption, Format, OutputOption, say, show, show_one
from raysvc.cli.session import connect, rehearse
from raysvc.domain.project import Role

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make and revoke tokens.")

_COLUMNS: Columns = {
    "ID": lambda token: token.id,
    "OWNER": lambda token: token.owner,
    "ROLE": lambda token: token.role,
    "PROJECTS": lambda token: ", ".join(token.projects) or "all",
    "CREATED": lambda token: f"{token.created_at:%Y-%m-%d}",
    "EXPIRES": lambda token: f"{token.expires_at:%Y-%m-%d %H:%M}" if token.expires_at else "never",
    "STATE": lambda token: "revoked" if token.revoked_at else "",
}


@app.command("list")
def list_(output: OutputOption = Format.TABLE) -> None:
    """List the tokens that you manage; never what they are."""
    with connect() as client:
        show(client.tokens.list(), output, _COLUMNS, key="id")


@app.command()
def create(
    *,
    role: Annotated[Role, typer.Option(help="viewer reads, member also submits, admin also manages.")] = Role.MEMBER,
    owner: Annotated[
        str | None, typer.Option(help="Who acts with it and owns what it submits; you, if not given.")
    ] = None,
    project: Annotated[list[str] | None, typer.Option("--project", "-p", help="Repeatable; none: every one.")] = None,
    expires_in: Annotated[float | None, typer.Option(parser=parse.duration, help="Such as 12h or 90d.")] = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a token and print it, alone on stdout. It is not shown again."""
    until = None if expires_in is None else datetime.now(UTC) + timedelta(seconds=expires_in)
    projects = tuple(project or ())
    with connect() as client:
        owner = owner or client.whoami().name
        if dry_run:
            rehearse(client, client.tokens.creation(role, owner, projects=projects, expires_at=until), output)
            return
        made = client.tokens.create(role, owner, projects=projects, expires_at=until)
    if output is Format.TABLE:
        say(f"Token {made.token.id} for {owner}: {role} of {', '.join(projects) or 'every project'}. Keep it safe:")
        typer.echo(made.secret)
    elif output is Format.ID:
        typer.echo(made.token.id)
    else:
        show_one(made, output, {})


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="The token's id, from `token list`.")],
    *,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """End a token, and every browser session on it, now."""
    with connect() as client:
        if dry_run:
            rehearse(client, client.tokens.revocation(token_id), output)
            return
        client.tokens.revoke(token_id)
    typer.echo(token_id if output is Format.ID else f"Token {token_id} is revoked.")
