"""etcd, the API server, the controllers, the scheduler and DNS: processes of this machine."""

from collections.abc import Sequence
from pathlib import Path

import httpx

from tests.cluster import render
from tests.cluster.api import Api
from tests.cluster.cgroup import Group
from tests.cluster.command import wait_until
from tests.cluster.pki import kubeconfig_of
from tests.cluster.plan import Plan
from tests.cluster.programs import Programs
from tests.cluster.render import DNS_READY_PORT

_START_S = 60.0
# No gap in the state after a kill, but none after a power cut either: this cluster does not outlive the machine.
_ETCD_FLAGS = ("--unsafe-no-fsync", "--log-level=warn")


def start(plan: Plan, group: Group, programs: Programs) -> None:
    """Start what does not run, and return once the API server answers. May be repeated."""

    def ensure(name: str, program: Path, *arguments: str) -> None:
        component = group.child(name)
        if not component.processes():
            component.start([program, *arguments], plan.logs / f"{name}.log")

    kubernetes = programs.kubernetes
    ensure("etcd", kubernetes, "etcd", *etcd(plan))
    ensure("kube-apiserver", kubernetes, "kube-apiserver", *api_server(plan))
    # A controller manager that comes earlier dies, since it may do nothing yet.
    with Api(plan) as api:
        wait_until(api.ready, f"an answer of the API server (see {plan.logs}/kube-apiserver.log)", within_s=_START_S)
    ensure("kube-controller-manager", kubernetes, "kube-controller-manager", *controllers(plan))
    ensure("kube-scheduler", kubernetes, "kube-scheduler", *scheduler(plan))
    corefile = plan.home / "Corefile"
    corefile.write_text(render.dns(plan))
    ensure("coredns", programs["coredns"] / "coredns", "-conf", str(corefile), "-dns.port", "53")
    wait_until(lambda: dns_ready(plan), f"DNS (see {plan.logs}/coredns.log)", within_s=_START_S)


def dns_ready(plan: Plan) -> bool:
    try:
        return httpx.get(f"http://{plan.addresses.host}:{DNS_READY_PORT}/ready", trust_env=False).is_success
    except httpx.TransportError:
        return False


def etcd(plan: Plan) -> Sequence[str]:
    clients, peers = (f"http://{plan.addresses.loopback}:{port}" for port in (2379, 2380))
    settings = {
        "data-dir": plan.home / "etcd",
        "listen-client-urls": clients,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
        "initial-cluster": f"default={peers}",
    }
    return [*render.flags(settings), *_ETCD_FLAGS]


def api_server(plan: Plan) -> Sequence[str]:
    pki, addresses = plan.pki, plan.addresses
    return render.flags(
        {
            "etcd-servers": f"http://{addresses.loopback}:2379",
            "bind-address": addresses.host,
            "advertise-address": addresses.host,
            "secure-port": "6443",
            "tls-cert-file": pki / "apiserver.crt",
            "tls-private-key-file": pki / "apiserver.key",
            "client-ca-file": pki / "ca.crt",
            "kubelet-client-certificate": pki / "kubelet-client.crt",
            "kubelet-client-key": pki / "kubelet-client.key",
            "kubelet-certificate-authority": pki / "ca.crt",
            "kubelet-preferred-address-types": "InternalIP",
            "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
            "service-account-key-file": pki / "tokens.pub",
            "service-account-signing-key-file": pki / "tokens.key",
            "service-cluster-ip-range": addresses.services,
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction,ResourceQuota",
            "allow-privileged": True,
            "requestheader-client-ca-file": pki / "ca.crt",
            "requestheader-allowed-names": "front-proxy",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "proxy-client-cert-file": pki / "front-proxy.crt",
            "proxy-client-key-file": pki / "front-proxy.key",
            # Webhooks are called at their pods: this machine has no rules for service addresses.
            "enable-aggregator-routing": True,
            "profiling": False,
        }
    )


def controllers(plan: Plan) -> Sequence[str]:
    return render.flags(
        {
            **_client(plan, "controllers"),
            "service-account-private-key-file": plan.pki / "tokens.key",
            "root-ca-file": plan.pki / "ca.crt",
            "use-service-account-credentials": True,
            "cluster-cidr": plan.addresses.pods,
            "service-cluster-ip-range": plan.addresses.services,
            "allocate-node-cidrs": False,
            # A dead node is noticed after 20 s, not 50: tests wait for it.
            "node-monitor-period": "1s",
            "node-monitor-grace-period": "20s",
        }
    )


def scheduler(plan: Plan) -> Sequence[str]:
    return render.flags(_client(plan, "scheduler"))


def _client(plan: Plan, identity: str) -> dict[str, str | bool | Path]:
    kubeconfig = kubeconfig_of(plan, identity)
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": plan.addresses.loopback,
        "leader-elect": False,
    }
