"""The whole: up, down, and what runs."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.cluster import (
    control_plane,
    fake_nodes,
    image,
    image_store,
    kuberay,
    machine,
    network,
    node,
    pki,
    programs,
    ray_image,
    server_image,
)
from tests.cluster.api import Api
from tests.cluster.cache import locked
from tests.cluster.cgroup import Group, remember, remembered
from tests.cluster.command import say, wait_until
from tests.cluster.failure import ClusterError
from tests.cluster.node import Equipment
from tests.cluster.plan import OPERATOR_IMAGE, PAUSE_IMAGE, Node, Plan

_ACCOUNT_S = 30.0
_NODES_S = 180.0
_OPERATOR_S = 180.0
# Made by nodes for their mounts where the machine has none; taken away if they are as empty as they were made.
_MOUNT_POINTS = ("/var/lib/kubelet", "/var/lib/cni")


def up(plan: Plan) -> None:
    """Bring up what does not run, and return once all of it is ready. May be repeated, after any kill too.

    Raises ClusterError where this machine cannot run it, or a part does not get ready.
    """
    machine.prepare(plan)
    equipment = equip(plan)
    with locked(_lock(plan)):
        group = group_of(plan)
        if not _note(plan).exists() and group.processes():
            raise ClusterError(f"{plan.addresses.everything} is taken by a cluster with another --home: use --block")
        pki.make(plan)
        network.make(plan)
        remember(group, _note(plan))
        control_plane.start(plan, group, equipment.programs)
        say("the control plane answers")
        for each in plan.nodes:
            node.start(plan, group, each, equipment)
        with Api(plan) as api:
            fake_nodes.start(plan, group, equipment.programs, api, plan.fake_nodes)
            _settle(plan, api, equipment)
        if ended := [name for name, runs in status(plan) if not runs]:
            raise ClusterError(f"{', '.join(ended)} ended again; why is in {plan.logs}")


def down(plan: Plan) -> None:
    """End all processes and take away mounts, network and state. What was built stays. May be repeated."""
    with locked(_lock(plan)):
        group_of(plan).end()
        say("all processes ended")
        network.remove(plan)
        for folder in _MOUNT_POINTS:
            with suppress(OSError):
                Path(folder).rmdir()
        shutil.rmtree(plan.home, ignore_errors=True)


def status(plan: Plan) -> Iterator[tuple[str, bool]]:
    """Yield each part's name, and whether it runs."""
    group = group_of(plan)
    for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns"):
        yield name, bool(group.child(name).processes())
    if not plan.kubeconfig.exists():
        yield from ((each.name, False) for each in plan.nodes)
        return
    with Api(plan) as api:
        answers = api.ready()
        for each in plan.nodes:
            yield each.name, answers and node.ready(plan, each, api)
        yield "kuberay-operator", answers and kuberay.ready(api)


def equip(plan: Plan) -> Equipment:
    """Build programs and images, or find them built."""
    built = programs.built(*([programs.KWOK] if plan.fake_nodes else []))
    images = (
        image.of_program(PAUSE_IMAGE, built["pause"] / "pause", "/pause", {"User": "65535:65535"}),
        image.of_program(OPERATOR_IMAGE, built["kuberay"] / "ray-operator", kuberay.PROGRAM_AT, kuberay.IMAGE_CONFIG),
        ray_image.built(),
        server_image.built(),
    )
    store = image_store.stored(images, built["containerd"])
    return Equipment(built, store, ray_image.mounts())


def kill_node(plan: Plan, name: str) -> None:
    """Take the power of a node away. `up`, or `start_node`, brings it back."""
    node.stop(plan, group_of(plan), _named(plan, name))


def start_node(plan: Plan, name: str) -> None:
    """Start a node again, and return once it is ready."""
    group, wanted = group_of(plan), _named(plan, name)
    node.start(plan, group, wanted, equip(plan))
    with Api(plan) as api:
        wait_until(lambda: node.ready(plan, wanted, api), f"node {name} Ready (see {plan.logs})", within_s=_NODES_S)


def _settle(plan: Plan, api: Api, equipment: Equipment) -> None:
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    wait_until(lambda: api.get(account) is not None, "the account of the default namespace", within_s=_ACCOUNT_S)
    kuberay.ensure(plan, equipment.programs, api)
    for each in plan.nodes:
        what = f"node {each.name} Ready (see {plan.logs}/{each.name}*.log)"
        wait_until(lambda each=each: node.ready(plan, each, api), what, within_s=_NODES_S)  # type: ignore[misc]
        wait_until(lambda each=each: node.offer_gpus(each, api), f"GPUs of {each.name}", within_s=_NODES_S)  # type: ignore[misc]
        say(f"node {each.name} is ready")
    if plan.fake_nodes:
        wait_until(lambda: fake_nodes.ready(api, plan.fake_nodes), "fake nodes ready", within_s=_NODES_S)
        say(f"{plan.fake_nodes} fake nodes are ready")
    wait_until(lambda: kuberay.ready(api), "the KubeRay operator available", within_s=_OPERATOR_S)
    say("the KubeRay operator is ready")


def group_of(plan: Plan) -> Group:
    return remembered(plan.name, _note(plan))


def _note(plan: Plan) -> Path:
    return plan.home / "cgroups.json"


def _lock(plan: Plan) -> Path:
    return plan.home.with_name(f"{plan.home.name}.lock")


def _named(plan: Plan, name: str) -> Node:
    return next(each for each in plan.nodes if each.name == name)
