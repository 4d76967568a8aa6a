"""What pods take of their nodes, and whose they are."""

from typing import Any

from raysvc.backends.kuberay.usage import tenants_of, used_by


def test_what_pods_ask_of_their_nodes() -> None:
    def pod(node: str | None, phase: str = "Running", *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
        return {"spec": {"nodeName": node, "containers": containers, **spec}, "status": {"phase": phase}}

    def container(**amounts: dict[str, str]) -> dict[str, Any]:
        return {"resources": amounts}

    eight = container(requests={"cpu": "500m", "memory": "1Gi"}, limits={"cpu": "2", "nvidia.com/gpu": "8"})
    init = container(requests={"cpu": "1", "memory": "512Mi"})
    found = used_by(
        [
            pod("a", "Running", eight, container()),
            pod("a", "Pending", container(limits={"cpu": "1"}), initContainers=[init], overhead={"cpu": "250m"}),
            pod("a", "Succeeded", eight),
            pod(None, "Pending", eight),
            pod("b", "Running", eight, initContainers=[init]),
        ]
    )
    assert found == {
        "a": {"cpu": 1.75, "memory": 1.5 * (1 << 30), "nvidia.com/gpu": 8.0},
        "b": {"cpu": 1.0, "memory": 1.0 * (1 << 30), "nvidia.com/gpu": 8.0},
    }


def test_pods_of_our_attempts_are_told_apart_from_those_of_others() -> None:
    def pod(instance: str, attempt: str, node: str | None = "a", cpu: str = "1") -> dict[str, Any]:
        labels = {"raysvc.dev/instance": instance, "raysvc.dev/job": "u", "raysvc.dev/attempt": attempt}
        containers = [{"resources": {"requests": {"cpu": cpu}}}]
        spec = {"nodeName": node, "containers": containers}
        return {"metadata": {"labels": labels}, "spec": spec, "status": {"phase": "Running"}}

    pods = [
        pod("mine", "1"),
        pod("mine", "1", cpu="500m"),
        pod("mine", "2"),
        pod("theirs", "1"),
        pod("mine", "3", None),
    ]
    assert tenants_of(pods, "mine") == {"a": {"job-u-1": {"cpu": 1.5}, "job-u-2": {"cpu": 1.0}}}
    assert used_by(pods) == {"a": {"cpu": 3.5}}
