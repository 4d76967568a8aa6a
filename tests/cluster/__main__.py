"""`python -m tests.cluster up|down|status`: a real Kubernetes with KubeRay on this machine, as root."""

import argparse
import sys
from pathlib import Path

from tests.cluster import cluster
from tests.cluster.failure import ClusterError
from tests.cluster.plan import BLOCK, Addresses, Plan


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument("--home", type=Path, default=Plan().home, help="folder of its state (%(default)s)")
    parser.add_argument("--block", default=BLOCK, help="the first two numbers of its addresses, a /16 (%(default)s)")
    parser.add_argument("--fake-nodes", type=int, default=0, help="nodes that are only scheduled on (%(default)s)")
    given = parser.parse_args(arguments)
    try:
        plan = Plan(given.home.absolute(), Addresses(given.block), fake_nodes=given.fake_nodes)
        return {"up": up, "down": down, "status": status}[given.command](plan)
    except (ClusterError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def up(plan: Plan) -> int:
    cluster.up(plan)
    sys.stdout.write(f"export KUBECONFIG={plan.kubeconfig}\n")
    return 0


def down(plan: Plan) -> int:
    cluster.down(plan)
    return 0


def status(plan: Plan) -> int:
    """Return 0 where everything runs."""
    parts = list(cluster.status(plan))
    sys.stdout.writelines(f"{name:26}{'runs' if runs else '-'}\n" for name, runs in parts)
    return 0 if all(runs for _, runs in parts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
