"""Whether this machine can run the cluster, and what it takes from Debian's packages."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import network
from tests.cluster.cgroup import own_hierarchies
from tests.cluster.command import run, say, succeeds
from tests.cluster.failure import ClusterError
from tests.cluster.plan import Plan

# The programs that we need, each with the Debian package that has it.
_NEEDED = {
    "runc": "runc",
    "debootstrap": "debootstrap",
    "nft": "nftables",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
_CONTROLLERS = {"cpu", "cpuset", "memory", "pids", "devices"}


def obstacle() -> str | None:
    """Return why this machine cannot run the cluster, and what to do, or None. Quick, and changes nothing."""
    return next((reason for stands_in_the_way, reason in _obstacles() if stands_in_the_way), None)


def _obstacles() -> Iterator[tuple[bool, str]]:
    system, processor = platform.system(), platform.machine()
    yield system != "Linux", f"the cluster's nodes are Linux namespaces, and this is {system}: use a Linux machine"
    yield processor != "x86_64", f"the images are made for x86_64, and this is {processor}"
    yield os.geteuid() != 0, "namespaces, mounts and a bridge take root: run it as root"
    mounted = {name for hierarchy in own_hierarchies() for name in hierarchy.options.split(",")}
    lacking = ", ".join(sorted(_CONTROLLERS - mounted))
    yield bool(lacking), f"cgroup v1 is not mounted with {lacking} (cgroup v2 alone is not supported yet)"
    made = succeeds("unshare", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc", "--cgroup", "true")
    yield not made, "`unshare` may not make namespaces here: a container needs --privileged"
    absent = ", ".join(_absent())
    yield bool(absent) and not shutil.which("apt-get"), f"missing {absent}, and no apt-get to install the packages"


def prepare(plan: Plan) -> None:
    """Install the packages that are missing. Raises ClusterError where the cluster cannot run."""
    if reason := obstacle():
        raise ClusterError(reason)
    if missing := _absent():
        packages = [_NEEDED[name] for name in missing]
        say(f"installing {' '.join(packages)}")
        options = ("-y", "-qq", "--no-install-recommends")
        if not succeeds("apt-get", "install", *options, *packages):
            run("apt-get", "-qq", "update")
            run("apt-get", "install", *options, *packages)
    disk = next(folder for folder in (plan.home, *plan.home.parents) if folder.exists())
    if run("stat", "--file-system", "--format=%T", disk).strip() == "overlayfs":
        raise ClusterError(f"{plan.home} lies on an overlay, on which no node can stack its own: use --home")
    if taken := network.conflict(plan):
        raise ClusterError(f"{plan.addresses.everything} overlaps this machine's route {taken}: use --block")


def _absent() -> list[str]:
    return [name for name in _NEEDED if not (shutil.which(name) or Path(name).is_file())]
