"""Submissions to review, and the way the admission chain goes through the files."""

from collections.abc import Callable, Sequence
from typing import Any

from raysvc.domain.admission import Admission, Amend, Verdict, amend
from raysvc.domain.job import JobSpec
from raysvc.domain.project import Role
from raysvc.policies import PolicyFile

Write = Callable[..., tuple[PolicyFile, ...]]


def admission(**fields: Any) -> Admission:
    about = {key: fields.pop(key) for key in ("project", "owner", "role", "job_id") if key in fields}
    defaults = {"project": "vision", "owner": "ada", "role": Role.MEMBER, "job_id": "raysubmit_1"}
    return Admission(**(defaults | about), spec=JobSpec(**({"entrypoint": "python train.py"} | fields)))


async def review(policies: Sequence[PolicyFile], asked: Admission) -> list[Verdict]:
    """Go through the files as the admission chain does: each sees what those before it set."""
    verdicts: list[Verdict] = []
    for policy in policies:
        for verdict in await policy.review(asked):
            verdicts.append(verdict)
            if isinstance(verdict, Amend):
                asked = asked.model_copy(update={"spec": amend(asked.spec, verdict.changes)})
    return verdicts


AT_MOST_8_GPUS = """
    policy: gpu-rules
    rules:
    - name: at-most-8-gpus
      when: job.demand.gpus > 8
      deny: true
      message: A job may ask for at most 8 GPUs; this one asks for {job.demand.gpus}.
"""


def gpus(*, driver: float = 0, workers: int = 0) -> dict[str, Any]:
    group = {"scale": {"want": workers, "max": workers}, "resources": {"gpus": 1}}
    return {"resources": {"gpus": driver}, "shape": {"workers": [group]}}
