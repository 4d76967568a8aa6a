"""`raysvc cluster`: where jobs run, and clusters that they share."""

from pathlib import Path
from typing import Annotated, Any

import typer

from raysvc.cli import parse
from raysvc.cli.output import Columns, DryRunOption, Format, OutputOption, ProjectOption, say, show, show_one
from raysvc.cli.session import connect, rehearse
from raysvc.cli.specfile import read_file
from raysvc.domain.cluster import Cluster, ClusterSpec, NewCluster, NewScale
from raysvc.domain.resources import Resources

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Clusters that jobs run on, and share.")

NameArgument = Annotated[str, typer.Argument(help="The cluster's name.", show_default=False)]


def _amounts(resources: Resources) -> str:
    named = {"CPU": resources.cpus, "GPU": resources.gpus, **resources.custom}
    amounts = [f"{amount:g} {name}" for name, amount in named.items() if amount or name == "CPU"]
    return ", ".join([*amounts, f"{_bytes(resources.memory)} memory"])


def _scale(cluster: Cluster) -> str:
    scale = cluster.autoscaling
    return f"{scale.min} to {scale.max} workers, {scale.want} wanted" if scale else "none: its size is fixed"


def _bytes(amount: int | None) -> str:
    return "not known" if amount is None else f"{amount / 2**30:.1f} GiB"


_COLUMNS: Columns = {
    "NAME": lambda cluster: cluster.name,
    "PROJECT": lambda cluster: cluster.project,
    "PHASE": lambda cluster: cluster.phase,
    "OWNER": lambda cluster: cluster.owner,
    "BACKEND": lambda cluster: cluster.backend,
    "RAY": lambda cluster: cluster.ray_version or "",
    "NODES": lambda cluster: str(cluster.nodes),
    "CPUS": lambda cluster: f"{cluster.used.cpus:g}/{cluster.resources.cpus:g}",
    "GPUS": lambda cluster: f"{cluster.used.gpus:g}/{cluster.resources.gpus:g}",
    "MEMORY FREE": lambda cluster: _bytes(cluster.free_memory),
}
_DETAILS: Columns = {
    "name": lambda cluster: cluster.name,
    "project": lambda cluster: cluster.project,
    "owner": lambda cluster: cluster.owner,
    "backend": lambda cluster: cluster.backend,
    "phase": lambda cluster: cluster.phase,
    "reason": lambda cluster: f"{cluster.reason.title}. {cluster.reason.message}" if cluster.reason else "",
    "ray": lambda cluster: cluster.ray_version or "not known",
    "nodes": lambda cluster: str(cluster.nodes),
    "resources": lambda cluster: _amounts(cluster.resources),
    "in use": lambda cluster: _amounts(cluster.used),
    "memory free": lambda cluster: f"{_bytes(cluster.free_memory)} on the head node",
    "autoscaling": _scale,
    "jobs at once": lambda cluster: str(cluster.max_running_jobs),
}
_CONNECTION: Columns = {
    "RAY_ADDRESS": lambda way: way.address,
    "dashboard": lambda way: way.dashboard or "not through this server",
    "metadata": lambda way: ", ".join(f"{key}={value}" for key, value in way.metadata.items()) or "none needed",
    "token": lambda way: way.token,
}


@app.command("list")
def list_(output: OutputOption = Format.TABLE) -> None:
    """List the clusters; `foreign` ones were made by others, and are left alone until they are adopted."""
    with connect() as client:
        show(client.clusters.list(), output, _COLUMNS)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="The cluster's name.")] = "local",
    *,
    project: ProjectOption = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show a cluster: its state, resources, scaling and free memory."""
    with connect(project) as client:
        show_one(client.clusters.get(name), output, _DETAILS)


@app.command()
def create(  # noqa: PLR0913 each is an option of the command line
    name: NameArgument,
    *,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A YAML file with its spec.", exists=True, dir_okay=False)
    ] = None,
    workers: Annotated[str | None, typer.Option(help="How many: MIN:MAX, or a number.", show_default=False)] = None,
    cpus: Annotated[float | None, typer.Option(help="CPUs of each worker.", show_default=False)] = None,
    gpus: Annotated[float | None, typer.Option(help="GPUs of each worker.", show_default=False)] = None,
    memory: Annotated[
        int | None, typer.Option(parser=parse.size, help="Of each worker: 512MiB, 2GB.", show_default=False)
    ] = None,
    accelerator: Annotated[str | None, typer.Option(help="Its GPUs' kind: H100.", show_default=False)] = None,
    image: Annotated[str | None, typer.Option(help="An image of Ray; the server's own if not given.")] = None,
    max_jobs: Annotated[int | None, typer.Option(help="Jobs at once; 4 if not given.", show_default=False)] = None,
    idle_ttl: Annotated[
        float | None,
        typer.Option(parser=parse.duration, help="An idle worker goes after this: 10m.", show_default=False),
    ] = None,
    suspend_ttl: Annotated[
        float | None,
        typer.Option(parser=parse.duration, help="Without a job it sleeps after this: 30m.", show_default=False),
    ] = None,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Make a cluster for jobs to share: `raysvc job submit --cluster NAME`. Options win over the file."""
    spec = _spec(file, locals())
    new = parse.model(NewCluster, {"name": name, "spec": spec}, {"name": "NAME"})
    with connect(project) as client:
        if dry_run:
            rehearse(client, client.clusters.creating(new), output)
            return
        _tell(client.clusters.create(new), output, "is being made")


@app.command()
def scale(
    name: NameArgument,
    workers: Annotated[str, typer.Option(help="How many: MIN:MAX, or a number.", show_default=False)],
    *,
    group: Annotated[str | None, typer.Option(help="Of which group; of its only one if not given.")] = None,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Set how many workers it may have. Between the two, Ray's autoscaler chooses."""
    least, most = _bounds(workers)
    new = NewScale(group=group, min=least, max=most)
    with connect(project) as client:
        if dry_run:
            rehearse(client, client.clusters.scaling(name, new), output)
        else:
            _tell(client.clusters.scale(name, new), output, f"may have {least} to {most} workers")


@app.command()
def delete(
    name: NameArgument,
    *,
    force: Annotated[bool, typer.Option("--force", help="Stop the jobs that live on it.")] = False,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Remove it. Refused while jobs live on it."""
    with connect(project) as client:
        if dry_run:
            rehearse(client, client.clusters.deletion(name, force=force), output)
        else:
            _tell(client.clusters.delete(name, force=force), output, "is being removed")


@app.command()
def adopt(
    name: NameArgument,
    *,
    project: ProjectOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Take a RayCluster that others made: from now on it is marked, scaled, suspended and deleted from here."""
    with connect(project) as client:
        if dry_run:
            rehearse(client, client.clusters.adoption(name), output)
        else:
            _tell(client.clusters.adopt(name), output, "is the project's now")


@app.command("connect")
def connect_(name: NameArgument, *, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """Show how Ray's own tools reach it through this server, and where their token comes from."""
    with connect(project) as client:
        show_one(client.clusters.connection(name), output, _CONNECTION, key="address")


def _spec(file: Path | None, options: dict[str, Any]) -> ClusterSpec:
    """Return the spec of the file, or the default one, with the options laid over it."""
    form = "a cluster's spec is a mapping with `shape`, `image`, `max_running_jobs`, `idle_ttl_s`, `suspend_ttl_s`"
    spec = read_file(file, ClusterSpec, form) if file else ClusterSpec()
    given = {"image": "image", "max_running_jobs": "max_jobs", "idle_ttl_s": "idle_ttl", "suspend_ttl_s": "suspend_ttl"}
    fields: dict[str, Any] = {field: options[it] for field, it in given.items() if options[it] is not None}
    resources = {it: options[it] for it in ("cpus", "gpus", "memory") if options[it] is not None}
    group: dict[str, Any] = {"accelerator": options["accelerator"]} if options["accelerator"] else {}
    if options["workers"] is not None:
        least, most = _bounds(options["workers"])
        group["scale"] = {"min": least, "want": least, "max": most}
    if group or resources:
        if len(spec.shape.workers) != 1:
            raise typer.BadParameter("The file has several groups of workers: say there how large they are.")
        base = spec.shape.workers[0].model_dump(exclude_unset=True)
        group = {**base, **group, "resources": {"cpus": 1, **base.get("resources", {}), **resources}}
        fields["shape"] = {"workers": [group]}
    return parse.model(ClusterSpec, {**spec.model_dump(exclude_unset=True), **fields})


def _bounds(text: str) -> tuple[int, int]:
    least, colon, most = text.partition(":")
    try:
        found = int(least), int(most if colon else least)
    except ValueError as error:
        raise typer.BadParameter(f"--workers takes MIN:MAX or a number, got {text!r}.") from error
    if not 0 <= found[0] <= found[1]:
        raise typer.BadParameter(f"--workers takes MIN:MAX with 0 <= MIN <= MAX, got {text!r}.")
    return found


def _tell(cluster: Cluster, output: Format, what: str) -> None:
    if output is Format.TABLE:
        say(f"Cluster {cluster.name} {what}. See it: raysvc cluster get {cluster.name} --project {cluster.project}")
    else:
        show_one(cluster, output, _DETAILS)
