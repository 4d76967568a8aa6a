"""A running cluster for a test session. Import `kubernetes` into the conftest of tests that are marked `kube`."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster import cluster, machine
from tests.cluster.plan import Plan


@pytest.fixture(scope="session")
def kubernetes() -> Iterator[Plan]:
    """The cluster, with KUBECONFIG set to it. One that ran before, a developer's, is used and left running."""
    need()
    plan = Plan()
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
