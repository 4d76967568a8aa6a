"""A running cluster for a test session. Import `kubernetes` into the conftest of tests that are marked `kube`."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import cluster, machine
from tests.cluster.plan import BLOCK, Addresses, Plan


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Plan]:
    """The cluster, with KUBECONFIG set to it. One that ran before, a developer's, is used and left running.

    Where several run on a machine, $RAYSVC_TEST_CLUSTER_HOME and $RAYSVC_TEST_CLUSTER_BLOCK say which.
    """
    need()
    home = Path(os.environ.get("RAYSVC_TEST_CLUSTER_HOME", Plan().home))
    plan = Plan(home, Addresses(os.environ.get("RAYSVC_TEST_CLUSTER_BLOCK", BLOCK)))
    ran = plan.kubeconfig.exists()
    cluster.up(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "KUBECONFIG", str(plan.kubeconfig))
        yield plan
    if not ran:
        cluster.down(plan)


def need() -> None:
    """Skip what asks, where this machine cannot run a cluster; tests/cluster/conftest.py says so once for all."""
    if reason := machine.obstacle():
        pytest.skip(reason)
