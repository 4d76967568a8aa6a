"""The logged starts that ship with the planner, as requests and what was seen."""

from dataclasses import dataclass
from typing import Any

from raysvc.planner import Candidate, PlanRequest, plan
from raysvc.planner.catalogue import data_mapping


@dataclass(frozen=True)
class Row:
    id: str
    request: PlanRequest
    seen: dict[str, float]

    def predicted(self) -> Candidate:
        (candidate,) = plan(self.request).candidates
        return candidate


def rows(section: str) -> list[Row]:
    document = data_mapping("observed.yaml")
    return [Row(str(row["id"]), _request(row), row.get("seen", {})) for row in document[section]]


def _request(row: dict[str, Any]) -> PlanRequest:
    given = {key: str(value) if key == "engine_version" else value for key, value in row["given"].items()}
    return PlanRequest(model=row["model"], gpu=row["gpu"], tensor_parallel=row["tensor_parallel"], **given)
