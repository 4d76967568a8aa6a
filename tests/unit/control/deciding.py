"""Jobs in a phase, and what a decision makes of them."""

from datetime import UTC, datetime

from raysvc.control.decide import (
    GONE_AFTER,
    Decision,
    admit,
    decide,
)
from raysvc.domain.job import Job, JobPhase, JobSpec, submit
from raysvc.domain.observation import Observation, Seen

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
P = JobPhase


def queued(**spec: object) -> Job:
    made, _ = submit(
        JobSpec.model_validate({"entrypoint": "python train.py", **spec}),
        job_id="raysubmit_1",
        uid="0" * 16,
        project="default",
        owner="ada",
        now=NOW,
    )
    return made


def placed(phase: JobPhase = P.RUNNING, **spec: object) -> Job:
    job = queued(**spec)
    to, why, fields = admit(job, "local", NOW)
    job, _ = job.to(to, why, NOW, **fields)
    if phase is P.STARTING:
        return job
    job = carry_out(job, decide(job, Observation(seen=Seen.RUNNING, node="n1"), NOW), NOW)
    if phase is P.STOPPING:
        job = carry_out(job, decide(stop_wished(job), Observation(seen=Seen.RUNNING), NOW), NOW)
    assert job.phase is phase
    return job


def stop_wished(job: Job) -> Job:
    return job.model_copy(update={"stop_requested": True})


def carry_out(job: Job, decision: Decision, now: datetime) -> Job:
    if decision.phase is not None and decision.reason is not None:
        return job.to(decision.phase, decision.reason, now, **decision.fields)[0]
    fields = dict(decision.fields)
    if decision.reason is not None:
        fields["reason"] = decision.reason
    return job.model_copy(update=fields)


def gone(job: Job, now: datetime = NOW) -> tuple[Job, Decision]:
    """Return the job after a first look that found nothing, and what is decided when it is still absent."""
    job = carry_out(job, decide(job, seen(Seen.ABSENT), now - GONE_AFTER), now)
    return job, decide(job, seen(Seen.ABSENT), now)


def seen(what: Seen, **fields: object) -> Observation:
    return Observation.model_validate({"seen": what, **fields})
