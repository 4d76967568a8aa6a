"""What pods ask of the nodes they are on. Pure: Pod objects in, amounts out."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from raysvc.backends.kuberay.clusters import quantity
from raysvc.backends.kuberay.label import ATTEMPT, INSTANCE, JOB
from raysvc.domain.node import Amounts

Json = Mapping[str, Any]


def used_by(pods: Iterable[Json]) -> dict[str, Amounts]:
    """Return what the pods on each node ask of it: of Pod objects that are bound to a node and have not ended."""
    used: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for node, _, amounts in _bound(pods):
        used[node] += amounts
    return {node: dict(amounts) for node, amounts in used.items()}


def tenants_of(pods: Iterable[Json], instance: str) -> dict[str, dict[str, Amounts]]:
    """Return, by node and by attempt's name, what the pods of that instance of ours ask for."""
    found: defaultdict[str, defaultdict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for node, labels, amounts in _bound(pods):
        if labels.get(INSTANCE) == instance:
            found[node][f"job-{labels.get(JOB)}-{labels.get(ATTEMPT)}"] += amounts
    return {node: {name: dict(amounts) for name, amounts in named.items()} for node, named in found.items()}


def _bound(pods: Iterable[Json]) -> Iterator[tuple[str, Mapping[str, str], Counter[str]]]:
    for pod in pods:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        if spec.get("nodeName") and status.get("phase") not in {"Succeeded", "Failed"}:
            # An init container runs alone, so only what it asks for beyond the others counts.
            main = _sum(spec.get("containers"))
            for container in spec.get("initContainers") or ():
                main = main | _requests(container)
            overhead = _sum([{"resources": {"requests": spec.get("overhead")}}])
            yield spec["nodeName"], (pod.get("metadata") or {}).get("labels") or {}, main + overhead


def _sum(containers: Iterable[Json] | None) -> Counter[str]:
    total: Counter[str] = Counter()
    for container in containers or ():
        total += _requests(container)
    return total


def _requests(container: Json) -> Counter[str]:
    asked = container.get("resources") or {}
    # Where only a limit is said, it is the request.
    amounts = {**(asked.get("limits") or {}), **(asked.get("requests") or {})}
    return Counter({name: float(quantity(amount)) for name, amount in amounts.items()})
