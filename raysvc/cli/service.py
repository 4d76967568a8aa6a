"""`raysvc service`: models as OpenAI-compatible endpoints."""

import sys
from typing import Annotated

import typer
from rich.text import Text

from raysvc.cli import service_watch, watch
from raysvc.cli.output import Columns, DryRunOption, Format, OutputOption, ProjectOption, show, show_one
from raysvc.cli.service_deploy import deploy, finish, update
from raysvc.cli.service_plan import plan, prices
from raysvc.cli.session import connect, rehearse
from raysvc.client.service import Service
from raysvc.domain.replica import Sighting
from raysvc.domain.service import ReplicaScale, Revision, ServicePhase

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Plan models, and serve them.")
app.command("plan")(plan)
app.add_typer(prices, name="prices")
app.command("deploy")(deploy)
app.command("update")(update)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The service's name.")]
_STYLES = {
    ServicePhase.HEALTHY: "green",
    ServicePhase.DEPLOYING: "cyan",
    ServicePhase.DEGRADED: "yellow",
    ServicePhase.FAILED: "red",
}


def _phase(service: Service) -> Text:
    return Text(service.phase, style=_STYLES.get(service.phase, ""))


def _scale(service: Service) -> str:
    wanted = service.spec.replicas
    return f"{service.ready} of {wanted.min}..{wanted.max}"


def _revision(service: Service) -> str:
    behind = service.serving not in {0, service.revision}
    return f"{service.revision} (serving {service.serving})" if behind else str(service.revision)


def _old(revision: Revision) -> str:
    end = f", failed: {revision.reason.title}" if revision.reason else ""
    return f"{revision.number}: {revision.spec.model} by {revision.by}{end}"


def _replica(it: Sighting) -> str:
    return f"{it.replica} {it.state} revision {it.revision} at {it.host}:{it.port}, {it.running} running"


_COLUMNS: Columns = {
    "NAME": lambda service: service.name,
    "PHASE": _phase,
    "REASON": lambda service: service.reason.title,
    "READY": _scale,
    "REVISION": _revision,
    "MODEL": lambda service: service.spec.model,
    "OWNER": lambda service: service.owner,
    "AGE": lambda service: watch.age(service.created_at),
}
_DETAILS: Columns = {
    "name": lambda service: service.name,
    "project": lambda service: service.project,
    "phase": _phase,
    "reason": lambda service: service.reason.message or service.reason.title,
    "model": lambda service: service.spec.model,
    "asked for as": lambda service: ", ".join(service.models),
    "base URL": lambda service: service.openai_url or "none: this server has no proxy",
    "ready": _scale,
    "replicas": lambda service: "\n".join(_replica(it) for it in service.replicas),
    "revision": _revision,
    "revisions": lambda service: "\n".join(_old(it) for it in service.revisions),
    "owner": lambda service: service.owner,
    "created": lambda service: f"{service.created_at:%Y-%m-%d %H:%M:%S} UTC",
}


@app.command("list")
def list_(
    *,
    project: ProjectOption = None,
    all_projects: Annotated[bool, typer.Option("--all-projects", "-A", help="Of every project you see.")] = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """List services, oldest first."""
    with connect(project) as client:
        services = client.services.list(project="*" if all_projects else None)
    show(services, output, {"PROJECT": lambda it: it.project, **_COLUMNS} if all_projects else _COLUMNS)


@app.command("get", hidden=True)
@app.command()
def status(name: NameArgument, *, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show a service, its replicas and its revisions."""
    with connect(project) as client:
        show_one(client.services.get(name), output, _DETAILS)


@app.command()
def wait(
    name: NameArgument,
    *,
    project: ProjectOption = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds; then exit 124.")] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Wait until nothing of a service is on its way; exit 1 where it does not serve what was asked for."""
    with connect(project) as client:
        service = service_watch.wait(client, client.services.get(name), timeout)
    if output is not Format.TABLE:
        show_one(service, output, _DETAILS)
    raise typer.Exit(service_watch.outcome(service))


@app.command()
def scale(  # noqa: PLR0913 each is an option of the command line
    name: NameArgument,
    *,
    min_: Annotated[int | None, typer.Option("--min", min=0, help="Replicas, at least.")] = None,
    max_: Annotated[int | None, typer.Option("--max", min=1, help="Replicas, at most.")] = None,
    project: ProjectOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until enough are ready; exit 1 if not.")] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Ask for another number of replicas. No engine that runs is started anew."""
    if min_ is None and max_ is None:
        raise typer.BadParameter("Give --min, --max or both.")
    with connect(project) as client:
        now = client.services.get(name).spec.replicas
        least = now.min if min_ is None else min_
        if max_ is not None and min_ is None:
            least = min(least, max_)
        most = max(now.max, least) if max_ is None else max_
        if least > most:
            raise typer.BadParameter(f"--min {least} is more than --max {most}.")
        wanted = ReplicaScale(min=least, max=most, target_ongoing_requests=now.target_ongoing_requests)
        finish(client, client.services.scaling(name, wanted), dry_run=dry_run, wait=wait, output=output)


@app.command()
def rollback(
    name: NameArgument,
    *,
    to: Annotated[int | None, typer.Option(min=1, help="A revision; the last that did not fail, if left out.")] = None,
    project: ProjectOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it serves; exit 1 if it does not.")] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Go back to an earlier revision's spec; from one that is on its way, to the one that serves."""
    with connect(project) as client:
        finish(client, client.services.rolling_back(name, to), dry_run=dry_run, wait=wait, output=output)


@app.command()
def delete(
    name: NameArgument,
    *,
    project: ProjectOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until its replicas are gone.")] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """End a service. Its name is free once its replicas are gone."""
    with connect(project) as client:
        call = client.services.deletion(name)
        if dry_run:
            rehearse(client, call, output)
            return
        service = client.services.delete(name)
        if wait:
            service_watch.wait(client, service)
    typer.echo(name if output is Format.ID else f"{name} is {'gone' if wait else 'being deleted'}.")


@app.command()
def explain(name: NameArgument, *, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """Say why a service is where it is, what happens next, and what you can do."""
    with connect(project) as client:
        found = client.services.explain(name)
    if output is not Format.TABLE:
        show_one(found, output, {})
        return
    lines = (found.summary, *(f"  {revision}" for revision in found.revisions), found.next, found.advice)
    typer.echo("\n".join(line for line in lines if line))


@app.command()
def logs(
    name: NameArgument,
    *,
    project: ProjectOption = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until you stop it.")] = False,
) -> None:
    """Print what a service's engines write. Ctrl-C ends the following, not the service."""
    with connect(project) as client:
        for text in client.services.logs(name, follow=follow):
            sys.stdout.write(text)
            sys.stdout.flush()


@app.command()
def events(name: NameArgument, *, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show what happened to a service, oldest first."""
    columns: Columns = {
        "TIME": lambda event: f"{event.at:%Y-%m-%d %H:%M:%S}",
        "KIND": lambda event: event.kind,
        "ACTOR": lambda event: event.actor,
        "MESSAGE": lambda event: event.message,
    }
    with connect(project) as client:
        show(list(client.services.events(name)), output, columns, key="seq")
