"""What KubeRay, the scheduler and the kubelet say of an attempt, in our words. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from raysvc.domain.observation import ENDED, Observation, Seen
from raysvc.domain.reason import ReasonCode

_C = ReasonCode
Json = Mapping[str, Any]
Trouble = tuple[ReasonCode, str]


class Stage(Enum):
    """How far an attempt is. GOING: Ray has the job, and Ray's own word on it is the better one."""

    MAKING = auto()
    WAITING = auto()
    GOING = auto()
    ENDED = auto()
    UNKNOWN = auto()


# status.jobDeploymentStatus (rayjob_types.go of KubeRay 1.6 and 1.7); a word that is not here moves nothing.
_STAGE: Mapping[str, Stage] = {
    # made, and not looked at by the operator yet
    "": Stage.MAKING,
    # its cluster is being made
    "Initializing": Stage.MAKING,
    # its cluster stands; interactive mode waits for spec.jobId
    "Waiting": Stage.WAITING,
    "Running": Stage.GOING,
    "Complete": Stage.ENDED,
    "Failed": Stage.ENDED,
    # final for us: the operator never looks at it again, whatever becomes of the spec
    "ValidationFailed": Stage.ENDED,
    # Kueue, or somebody with kubectl, has taken its cluster away and will give it back
    "Suspending": Stage.MAKING,
    "Suspended": Stage.MAKING,
    # never with our specs, which set no backoffLimit
    "Retrying": Stage.MAKING,
}
# status.jobStatus of a RayJob that has ended.
_ENDED: Mapping[str, Seen] = {"SUCCEEDED": Seen.SUCCEEDED, "FAILED": Seen.FAILED, "STOPPED": Seen.STOPPED}
# status.reason of one that Failed -> why.
_CAUSE: Mapping[str, ReasonCode] = {
    # the driver's own end; Ray's record says more
    "AppFailed": _C.ENTRYPOINT_FAILED,
    # activeDeadlineSeconds, our net below timeout_s
    "DeadlineExceeded": _C.TIMED_OUT,
    # its cluster did not come up, or nobody handed the job over in time
    "PreRunningDeadlineExceeded": _C.START_TIMED_OUT,
    # the submitter pod failed; there is none in interactive mode
    "SubmissionFailed": _C.DRIVER_LOST,
    # Ray said that it has ended, and the operator did not get it on for 300 s
    "JobDeploymentStatusTransitionGracePeriodExceeded": _C.DRIVER_LOST,
    # the head has not answered the operator for 300 s (1.7)
    "JobStatusCheckTimeoutExceeded": _C.CLUSTER_LOST,
    "ValidationFailed": _C.BACKEND_REFUSED,
}
# state.waiting.reason of a container (kubelet: pkg/kubelet/images/types.go, kuberuntime) -> what it means for the job.
_CONTAINER: Mapping[str, ReasonCode] = {
    "ErrImagePull": _C.IMAGE_PULL_FAILED,
    "ImagePullBackOff": _C.IMAGE_PULL_FAILED,
    "InvalidImageName": _C.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": _C.IMAGE_PULL_FAILED,
    "ImageInspectError": _C.IMAGE_PULL_FAILED,
    "RegistryUnavailable": _C.IMAGE_PULL_FAILED,
    "SignatureValidationFailed": _C.IMAGE_PULL_FAILED,
    # say, an image whose user is root, or a Secret that is not there
    "CreateContainerConfigError": _C.POD_FAILED,
    "CreateContainerError": _C.POD_FAILED,
    "RunContainerError": _C.POD_FAILED,
    "CrashLoopBackOff": _C.POD_FAILED,
}
# Which trouble is told where pods have several: what a person must mend comes first.
_ORDER = (_C.IMAGE_PULL_FAILED, _C.POD_FAILED, _C.NODE_LOST, _C.UNSCHEDULABLE)


@dataclass(frozen=True)
class View:
    """A RayJob, as far as we go by it."""

    name: str
    uid: str
    version: str
    word: str
    stage: Stage
    handed_over: bool
    deleting: bool
    cluster: str
    dashboard: str
    job_status: str
    reason: str
    message: str
    began: datetime | None
    ended: datetime | None

    @property
    def guarded(self) -> bool:
        """Whether its Ray asks for a token, as all do that we make."""
        return True

    @property
    def made(self) -> str:
        """Nothing more to tell it by: each cluster of an attempt has a name of its own."""
        return ""

    @property
    def ready(self) -> bool:
        """Whether its cluster stands, and the job has yet to be handed over."""
        return self.stage is Stage.WAITING and not self.handed_over and not self.deleting

    @property
    def on_ray(self) -> bool:
        """Whether Ray may have a record of it."""
        return self.handed_over and bool(self.dashboard)


def view_of(ray_job: Json) -> View:
    metadata, spec, status = (ray_job.get(key) or {} for key in ("metadata", "spec", "status"))
    word = str(status.get("jobDeploymentStatus") or "")
    info = status.get("rayJobInfo") or {}
    return View(
        name=str(metadata.get("name")),
        uid=str(metadata.get("uid")),
        version=str(metadata.get("resourceVersion")),
        word=word,
        stage=_STAGE.get(word, Stage.UNKNOWN),
        handed_over=bool(spec.get("jobId")),
        deleting=bool(metadata.get("deletionTimestamp")),
        cluster=str(status.get("rayClusterName") or ""),
        dashboard=str(status.get("dashboardURL") or ""),
        job_status=str(status.get("jobStatus") or ""),
        reason=str(status.get("reason") or ""),
        message=str(status.get("message") or ""),
        began=_instant(info.get("startTime")),
        ended=_instant(info.get("endTime")) or _instant(status.get("endTime")),
    )


def observation(view: View, trouble: Trouble | None, ray: Observation | None) -> Observation:
    """Return what is there: the RayJob, what hinders its pods, and Ray's own record, where Ray could be asked."""
    match view.stage:
        case Stage.UNKNOWN:
            return Observation(
                seen=Seen.UNKNOWN, message=f"KubeRay says {view.word[:100]!r}, which raysvc does not know"
            )
        case Stage.WAITING if not view.handed_over:
            return Observation(seen=Seen.WAITING, message="its cluster stands")
        case Stage.MAKING:
            code, message = trouble or (_C.PROVISIONING, _making(view))
            return Observation(seen=Seen.PENDING, cause=code, message=message)
        case Stage.ENDED:
            return _ended(view, trouble, ray)
    return ray or _going(view)


def trouble_of(pods: Iterable[Json]) -> Trouble | None:
    """Return what keeps the pods from running, the worst first; None where nothing does yet."""
    found = [trouble for pod in pods for trouble in _troubles(pod)]
    return min(found, key=lambda trouble: _ORDER.index(trouble[0]), default=None)


def refused_pods(events: Iterable[Json]) -> Trouble | None:
    """Return why the operator could make no pods: a quota, a webhook, a missing right. Of several, the last."""
    said = [
        (str(event.get("lastTimestamp") or event.get("eventTime") or ""), str(event.get("message")))
        for event in events
        if str(event.get("reason", "")).startswith("FailedToCreate")
    ]
    return (_C.PODS_REFUSED, max(said)[1]) if said else None


def _ended(view: View, trouble: Trouble | None, ray: Observation | None) -> Observation:
    if ray is not None and ray.seen in ENDED:
        return ray
    seen = _ENDED.get(view.job_status, Seen.FAILED)
    if view.word != "Complete":
        seen = Seen.FAILED
    if seen is not Seen.FAILED:
        exit_code = 0 if seen is Seen.SUCCEEDED else None
        return Observation(seen=seen, exit_code=exit_code, started_at=view.began, finished_at=view.ended)
    cause = _CAUSE.get(view.reason, _C.DRIVER_LOST)
    message = view.message or view.reason
    if cause is _C.START_TIMED_OUT and trouble:
        message = f"{message}; last seen: {trouble[1]}"
    return Observation(seen=Seen.FAILED, cause=cause, message=message, started_at=view.began, finished_at=view.ended)


def _going(view: View) -> Observation:
    """Return what the operator heard last, while Ray itself does not answer us."""
    if view.job_status == "RUNNING":
        return Observation(seen=Seen.RUNNING, started_at=view.began)
    if view.job_status in _ENDED:
        return Observation(seen=Seen.UNKNOWN, message="it has ended, and its cluster does not answer yet")
    return Observation(seen=Seen.PENDING, cause=_C.STARTING_ON_RAY)


def _making(view: View) -> str:
    return {
        "": "KubeRay has not begun; does its operator run?",
        "Suspending": "suspended by its queue, or by hand",
        "Suspended": "suspended by its queue, or by hand",
    }.get(view.word, "")


def _troubles(pod: Json) -> Iterable[Trouble]:
    metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
    name = metadata.get("name")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _C.UNSCHEDULABLE, f"pod {name}: {condition.get('message') or condition.get('reason')}"
    if status.get("reason") in {"NodeLost", "NodeAffinity"}:
        yield _C.NODE_LOST, f"pod {name}: {status.get('message') or status['reason']}"
    for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        waiting = (container.get("state") or {}).get("waiting") or {}
        code = _CONTAINER.get(str(waiting.get("reason")))
        if code is None:
            continue
        last = (container.get("lastState") or {}).get("terminated") or {}
        ended = f" (it ended with {last.get('exitCode')}: {last.get('reason')})" if last else ""
        said = waiting.get("message") or waiting["reason"]
        yield code, f"pod {name}, image {container.get('image')}: {said}{ended}"[:2000]


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
