"""The serving planner: does a model run on these GPUs, with which flags, how fast does it start, what does it cost.

Belongs here: arithmetic over a model's `config.json` and safetensors headers, an engine's release and a GPU catalogue;
the catalogues themselves, dated, under `data/`. Does not: scheduling, HTTP, numpy, torch, or anything that looks at a
GPU. Files of a model come in through the `Source` protocol; where they lie is the caller's affair.
"""

from raysvc.domain.plan import Candidate, Confidence, GpuPool, Plan, PlanRequest
from raysvc.planner.catalogue import Catalogue, load_catalogue
from raysvc.planner.plan import plan
from raysvc.planner.source import LocalSource, Source

__all__ = [
    "Candidate",
    "Catalogue",
    "Confidence",
    "GpuPool",
    "LocalSource",
    "Plan",
    "PlanRequest",
    "Source",
    "load_catalogue",
    "plan",
]
