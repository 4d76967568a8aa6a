"""Amounts of a machine, and how they add up."""

from typing import Annotated

from pydantic import Field

from raysvc.domain.model import Model


class Resources(Model):
    """What one process group asks for or a cluster has. CPUs and GPUs are Ray's logical ones; memory is in bytes."""

    cpus: float = Field(default=0, ge=0, le=1_000_000)
    gpus: float = Field(default=0, ge=0, le=100_000)
    memory: int = Field(default=0, ge=0, description="bytes")
    custom: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)

    def plus(self, other: "Resources", times: int = 1) -> "Resources":
        """Return self + times × other; `times` may be negative, and no amount falls below zero."""
        names = self.custom.keys() | other.custom.keys()
        return Resources(
            cpus=max(0.0, self.cpus + times * other.cpus),
            gpus=max(0.0, self.gpus + times * other.gpus),
            memory=max(0, self.memory + times * other.memory),
            custom={n: max(0.0, self.custom.get(n, 0) + times * other.custom.get(n, 0)) for n in names},
        )

    def shortfall(self, capacity: "Resources") -> dict[str, float]:
        """Return by how much each amount here exceeds that of `capacity`; empty where all fits."""
        asked = {"cpus": self.cpus, "gpus": self.gpus, "memory": float(self.memory), **self.custom}
        had = {"cpus": capacity.cpus, "gpus": capacity.gpus, "memory": float(capacity.memory), **capacity.custom}
        return {name: amount - had.get(name, 0) for name, amount in asked.items() if amount > had.get(name, 0) + 1e-9}


class Scale(Model):
    """How many workers a group may have: min ≤ want ≤ max."""

    min: int = Field(default=0, ge=0)
    want: int = Field(default=1, ge=0)
    max: int = Field(default=1, ge=0)


class WorkerGroup(Model):
    """Equal workers: how many, and what each has."""

    name: str = "workers"
    scale: Scale = Scale()
    resources: Resources = Resources(cpus=1)


class Shape(Model):
    """The workers a job's tasks and actors need, beside its driver. Counted against limits and capacity."""

    workers: tuple[WorkerGroup, ...] = ()

    def demand(self) -> Resources:
        """Return what all wanted workers need together."""
        total = Resources()
        for group in self.workers:
            total = total.plus(group.resources, group.scale.want)
        return total
