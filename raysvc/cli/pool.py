"""`raysvc pool`: nodes that are alike, declared once; and which of them a job would get."""

from pathlib import Path
from typing import Annotated

import typer

from raysvc.cli.exit import Code
from raysvc.cli.output import Columns, DryRunOption, Format, OutputOption, ProjectOption, say, show, show_data, show_one
from raysvc.cli.session import connect, rehearse
from raysvc.cli.specfile import read_file, read_spec
from raysvc.domain.inventory import Fit, NewPools, PoolState
from raysvc.domain.placement import Placement, Refusal
from raysvc.domain.pool import Discovery, Pool

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Declare node pools, and see what fits them.")

NameArgument = Annotated[str, typer.Argument(help="The pool's name.")]
FileOption = Annotated[
    Path, typer.Option("--file", "-f", help="A YAML file.", exists=True, dir_okay=False, show_default=False)
]
_PLACES = {"any": "", "rack": " in one rack", "nvlink-domain": " in one NVLink domain"}


def _nodes(pool: Pool) -> str:
    count = pool.spec.nodes
    return f"{count.fixed} fixed" if count.fixed is not None else f"{count.min} to {count.max}"


def _here(pool: PoolState) -> str:
    return "not known" if pool.seen is None else f"{pool.usable}/{pool.seen}"


def _gpus(pool: Pool) -> str:
    accelerator = pool.spec.accelerator
    return f"{accelerator.count} × {accelerator.full}" if accelerator else ""


def _price(pool: Pool) -> str:
    price = pool.spec.price_per_hour
    return "" if price is None else f"${price:g}/h"


_DECLARED: Columns = {
    "NAME": lambda pool: pool.name,
    "CLASS": lambda pool: pool.spec.node_class,
    "GPUS": _gpus,
    "NODES": _nodes,
    "SPOT": lambda pool: "spot" if pool.spec.spot else "",
    "PRICE": _price,
}
_COLUMNS: Columns = {**_DECLARED, "USABLE": _here}
_DETAILS: Columns = {
    **_COLUMNS,
    "SELECTOR": lambda pool: ", ".join(f"{key}={value}" for key, value in pool.spec.selector.items()),
    "PROJECTS": lambda pool: ", ".join(pool.spec.projects) or "every project",
    "NOTES": lambda pool: "\n".join(pool.notes),
}


@app.command()
def apply(file: FileOption, *, dry_run: DryRunOption = False, output: OutputOption = Format.TABLE) -> None:
    """Make or replace the pools of a file, all of them or none; others stay.

    The file holds a list `pools`, each with a `name` and a `spec`, as `raysvc pool discover` prints it.
    """
    pools = read_file(
        file, NewPools, "a pool file is a mapping with a list `pools`, each with a `name` and a `spec`"
    ).pools
    with connect() as client:
        if dry_run:
            rehearse(client, client.pools.applying(pools), output)
        else:
            show(client.pools.apply(pools), output, _DECLARED)


@app.command("list")
def list_(output: OutputOption = Format.TABLE) -> None:
    """List the pools, and how many of their nodes are there and take work."""
    with connect() as client:
        show(client.pools.list(), output, _COLUMNS)


@app.command()
def get(name: NameArgument, *, output: OutputOption = Format.TABLE) -> None:
    """Show a pool, what is there of it, and which of its nodes take no work, and why."""
    with connect() as client:
        show_one(client.pools.get(name), output, _DETAILS)


@app.command()
def delete(name: NameArgument, *, dry_run: DryRunOption = False, output: OutputOption = Format.TABLE) -> None:
    """Forget a pool. Its nodes and what runs on them stay."""
    with connect() as client:
        if dry_run:
            rehearse(client, client.pools.deletion(name), output)
        else:
            client.pools.delete(name)
            say(f"Pool {name} is forgotten. Its nodes stay, and so does what runs on them.")


@app.command()
def discover(output: OutputOption = Format.YAML) -> None:
    """Print the pools that the cluster's nodes suggest, as a file for `raysvc pool apply`, and what to look at."""
    with connect() as client:
        found = client.pools.discover()
    if output is Format.TABLE:
        show(found.pools, output, _PROPOSED)
    elif output is Format.ID:
        show(found.pools, output, {})
    else:
        show_data(_as_file(found), output)
    for proposal in found.pools:
        for note in proposal.notes:
            say(f"{proposal.name}: {note}.")
    for left in found.left:
        say(f"Left out: {left}.")


_PROPOSED: Columns = {**_DECLARED, "THERE": lambda proposal: str(proposal.nodes)}


def _as_file(found: Discovery) -> dict[str, object]:
    return {
        "pools": [
            {"name": it.name, "spec": it.spec.model_dump(mode="json", exclude_defaults=True)} for it in found.pools
        ]
    }


@app.command()
def fit(file: FileOption, *, project: ProjectOption = None, output: OutputOption = Format.TABLE) -> None:
    """Say where the job of a file would go now, or why not and what would fit. Exit code 3 where it would not."""
    spec = read_spec(file)
    with connect(project) as client:
        found = client.pools.fit(spec)
    if output in {Format.TABLE, Format.ID}:
        _tell(found, {group.name: _PLACES[group.topology] for group in spec.shape.workers})
    else:
        show_data(found.model_dump(mode="json"), output)
    if found.refusal is not None:
        raise typer.Exit(Code.REFUSED)


def _tell(found: Fit, places: dict[str, str]) -> None:
    if found.placement is not None:
        for line in _where(found.placement, places):
            typer.echo(line)
    if found.refusal is not None:
        for line in _why(found.refusal):
            typer.echo(line)


def _where(placement: Placement, places: dict[str, str]) -> list[str]:
    lines = []
    for group in placement.groups:
        nodes = [f"{name} ({workers})" for name, workers in group.nodes.items()]
        nodes += [f"{group.new_nodes} new"] if group.new_nodes else []
        lying = places.get(group.group, "") + (f" ({group.domain})" if group.domain else "")
        lines.append(f"{group.group}: pool {group.pool}{lying}: {', '.join(nodes) or 'no worker at first'}")
    return [*lines, f"head: pool {placement.head_pool}: {placement.head_node or 'a new node'}"]


def _why(refusal: Refusal) -> list[str]:
    lines = [refusal.message, *(f"  {why.pool}: {why.message}." for why in refusal.pools)]
    if refusal.nearest is not None:
        lines.append(f"Nearest: {refusal.nearest.message}.")
    return lines
