"""What to do about one service, given what is seen of it. Pure: (service, sight, now) -> decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from raysvc.control.step import Decision, Effect
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import Reason, ReasonCode, reason
from raysvc.domain.service import Service, ServicePhase, returned

# How long a cluster may be silent before the service's reason says so.
SILENCE = timedelta(seconds=3)
# A revision that took over keeps the replicas of the one before for so long: every server's proxy has heard of it by
# then (each looks once a second), so that no request is sent to a replica that goes.
HANDOVER = timedelta(seconds=5)
_C = ReasonCode
_P = ServicePhase


@dataclass(frozen=True)
class Sight:
    """A look at a service. `ready`: replicas of each revision that take requests, by what they reported.

    `settled` False: not each of them has had its turn yet, as soon after a start; there may be more than are known.
    """

    seen: Observation
    ready: Mapping[int, int] = field(default_factory=dict)
    settled: bool = True


def decide(service: Service, sight: Sight | None, now: datetime) -> Decision:
    """Return the next step. `sight` is None for a phase in which nothing of it is on a cluster."""
    if service.stop_requested and service.phase not in {_P.STOPPING, _P.GONE}:
        return Decision(phase=_P.STOPPING, reason=reason(_C.STOP_REQUESTED, "it is to be deleted"))
    match service.phase:
        case _P.GONE:
            return Decision()
        case _P.PENDING:
            return Decision(phase=_P.DEPLOYING, reason=reason(_C.DEPLOYING), fields={"deploying_since": now})
        case _P.FAILED:
            # What cannot serve holds nothing: its replicas go, once.
            return Decision(Effect.DELETE, fields={"applied": service.generation}) if _owing(service) else Decision()
    if sight is None:
        message = f"{service.phase} service {service.uid} must be observed before it is decided"
        raise ValueError(message)
    return _placed(service, sight, now)


def _placed(service: Service, sight: Sight, now: datetime) -> Decision:
    """Something of it is on a cluster, or is to be."""
    if service.phase is _P.STOPPING:
        return _stopping(sight, now)
    if sight.seen.seen is Seen.UNKNOWN:
        return _unknown(service, sight, now)
    decision = _deploying(service, sight, now) if service.phase is _P.DEPLOYING else _serving(service, sight, now)
    if service.unknown_since is None:
        return decision
    fields = {"unknown_since": None, **decision.fields}
    return Decision(decision.effect, decision.phase, decision.reason, fields)


def failed(service: Service, why: Reason, now: datetime, *, standing: bool) -> Decision:
    """Return the step after the wanted revision failed for good. `standing`: the one before has enough replicas."""
    revisions = service.failed(why)
    back = service.of(service.serving) if service.serving != service.revision else None
    if back is not None:
        text = f"revision {service.revision} failed: {why.title.lower()}" + (f" ({why.message})" if why.message else "")
        fields = {
            **returned(service, back),
            "revisions": revisions,
            "generation": service.generation + 1,
            "deploying_since": now,
        }
        phase = _P.HEALTHY if standing else _P.DEGRADED
        return Decision(phase=phase, reason=reason(_C.ROLLED_BACK, text), fields=fields)
    if service.serving:  # more replicas were asked for than there are
        return Decision(phase=_P.DEGRADED, reason=why)
    fields = {"revisions": revisions, "generation": service.generation + 1}
    return Decision(phase=_P.FAILED, reason=why, fields=fields)


def _deploying(service: Service, sight: Sight, now: datetime) -> Decision:
    """The wanted revision is on its way, or another number of replicas is."""
    if _owing(service) or sight.seen.seen is Seen.ABSENT:
        # Time in which there was no cluster to start on, or no server, does not count.
        anew = {"deploying_since": now} if _owing(service) or _late(service, now) else {}
        return _apply(service, anew, _C.DEPLOYING)
    if sight.seen.seen is Seen.FAILED:
        why = reason(sight.seen.cause or _C.ENGINE_FAILED, sight.seen.message)
        return failed(service, why, now, standing=_standing(service, sight))
    if sight.seen.seen is Seen.RUNNING and sight.ready.get(service.revision, 0) >= service.spec.replicas.min:
        taken = {"serving": service.revision, "switched_at": now, "generation": service.generation + 1}
        fields = taken if service.serving != service.revision else {}
        return Decision(phase=_P.HEALTHY, reason=_well(service, sight), fields=fields)
    if _late(service, now) and sight.settled:
        parts = (f"{_count(service, sight)} after {service.spec.start_timeout_s:g} s", sight.seen.message)
        why = reason(_C.REPLICAS_LATE, ". ".join(filter(None, parts)))
        return failed(service, why, now, standing=_standing(service, sight))
    if sight.seen.seen is Seen.PENDING and sight.seen.cause is not None:
        return _say(service, reason(sight.seen.cause, sight.seen.message))
    return _say(service, reason(_C.WAITING_FOR_REPLICAS, _count(service, sight)))


def _serving(service: Service, sight: Sight, now: datetime) -> Decision:
    """HEALTHY or DEGRADED: it serves one revision, and nothing else is wanted."""
    handing_over = service.switched_at is not None and timedelta(0) <= now - service.switched_at < HANDOVER
    if sight.seen.seen is Seen.ABSENT or (_owing(service) and not handing_over):
        return _apply(service, {})
    if _standing(service, sight):  # whatever the backend says of a revision that it was told of before
        why = service.reason if service.reason.code is _C.ROLLED_BACK else _well(service, sight)
        return _say(service, why) if service.phase is _P.HEALTHY else Decision(phase=_P.HEALTHY, reason=why)
    if not sight.settled:
        return Decision()
    told = sight.seen.message if sight.seen.seen is Seen.FAILED else ""
    why = reason(_C.REPLICAS_MISSING, ". ".join(filter(None, (_count(service, sight), told))))
    return _say(service, why) if service.phase is _P.DEGRADED else Decision(phase=_P.DEGRADED, reason=why)


def _stopping(sight: Sight, now: datetime) -> Decision:
    if sight.seen.seen is not Seen.ABSENT:
        return Decision(Effect.DELETE)  # until it is seen to have worked
    # Once more, should an apply have been on its way.
    return Decision(Effect.DELETE, _P.GONE, reason(_C.SERVICE_DELETED), {"deleted": True, "finished_at": now})


def _unknown(service: Service, sight: Sight, now: datetime) -> Decision:
    """UNKNOWN moves nothing: it is remembered, and after a while it is said, unless replicas say that all is well."""
    if service.unknown_since is None:
        return Decision(fields={"unknown_since": now})
    if now - service.unknown_since < SILENCE or _standing(service, sight):
        return Decision()
    return _say(service, reason(_C.CLUSTER_UNREACHABLE, sight.seen.message))


def _apply(service: Service, fields: dict[str, Any], code: ReasonCode | None = None) -> Decision:
    why = None if code is None or service.reason.code is code else reason(code)
    told = {**fields, "applied": service.generation} if _owing(service) or fields else {}
    return Decision(Effect.APPLY, reason=why, fields=told)


def _owing(service: Service) -> bool:
    """Return whether the backend has not been told yet what is wanted now."""
    return service.applied < service.generation


def _standing(service: Service, sight: Sight) -> bool:
    """Return whether what serves has as many replicas as it needs."""
    return bool(service.serving) and sight.ready.get(service.serving, 0) >= service.spec.replicas.min


def _late(service: Service, now: datetime) -> bool:
    since = service.deploying_since
    return since is not None and now - since > timedelta(seconds=service.spec.start_timeout_s)


def _well(service: Service, sight: Sight) -> Reason:
    if not sight.ready.get(service.revision, 0):
        return reason(_C.SCALED_TO_ZERO)
    return reason(_C.SERVING, f"revision {service.revision}")


def _count(service: Service, sight: Sight) -> str:
    found, needed = sight.ready.get(service.revision, 0), service.spec.replicas.min
    return f"{found} of {needed} ready, revision {service.revision}"


def _say(service: Service, why: Reason) -> Decision:
    """Return the reason where it differs, so that an unchanged look saves nothing."""
    return Decision(reason=None if why == service.reason else why)


def troubled(service: Service, message: str) -> Decision:
    """Return the step after an effect that the backend could not take now: it is tried again, and that is said."""
    if service.phase is not _P.DEPLOYING:
        return Decision()
    return _say(service, reason(_C.CLUSTER_UNREACHABLE, message))
