"""What goes wrong under jobs that run, with the real operator: jobs end as they should, once, and nothing is left."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import raysvc
from raysvc.client.model import Job
from raysvc.domain.job import JobPhase
from tests.cluster.kuberay import NAMESPACE as OPERATOR
from tests.cluster.plan import RAY_IMAGE, Plan
from tests.kube.kubectl import Kubectl
from tests.kube.line import Line
from tests.kube.server import KubeServer
from tests.real.platform_process import eventually

pytestmark = [pytest.mark.kube, pytest.mark.timeout(600)]
SPACE = "faults"
RUN_S = 280.0
STEPS = "for number in $(seq {}); do echo step $number; sleep 1; done"


class Site:
    """A raysvc whose line to Kubernetes can be cut, and an administrator beside it."""

    def __init__(self, server: KubeServer, client: raysvc.Client, kubectl: Kubectl, line: Line) -> None:
        self.server, self.client, self.kubectl, self.line = server, client, kubectl, line

    def submit(self, steps: int, **more: Any) -> Job:
        return self.client.jobs.submit(entrypoint=STEPS.format(steps), retry={"backoff_s": 0.1}, **more)

    def until(self, job: Job, holds: Callable[[Job], bool]) -> Job:
        return self.client.jobs.wait(job.id, RUN_S, until=holds)

    def running(self, job: Job) -> Job:
        return self.until(job, lambda now: now.phase is JobPhase.RUNNING)

    def ended(self, job: Job) -> Job:
        return self.client.jobs.wait(job.id, RUN_S)

    def log(self, job: Job) -> list[str]:
        return [line for line in "".join(self.client.jobs.logs(job.id)).splitlines() if line.startswith("step")]

    def pods(self, job: Job, kind: str) -> list[str]:
        selector = f"--selector=raysvc.dev/job={job.uid},ray.io/node-type={kind}"
        return [each["metadata"]["name"] for each in self.kubectl.get("pods", "--namespace", SPACE, selector)["items"]]

    def trouble(self) -> str:
        """What the cluster's state says is wrong."""
        (cluster,) = self.client.clusters.list()
        return str(cluster.reason.message) if cluster.phase == "DEGRADED" and cluster.reason else ""

    def left(self) -> list[str]:
        found = self.kubectl.get("rayjobs,rayclusters,pods,secrets,networkpolicies", "--namespace", SPACE)["items"]
        return [f"{each['kind']}/{each['metadata']['name']}" for each in found]


@pytest.fixture(scope="module")
def site(kubernetes: Plan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    kubectl, folder = Kubectl(kubernetes.kubeconfig), tmp_path_factory.mktemp("faults")
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
    with Line(kubernetes.api_url) as line:
        kubeconfig = line.kubeconfig(kubernetes.kubeconfig, folder)
        server = KubeServer(folder / "raysvc", kubeconfig, RAY_IMAGE, "--namespace", SPACE)
        try:
            with server.start() as client:
                yield Site(server, client, kubectl, line)
        finally:
            server.end(signal.SIGTERM)
            kubectl("delete", "namespace", SPACE)


@pytest.fixture(autouse=True)
def _nothing_is_left(site: Site) -> Iterator[None]:
    yield
    for job in site.client.jobs.list():
        site.client.jobs.stop(job.id)
        site.client.jobs.wait(job.id, RUN_S)
        site.client.jobs.delete(job.id)
    eventually(lambda: site.left() == [], 120)


def test_the_operator_is_killed_while_a_cluster_is_made_and_while_a_job_runs(site: Site) -> None:
    job = site.submit(12)
    site.until(job, lambda now: now.reason.code == "PROVISIONING")
    kill = ("delete", "pods", "--namespace", OPERATOR, "--all", "--grace-period=0", "--force", "--wait=false")
    site.kubectl(*kill)
    site.running(job)
    site.kubectl(*kill)
    ended = site.ended(job)
    assert (ended.phase, ended.attempt) == (JobPhase.SUCCEEDED, 1)
    assert site.log(job) == [f"step {number}" for number in range(1, 13)]


def test_the_api_server_is_cut_off_while_jobs_run_and_come_in(site: Site) -> None:
    first = site.running(site.submit(30))
    site.line.cut()
    second = site.submit(1)
    eventually(lambda: "does not answer" in site.trouble(), 60)
    assert site.client.jobs.get(second.id).phase in {JobPhase.QUEUED, JobPhase.STARTING}
    site.line.mend()
    ended = site.ended(first), site.ended(second)
    assert [(job.phase, job.attempt) for job in ended] == [(JobPhase.SUCCEEDED, 1)] * 2
    assert site.log(first) == [f"step {number}" for number in range(1, 31)]


def test_the_node_of_a_head_is_drained(site: Site) -> None:
    job = site.running(site.submit(10))
    (head,) = site.pods(job, "head")
    node = site.kubectl.get("pod", head, "--namespace", SPACE)["spec"]["nodeName"]
    ours = f"--pod-selector=raysvc.dev/job={job.uid}"
    try:
        site.kubectl("drain", node, ours, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s")
        # There is no other node for heads: KubeRay's new one waits, and so does ours.
        site.until(job, lambda now: now.attempt == 2)
    finally:
        site.kubectl("uncordon", node)
    ended = site.ended(job)
    assert (ended.phase, ended.attempt) == (JobPhase.SUCCEEDED, 2)
    assert ended.attempts[0].reason is not None
    assert ended.attempts[0].reason.code in {"CLUSTER_LOST", "DRIVER_LOST"}


def test_the_rayjob_is_deleted_behind_our_back(site: Site) -> None:
    job = site.running(site.submit(20))
    site.kubectl("delete", "rayjob", f"job-{job.uid}-1", "--namespace", SPACE)
    ended = site.ended(job)
    assert (ended.phase, ended.attempt) == (JobPhase.SUCCEEDED, 2)
    assert ended.attempts[0].reason is not None
    assert ended.attempts[0].reason.code in {"CLUSTER_LOST", "DRIVER_LOST"}
