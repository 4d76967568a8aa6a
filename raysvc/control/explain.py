"""Why a job is in its phase, in sentences. Pure; it says only what is known."""

from datetime import datetime

from pydantic import Field

from raysvc.domain.job import PLACED, Job, JobPhase
from raysvc.domain.model import Instant, Model
from raysvc.domain.placement import Nearest, Refusal, WhyNot
from raysvc.domain.reason import Fault, Reason, ReasonCode


class Explanation(Model):
    """`summary` in one sentence, `next` what will happen without anybody's doing, `advice` what one can do."""

    id: str
    phase: JobPhase
    reason: Reason
    fault: Fault
    position: int | None = None
    summary: str
    next: str
    advice: str = ""
    attempts: tuple[str, ...] = ()
    deadline: Instant | None = None
    placement: str = Field(default="", description="on which node pools and nodes it is")
    pools: tuple[WhyNot, ...] = Field(default=(), description="the pools where it is not, and why")
    nearest: Nearest | None = Field(default=None, description="what would fit now, where it does not")


_ADVICE = {
    ReasonCode.ENTRYPOINT_NOT_FOUND: "Check the entrypoint's spelling, and that its file is in working_dir.",
    ReasonCode.ENTRYPOINT_FAILED: "Read the end of the log: `raysvc job logs {id}`. "
    "Ask for retries of such failures with `retry.user` or the metadata `raysvc.retries`.",
    ReasonCode.RUNTIME_ENV_FAILED: "Try the runtime_env alone, say with pip in a fresh virtual environment.",
    ReasonCode.EXCEEDS_CAPACITY: "Ask for less, or stop it and submit it to a larger cluster.",
    ReasonCode.NODE_LOST: "`raysvc node list` says what is wrong with the node.",
    ReasonCode.PROJECT_LIMIT: "Wait, stop another job of the project, or ask an admin to raise the limit.",
    ReasonCode.ADMISSION_PAUSED: "An admin ends the pause with `raysvc admission resume`.",
    ReasonCode.SECRET_MISSING: "Set the secret again and submit the job anew.",
    ReasonCode.PACKAGE_DAMAGED: "Change a file of its directory and submit it anew: that makes another package.",
    ReasonCode.PACKAGE_MISSING: "Submit the job anew from its directory, so that the package is uploaded again.",
    ReasonCode.TIMED_OUT: "Raise timeout_s, or let the job resume from its checkpoint in a new submission.",
    ReasonCode.CLUSTER_NOT_READY: "`raysvc cluster get` and `raysvc doctor` say what is wrong with the cluster.",
    ReasonCode.CLUSTER_UNREACHABLE: "`raysvc cluster get` says what is wrong with the cluster.",
    ReasonCode.LOW_MEMORY: "Free memory on the machine, or set resources.memory of jobs that need less.",
    ReasonCode.IMAGE_PULL_FAILED: "Mend the image's name, or give the namespace a pull secret; then stop this job and "
    "submit it anew.",
    ReasonCode.UNSCHEDULABLE: "Ask for less, free or add nodes, or mend taints and selectors that the message names.",
    ReasonCode.PODS_REFUSED: "Ask for less, or have the quota or rule of the namespace changed that the message names.",
    ReasonCode.POD_FAILED: "Mend what the kubelet names; an image must run as a user other than root, by its number.",
    ReasonCode.BACKEND_REFUSED: "Mend what Ray names in its message and submit the job anew.",
}
_NEXT = {
    JobPhase.STARTING: "It runs as soon as Ray has set up its environment and found its resources.",
    JobPhase.RUNNING: "It runs to its end.",
    JobPhase.STOPPING: "It ends when its processes have; Ray kills them if they do not end by themselves.",
    JobPhase.SUCCEEDED: "Nothing: it has ended.",
    JobPhase.FAILED: "Nothing: it has ended.",
    JobPhase.CANCELLED: "Nothing: it has ended.",
}


def explain(job: Job, why: Reason, position: int | None, now: datetime, refusal: Refusal | None = None) -> Explanation:
    """Return the explanation of a job whose reason, by what is known now, is `why`; `refusal`: of all node pools."""
    place = f", number {position} in line" if position else ""
    since = duration((now - job.updated_at).total_seconds())
    message = refusal.message if refusal else why.message
    said = f"{why.title}: {message}" if message else why.title
    placed = job.placement if job.phase in PLACED else None
    attempts = tuple(
        f"attempt {a.number} on {a.cluster}: {a.reason.title if a.reason else 'not ended'}"
        + (f", exit code {a.exit_code}" if a.exit_code is not None else "")
        for a in job.attempts
    )
    return Explanation(
        id=job.id,
        phase=job.phase,
        reason=why,
        fault=why.fault,
        position=position,
        summary=f"{job.id} is {job.phase} for {since}{place}. {said.removesuffix('.')}.",
        next=_next(job, why),
        advice=_ADVICE.get(why.code, "").format(id=job.id),
        attempts=attempts,
        deadline=job.deadline,
        placement=placed.summary if placed else "",
        pools=refusal.pools if refusal else placed.others if placed else (),
        nearest=refusal.nearest if refusal else None,
    )


def _next(job: Job, why: Reason) -> str:
    if job.phase is not JobPhase.QUEUED:
        return _NEXT[job.phase]
    if why.code is ReasonCode.EXCEEDS_CAPACITY:
        return "It waits until the cluster is large enough; jobs behind it go first meanwhile."
    if job.not_before is not None:
        return f"Attempt {job.attempt + 1} starts after {job.not_before:%H:%M:%S} UTC, when there is room."
    return "It starts when its turn has come and there is room."


def duration(seconds: float) -> str:
    """Return a length of time as people say it."""
    minutes, rest = divmod(int(max(0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
