"""Starts of vLLM that people logged: what the planner is held against, as requests and what was seen."""

from dataclasses import dataclass
from typing import Any, Literal

from raysvc.domain.plan import PlanRequest
from raysvc.planner.catalogue import data_mapping


@dataclass(frozen=True)
class Start:
    """One logged start. `seen`: GiB per GPU by `weights`, `activation`, `non_torch`, `kv`; `kv_tokens` in tokens."""

    id: str
    request: PlanRequest
    seen: dict[str, float]


def observed_starts(section: Literal["rows", "refused"]) -> tuple[Start, ...]:
    """Return the starts that went well, or those that vLLM refused for want of memory."""
    return tuple(
        Start(str(row["id"]), _request(row), row.get("seen", {})) for row in data_mapping("observed.yaml")[section]
    )


def _request(row: dict[str, Any]) -> PlanRequest:
    given = {key: str(value) if key == "engine_version" else value for key, value in row["given"].items()}
    return PlanRequest(model=row["model"], gpu=row["gpu"], tensor_parallel=row["tensor_parallel"], **given)
