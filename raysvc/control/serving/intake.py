"""The admission of services: what may be asked for, by whom, under which rules. Nothing is kept here."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from raysvc.control.limit import ProjectCache
from raysvc.domain.access import Principal
from raysvc.domain.admission import Admission, Amend, Deny, Warn
from raysvc.domain.job import JobSpec
from raysvc.domain.project import Limits, Role
from raysvc.domain.resources import Resources, Scale, Shape, WorkerGroup
from raysvc.domain.service import ReplicaScale, Service, ServiceSpec
from raysvc.domain.text import check_line
from raysvc.errors import Conflict, Denied, Forbidden, Invalid, OverLimit
from raysvc.ports import Policy, ServiceRecords, Services, Serving

# What a rule says of a service when it would change it: rules name the fields of jobs, and a service has others.
_NO_AMEND = "it would change the service, and rules can only refuse or warn of one"
_REMOTE = re.compile(r"(?:hf|https|s3)://[^\s]+")
MOST_CUSTOM_RESOURCES = 64


class Ask(NamedTuple):
    """A spec that somebody wants a service to have. `before` is the service as it is, None for a new one."""

    principal: Principal
    project: str
    name: str
    spec: ServiceSpec
    before: Service | None = None


class ServiceIntake:
    """The checks, in order: the backend serves, the spec holds, policies, limits."""

    def __init__(
        self, backend: object, records: ServiceRecords, projects: ProjectCache, policies: Sequence[Policy]
    ) -> None:
        self._backend = backend
        self._records = records
        self._projects = projects
        self._policies = policies

    def driver(self) -> Services:
        """Return what serves here; raises Conflict where nothing does."""
        if not isinstance(self._backend, Serving):
            raise Conflict(
                "This server's Ray does not serve models: services need a server with a Ray of its own, started by "
                "`raysvc up` with the extra `serve` installed."
            )
        return self._backend.services

    async def review(self, ask: Ask) -> tuple[str, ...]:
        """Return what policies warn of; raises Conflict, Invalid, Forbidden, NotFound (project), Denied, OverLimit."""
        self.driver()
        check(ask.spec)
        if ask.spec.engine.trust_remote_code and ask.principal.role is not Role.ADMIN:
            raise Forbidden(
                "trust_remote_code runs code of the model's author on the cluster; to ask for it takes the role admin."
            )
        project = await self._projects.get(ask.project)
        warnings = await self._ask_policies(ask)
        await self._check_limits(ask, project.limits)
        return warnings

    async def _ask_policies(self, ask: Ask) -> tuple[str, ...]:
        owner = ask.before.owner if ask.before is not None else ask.principal.name
        admission = Admission(
            operation="deploy",
            project=ask.project,
            owner=owner,
            role=ask.principal.role,
            job_id=ask.name,
            spec=as_job(ask.name, ask.spec),
        )
        warnings = []
        for policy in self._policies:
            for verdict in await policy.review(admission):
                match verdict:
                    case Deny(rule=rule, message=message):
                        raise Denied(f"Policy {policy.name}, rule {rule}: {message}", rule=f"{policy.name}/{rule}")
                    case Amend(rule=rule, message=message):
                        raise Denied(
                            f"Policy {policy.name}, rule {rule}: {message} ({_NO_AMEND}). Ask whoever keeps the rules "
                            'to add `operation == "submit"` to it.',
                            rule=f"{policy.name}/{rule}",
                        )
                    case Warn(rule=rule, message=message):
                        warnings.append(f"policy {policy.name}, rule {rule}: {message}")
        return tuple(warnings)

    async def _check_limits(self, ask: Ask, limits: Limits) -> None:
        """Return where all services of the project together, at their most, stay within its limits."""
        total = ask.spec.demand()
        for service in await self._records.live():
            if service.project == ask.project and service.id != ask.name:
                total = total.plus(service.spec.demand())
        for name, limit, wanted in (
            ("max_cpus", limits.max_cpus, total.cpus),
            ("max_gpus", limits.max_gpus, total.gpus),
        ):
            if limit is not None and wanted > limit:
                raise OverLimit(
                    f"The services of project {ask.project} would take {wanted:g} {name.removeprefix('max_').upper()} "
                    f"at their most, and its {name} is {limit:g}. Lower --max or the resources of a replica, or ask an "
                    "admin to raise the limit.",
                    rule=name,
                )


def as_job(name: str, spec: ServiceSpec) -> JobSpec:
    """Return the service as rules see it: a job that runs `vllm serve`, with a worker a replica. Pure."""
    engine = {k: v for k, v in spec.engine.model_dump(exclude_defaults=True).items() if v is not False}
    flags = [f"--{key.replace('_', '-')}" + ("" if value is True else f" {value}") for key, value in engine.items()]
    count: ReplicaScale = spec.replicas
    replicas = WorkerGroup(
        name="replicas", scale=Scale(min=count.min, want=count.max, max=count.max), resources=spec.resources
    )
    return JobSpec(
        name=name,
        entrypoint=" ".join(["vllm serve", spec.model, *flags]),
        resources=Resources(),
        shape=Shape(workers=(replicas,)),
    )


def check(spec: ServiceSpec) -> None:
    """Return for a spec that can be kept and sent; raises Invalid, naming the field."""
    check_line(spec.model, "model")
    custom = spec.resources.custom
    if len(custom) > MOST_CUSTOM_RESOURCES:
        raise Invalid(
            f"resources.custom has {len(custom)} entries, and at most {MOST_CUSTOM_RESOURCES} are taken.",
            field="resources.custom",
        )
    for name in custom:
        check_line(name, "resources.custom")
    local = spec.model.startswith("/")
    if not local and not _REMOTE.fullmatch(spec.model):
        raise Invalid(
            f"model {spec.model[:100]!r} is neither an absolute directory nor hf://, https:// or s3://. "
            "A model of Hugging Face is hf://OWNER/NAME.",
            field="model",
        )
    if ".." in spec.model.split("/"):
        raise Invalid("model has a `..` in it; write the directory out.", field="model")
