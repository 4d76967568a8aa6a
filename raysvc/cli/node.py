"""`raysvc node`: the machines of the cluster, and those that are to get no work."""

from typing import Annotated

import typer

from raysvc.cli.output import Columns, DryRunOption, Format, OutputOption, say, show, show_one
from raysvc.cli.session import connect, rehearse
from raysvc.domain.inventory import NodeState

app = typer.Typer(add_completion=False, no_args_is_help=True, help="See nodes, and keep work away from bad ones.")

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="The node's name in Kubernetes.")]


def _gpus(node: NodeState) -> str:
    devices = [name for name in node.allocatable if "gpu" in name or "/mig-" in name]
    return ", ".join(f"{node.used.get(name, 0):g}/{node.allocatable[name]:g}" for name in devices)


_COLUMNS: Columns = {
    "NAME": lambda node: node.name,
    "POOL": lambda node: node.pool or "",
    "GPUS USED": _gpus,
    "WORK": lambda node: "yes" if node.usable else "no",
    "WHY": lambda node: node.why or "; ".join(node.drift),
    "DRIVER": lambda node: node.os.driver or "",
    "KERNEL": lambda node: node.os.kernel or "",
}
_QUARANTINE: Columns = {
    "NODE": lambda found: found.node,
    "REASON": lambda found: found.reason,
    "BY": lambda found: found.by,
    "SINCE": lambda found: f"{found.at:%Y-%m-%d %H:%M:%S}",
}


@app.command("list")
def list_(output: OutputOption = Format.TABLE) -> None:
    """List the nodes: of which pool, whether they get work, and if not, why."""
    with connect() as client:
        show(client.nodes.list(), output, _COLUMNS)


@app.command()
def quarantine(
    node: NodeArgument,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why: everyone whose job waits for it reads it.")],
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Give a node no more work until it is released. What runs there runs on."""
    with connect() as client:
        if dry_run:
            rehearse(client, client.nodes.quarantining(node, reason), output)
        else:
            show_one(client.nodes.quarantine(node, reason), output, _QUARANTINE, key="node")


@app.command()
def release(node: NodeArgument, *, dry_run: DryRunOption = False, output: OutputOption = Format.TABLE) -> None:
    """Let a node get work again."""
    with connect() as client:
        if dry_run:
            rehearse(client, client.nodes.releasing(node), output)
        else:
            client.nodes.release(node)
            say(f"Node {node} may get work again.")
