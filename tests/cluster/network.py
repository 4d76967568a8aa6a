"""The cluster's network: a bridge, one network namespace per node, and routes; nothing of it leaves the machine."""

import ipaddress
import json
from pathlib import Path

from tests.cluster.command import run, succeeds
from tests.cluster.plan import Node, Plan

# A route that is asked last: what the cluster has no other route for is unreachable, not sent to the internet.
_LAST = "4000"
_NAMESPACES = Path("/run/netns")


def namespace(plan: Plan, node: Node) -> str:
    return f"{plan.name}-{node.name}"


def conflict(plan: Plan) -> str | None:
    """Return the route of this machine that our addresses overlap, if there is one that is not ours."""
    ours = ipaddress.ip_network(plan.addresses.everything)
    for route in json.loads(run("ip", "-json", "-4", "route", "show")):
        to = ipaddress.ip_network("0.0.0.0/0" if route["dst"] == "default" else route["dst"])
        if to.prefixlen and to.overlaps(ours) and route.get("dev") != plan.name and route.get("type") != "unreachable":
            return f"{route['dst']} ({route.get('dev', '?')})"
    return None


def make(plan: Plan) -> None:
    """Make the bridge and the routes. May be repeated."""
    if not succeeds("ip", "link", "show", plan.name):
        run("ip", "link", "add", plan.name, "type", "bridge")
    run("ip", "address", "replace", f"{plan.addresses.host}/24", "dev", plan.name)
    run("ip", "link", "set", plan.name, "up")
    run("ip", "route", "replace", "unreachable", plan.addresses.everything, "metric", _LAST)


def connect(plan: Plan, node: Node) -> None:
    """Make the node's namespace anew and plug it in; the node's pods are reached through it."""
    disconnect(plan, node)
    space, plug, address = namespace(plan, node), cable(plan, node), plan.addresses.node(node.index)
    run("ip", "netns", "add", space)
    run("ip", "link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", space)
    run("ip", "link", "set", plug, "master", plan.name, "up")
    for command in (
        f"link set lo up|address add {address}/24 dev eth0|link set eth0 up|route add default via {plan.addresses.host}"
    ).split("|"):
        run("ip", "-netns", space, *command.split())
    for other in plan.nodes:
        if other != node:
            way = ("route", "add", plan.addresses.pods_of(other.index), "via", plan.addresses.node(other.index))
            run("ip", "-netns", space, *way)
    run("ip", "netns", "exec", space, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    run("ip", "route", "replace", plan.addresses.pods_of(node.index), "via", address)
    if node == plan.nodes[0]:
        # Its kube-proxy also serves this machine, which has no rules of its own.
        run("ip", "route", "replace", plan.addresses.services, "via", address)


def disconnect(plan: Plan, node: Node) -> None:
    """Unplug the node and take its namespace away. May be repeated."""
    succeeds("ip", "link", "delete", cable(plan, node))
    succeeds("ip", "netns", "delete", namespace(plan, node))


def remove(plan: Plan) -> None:
    """Take all of it away, whatever of it is there."""
    for node in plan.nodes:
        disconnect(plan, node)
    succeeds("ip", "route", "delete", "unreachable", plan.addresses.everything, "metric", _LAST)
    succeeds("ip", "link", "delete", plan.name)
    if _NAMESPACES.is_dir() and not any(_NAMESPACES.iterdir()):
        # `ip netns add` mounts its folder over itself and never takes that away.
        succeeds("umount", _NAMESPACES)
        _NAMESPACES.rmdir()


def cable(plan: Plan, node: Node) -> str:
    return f"{plan.name}-{node.index}"
