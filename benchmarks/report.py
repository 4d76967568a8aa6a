"""What every benchmark returns and how it is shown."""

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil


def machine() -> dict[str, object]:
    """Return the facts of this machine that a figure hangs on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / (1 << 30), 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


@dataclass
class Report:
    """`metrics` are ours, `peer` theirs, medians by names that carry the unit; `ratios` ours against the peer's."""

    benchmark: str
    metrics: dict[str, float]
    peer: dict[str, float]
    ratios: dict[str, float]
    samples: dict[str, list[float]] = field(default_factory=dict)
    machine: dict[str, object] = field(default_factory=machine)

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    def as_text(self) -> str:
        lines = [f"{self.benchmark} on {self.machine['cpu']}, {self.machine['cores']} cores"]
        for title, figures in (("ours", self.metrics), ("peer", self.peer), ("ratio", self.ratios)):
            lines += [f"  {title:5} {name:36} {value:12,.3f}" for name, value in figures.items()]
        return "\n".join(lines)


def median(samples: list[float]) -> float:
    """Return the median, the figure to quote on a noisy machine."""
    return statistics.median(samples)


def quantile(samples: list[float], share: float) -> float:
    """Return the smallest sample that at least `share` of all do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
