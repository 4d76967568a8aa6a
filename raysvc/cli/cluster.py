"""`raysvc cluster`: where jobs run."""

from typing import Annotated

import typer

from raysvc.cli.output import Columns, Format, OutputOption, show, show_one
from raysvc.cli.session import connect
from raysvc.domain.cluster import Cluster
from raysvc.domain.resources import Resources

app = typer.Typer(add_completion=False, no_args_is_help=True, help="See the clusters that jobs run on.")


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
    "PHASE": lambda cluster: cluster.phase,
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


@app.command("list")
def list_(output: OutputOption = Format.TABLE) -> None:
    """List the clusters."""
    with connect() as client:
        show(client.clusters.list(), output, _COLUMNS)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="The cluster's name.")] = "local", *, output: OutputOption = Format.TABLE
) -> None:
    """Show a cluster: its state, resources, scaling and free memory."""
    with connect() as client:
        show_one(client.clusters.get(name), output, _DETAILS)
