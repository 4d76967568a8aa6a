"""The ways to run a model, as the server works them out."""

from typing import Any

from raysvc.client.wire import Call, Wire, read
from raysvc.domain.plan import Plan, PlanRequest


class Plans:
    """`raysvc.planner.plan` works the same out in this process, and reads models of this machine."""

    def __init__(self, wire: Wire, project: str) -> None:
        self._wire = wire
        self._project = project

    def plan(self, model: str, **wanted: Any) -> Plan:
        """Return the ways to run a model of the catalogue, or behind hf://, s3://, https://; fields of PlanRequest.

        Raises ValidationError for a field that is none, Invalid for a model that makes no sense, NotFound for a pool.
        """
        request = PlanRequest(model=model, **wanted)
        body = request.model_dump(mode="json", exclude_unset=True)
        return read(Plan, self._wire.send(Call("POST", "/v1/services/plan", self._query(), json=body, safe=True)))

    def _query(self) -> dict[str, str]:
        return {"project": self._project}
