"""What to do about one shared cluster, given what is seen of it. Pure: (cluster, seen, jobs, now) -> decision."""

from datetime import datetime, timedelta
from typing import Any

from raysvc.control.step import Decision, Effect
from raysvc.domain.cluster import ClusterPhase, SharedCluster
from raysvc.domain.observation import Observation, Seen
from raysvc.domain.reason import Reason, ReasonCode, reason

# How long it may be silent before its reason says so.
SILENCE = timedelta(seconds=3)
_C = ReasonCode
_P = ClusterPhase


def decide(cluster: SharedCluster, seen: Observation | None, jobs: int, now: datetime) -> Decision:
    """Return the next step. `jobs`: how many live ones name it. `seen` is None for a phase in which it is nowhere."""
    if cluster.stop_requested and cluster.phase not in {_P.STOPPING, _P.GONE}:
        return Decision(phase=_P.STOPPING, reason=reason(_C.STOP_REQUESTED, "it is to be deleted"))
    match cluster.phase:
        case _P.GONE:
            return Decision()
        case _P.PENDING:
            return Decision(phase=_P.STARTING, reason=reason(_C.PROVISIONING))
        case _P.FAILED:
            return Decision()  # until it is deleted
    if seen is None:
        message = f"{cluster.phase} cluster {cluster.uid} must be observed before it is decided"
        raise ValueError(message)
    if seen.seen is Seen.UNKNOWN:
        return _unknown(cluster, seen, now)
    decision = _known(cluster, seen, jobs, now)
    noted = _use(cluster, jobs, now) | ({} if cluster.unknown_since is None else {"unknown_since": None})
    return Decision(decision.effect, decision.phase, decision.reason, {**noted, **decision.fields})


def _known(cluster: SharedCluster, seen: Observation, jobs: int, now: datetime) -> Decision:
    if cluster.phase is _P.STOPPING:
        return _deleting(seen, now) if cluster.stop_requested else _suspending(cluster, seen)
    if cluster.phase is _P.SUSPENDED:
        return _suspended(cluster, seen, jobs)
    return _wanted(cluster, seen, idle=_idle(cluster, jobs, now))


def _wanted(cluster: SharedCluster, seen: Observation, *, idle: bool) -> Decision:
    """STARTING, READY or DEGRADED: it is to be there and awake."""
    if _owing(cluster) or seen.seen in {Seen.ABSENT, Seen.STOPPED}:
        return _apply(cluster, seen)
    if cluster.phase is _P.STARTING:
        if seen.seen is Seen.RUNNING:
            return Decision(phase=_P.READY, reason=reason(_C.CLUSTER_READY))
        return _say(cluster, reason(seen.cause or _C.PROVISIONING, seen.message))
    if idle:
        return Decision(phase=_P.STOPPING, reason=_unused(cluster))
    return _standing(cluster, seen)


def _standing(cluster: SharedCluster, seen: Observation) -> Decision:
    """READY or DEGRADED, and wanted."""
    if seen.seen is Seen.RUNNING:
        well = reason(_C.CLUSTER_READY)
        return _say(cluster, well) if cluster.phase is _P.READY else Decision(phase=_P.READY, reason=well)
    ill = reason(seen.cause or _C.CLUSTER_NOT_READY, seen.message or "its head is not ready")
    return _say(cluster, ill) if cluster.phase is _P.DEGRADED else Decision(phase=_P.DEGRADED, reason=ill)


def _apply(cluster: SharedCluster, seen: Observation) -> Decision:
    """It is to be there and awake, with the bounds that were last asked for."""
    told = {"applied": cluster.generation} if _owing(cluster) else {}
    if cluster.phase is not _P.READY or seen.seen is Seen.RUNNING:
        return Decision(Effect.APPLY, fields=told)
    return Decision(
        Effect.APPLY, _P.DEGRADED, reason(_C.CLUSTER_NOT_READY, "it was taken away, and is made anew"), told
    )


def _suspending(cluster: SharedCluster, seen: Observation) -> Decision:
    """Nobody uses it. A job that has come meanwhile wakes it when it sleeps: there is no way back from here."""
    if seen.seen in {Seen.STOPPED, Seen.ABSENT}:
        return Decision(phase=_P.SUSPENDED, reason=_unused(cluster))
    return Decision(Effect.APPLY)  # until it is seen to have worked


def _suspended(cluster: SharedCluster, seen: Observation, jobs: int) -> Decision:
    if jobs:
        return Decision(phase=_P.STARTING, reason=reason(_C.PROVISIONING, "woken by a job"))
    if _owing(cluster) or seen.seen in {Seen.PENDING, Seen.RUNNING}:
        told = {"applied": cluster.generation} if _owing(cluster) else {}
        return Decision(Effect.APPLY, fields=told)
    return Decision()


def _deleting(seen: Observation, now: datetime) -> Decision:
    if seen.seen is not Seen.ABSENT:
        return Decision(Effect.DELETE)
    # Once more, should an apply have been on its way.
    return Decision(Effect.DELETE, _P.GONE, reason(_C.CLUSTER_DELETED), {"deleted": True, "finished_at": now})


def _unknown(cluster: SharedCluster, seen: Observation, now: datetime) -> Decision:
    """UNKNOWN moves nothing: it is remembered, and after a while it is said."""
    if cluster.unknown_since is None:
        return Decision(fields={"unknown_since": now})
    if now - cluster.unknown_since < SILENCE:
        return Decision()
    return _say(cluster, reason(_C.CLUSTER_UNREACHABLE, seen.message))


def refused(cluster: SharedCluster, why: Reason) -> Decision:
    """Return the step after an apply that the backend refused for good: what runs already runs on as it was."""
    if cluster.phase in {_P.STARTING, _P.READY, _P.DEGRADED} and not cluster.applied:
        return Decision(phase=_P.FAILED, reason=why)
    return _say(cluster, why)


def _use(cluster: SharedCluster, jobs: int, now: datetime) -> dict[str, Any]:
    """Return what is to be noted of when it was last used."""
    if jobs:
        return {} if cluster.idle_since is None else {"idle_since": None}
    return {"idle_since": now} if cluster.idle_since is None else {}


def _idle(cluster: SharedCluster, jobs: int, now: datetime) -> bool:
    ttl_s, since = cluster.spec.suspend_ttl_s, cluster.idle_since
    return not jobs and ttl_s is not None and since is not None and now - since >= timedelta(seconds=ttl_s)


def _unused(cluster: SharedCluster) -> Reason:
    return reason(_C.CLUSTER_IDLE, f"no job for {cluster.spec.suspend_ttl_s or 0:g} s; a job that names it wakes it")


def _owing(cluster: SharedCluster) -> bool:
    """Return whether the backend has not been told yet what is wanted now."""
    return cluster.applied < cluster.generation


def _say(cluster: SharedCluster, why: Reason) -> Decision:
    """Return the reason where it differs, so that an unchanged look saves nothing."""
    return Decision(reason=None if why == cluster.reason else why)
