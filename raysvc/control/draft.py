"""A job on its way in: what was asked for, and what the checks made of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from raysvc.domain.access import Principal
from raysvc.domain.admission import Amend, Deny, Verdict, Warn, amend
from raysvc.domain.event import Event, EventKind
from raysvc.domain.job import Job, JobSpec
from raysvc.domain.project import Project
from raysvc.domain.text import check_spec
from raysvc.errors import Denied, Invalid
from raysvc.ports import Addition


@dataclass(frozen=True)
class Submission:
    """What a client asks for. `spec` is as it was sent: the idempotency key's digest covers it."""

    project: str
    spec: JobSpec
    job_id: str | None = None
    idempotency_key: str | None = None

    def digest(self) -> str:
        """Return the SHA-256 of what the client sent, equal for equal requests."""
        body = {"id": self.job_id, "spec": self.spec.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class Draft:
    """A job on its way in, as the checks so far left it."""

    submission: Submission
    principal: Principal
    project: Project
    job: Job
    events: list[Event]
    packages: Sequence[str] = ()
    warnings: list[str] = field(default_factory=list)

    def addition(self) -> Addition:
        """Return the job as it is to be kept."""
        key = self.submission.idempotency_key
        return Addition(
            self.job,
            self.events,
            self.packages,
            key,
            "" if key is None else self.submission.digest(),
            self.project.limits.max_queued_jobs,
        )


def take(policy: str, verdict: Verdict, draft: Draft) -> None:
    """Put a verdict into effect; raises Denied."""
    job, now = draft.job, draft.job.created_at
    match verdict:
        case Deny(rule=rule, message=message):
            raise Denied(f"Policy {policy}, rule {rule}: {message}", rule=f"{policy}/{rule}")
        case Warn(rule=rule, message=message):
            text = f"policy {policy}, rule {rule}: {message}"
            draft.warnings.append(text)
            change = job.change(EventKind.WARNED, now, actor=f"policy/{policy}", message=text)
        case Amend(rule=rule, message=message, changes=changes):
            spec = _amended(job.spec, changes, policy, rule)
            text = f"policy {policy}, rule {rule}: {message}"
            change = job.change(EventKind.AMENDED, now, actor=f"policy/{policy}", message=text, spec=spec)
        case _:
            return
    draft.job = change[0]
    draft.events.append(change[1])


def _amended(spec: JobSpec, changes: Mapping[str, Any], policy: str, rule: str) -> JobSpec:
    """Return the changed spec, held to what a user's is held to; raises Invalid in the name of the rule."""
    try:
        after = amend(spec, changes)
        check_spec(after)
    except Invalid as error:
        told = f"Policy {policy}, rule {rule}: {error.message}"
        raise Invalid(told, field=error.field, rule=f"{policy}/{rule}") from error
    return after
