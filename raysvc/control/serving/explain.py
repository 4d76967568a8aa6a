"""Why a service is in its phase, in sentences. Pure; it says only what is known."""

from datetime import datetime

from raysvc.control.explain import duration
from raysvc.domain.model import Model
from raysvc.domain.reason import Fault, Reason, ReasonCode
from raysvc.domain.service import Service, ServicePhase


class ServiceExplanation(Model):
    """`summary` in one sentence, `next` what will happen without anybody's doing, `advice` what one can do."""

    name: str
    phase: ServicePhase
    reason: Reason
    fault: Fault
    summary: str
    next: str
    advice: str = ""
    revisions: tuple[str, ...] = ()


_C = ReasonCode
_LOGS = "Read what the engine said: `raysvc service logs {name}`. "
_ADVICE = {
    _C.ENGINE_FAILED: _LOGS + "Then mend the spec with `raysvc service update {name}`.",
    _C.OUT_OF_MEMORY: "Ask `raysvc service plan` what fits: a smaller --max-model-len or --max-num-seqs, more GPUs "
    "with --tensor-parallel, or a quantized model.",
    _C.MODEL_NOT_FOUND: "Check the model's name or directory. A directory must hold config.json, and be readable where "
    "replicas run.",
    _C.REPLICAS_LATE: _LOGS + "Raise start_timeout_s if it was still loading.",
    _C.WAITING_FOR_REPLICAS: _LOGS,
    _C.REPLICAS_MISSING: _LOGS,
    _C.ROLLED_BACK: "Mend the spec and update it again: `raysvc service update {name}`.",
    _C.SERVICE_REFUSED: "Mend what the message names: `raysvc service update {name}`.",
    _C.INSUFFICIENT_RESOURCES: "Stop something else, or lower --cpus, --gpus, --memory or --min.",
    _C.EXCEEDS_CAPACITY: "Lower --cpus, --gpus or --memory, or serve it on a larger cluster.",
    _C.CLUSTER_UNREACHABLE: "`raysvc cluster get` and `raysvc doctor` say what is wrong with the cluster.",
}
_NEXT = {
    ServicePhase.PENDING: "Its replicas are started at once.",
    ServicePhase.HEALTHY: "It serves until it is changed or deleted.",
    ServicePhase.DEGRADED: "Replicas that are missing are started again; it is healthy when enough are ready.",
    ServicePhase.FAILED: "Nothing: it holds no resources, and waits for another revision or its end.",
    ServicePhase.STOPPING: "It is gone when its replicas are.",
    ServicePhase.GONE: "Nothing: it is gone.",
}


def explain(service: Service, ready: int, now: datetime) -> ServiceExplanation:
    """Return the explanation of a service of which so many replicas of the wanted revision are ready."""
    why = service.reason
    said = f"{why.title}: {why.message}" if why.message else why.title
    since = duration((now - service.updated_at).total_seconds())
    return ServiceExplanation(
        name=service.id,
        phase=service.phase,
        reason=why,
        fault=why.fault,
        summary=f"{service.id} is {service.phase} for {since}, {ready} of {service.spec.replicas.min} replicas ready. "
        f"{said}.",
        next=_next(service),
        advice=_ADVICE.get(why.code, "").format(name=service.id).strip(),
        revisions=tuple(_revision(service, number) for number in sorted(it.number for it in service.revisions)),
    )


def _next(service: Service) -> str:
    if service.phase is not ServicePhase.DEPLOYING:
        return _NEXT[service.phase]
    limit = f"{service.spec.start_timeout_s:g} s after its start"
    if service.serving not in {0, service.revision}:
        return (
            f"Revision {service.serving} serves until revision {service.revision} is ready, and goes on where that is "
            f"not ready {limit}."
        )
    return f"It serves as soon as enough replicas are ready, and has failed where they are not {limit}."


def _revision(service: Service, number: int) -> str:
    found = service.of(number)
    assert found is not None  # noqa: S101 the caller walks through those there are
    marks = ["serves"] if number == service.serving else []
    marks += ["wanted"] if number == service.revision and number != service.serving else []
    if found.reason is not None:
        marks.append(f"failed: {found.reason.title}" + (f" ({found.reason.message})" if found.reason.message else ""))
    return f"revision {number} by {found.by}: {found.spec.model}" + (f" [{'; '.join(marks)}]" if marks else "")
