"""Amounts of a machine, and how they add up."""

from operator import not_
from typing import Annotated, Literal

from pydantic import Field, model_validator

from raysvc.domain.model import Model

# More than any cluster has, and so little that sums of it stay exact and finite.
MOST = 1e12
MOST_MEMORY = 1 << 60


class Resources(Model):
    """What one process group asks for or a cluster has. CPUs and GPUs are Ray's logical ones; memory is in bytes."""

    cpus: float = Field(default=0, ge=0, le=MOST)
    gpus: float = Field(default=0, ge=0, le=MOST)
    memory: int = Field(default=0, ge=0, le=MOST_MEMORY, description="bytes")
    custom: dict[str, Annotated[float, Field(ge=0, le=MOST)]] = Field(default_factory=dict)

    def __hash__(self) -> int:
        # pydantic copies a default deeply unless it can be hashed: 15 µs for each spec that leaves `resources` out.
        return hash((self.cpus, self.gpus, self.memory, frozenset(self.custom.items())))

    def plus(self, other: "Resources", times: int = 1) -> "Resources":
        """Return self + times × other; `times` may be negative, and no amount falls below zero.

        A sum is not held to the bounds of what one may ask for.
        """
        names = self.custom.keys() | other.custom.keys()
        return Resources.model_construct(
            cpus=max(0.0, self.cpus + times * other.cpus),
            gpus=max(0.0, self.gpus + times * other.gpus),
            memory=max(0, self.memory + times * other.memory),
            custom={n: max(0.0, self.custom.get(n, 0) + times * other.custom.get(n, 0)) for n in names},
        )

    @property
    def bounded(self) -> bool:
        """Whether a sum is still within what one may ask for."""
        return self.memory <= MOST_MEMORY and max(self.cpus, self.gpus, *self.custom.values(), 0) <= MOST

    def shortfall(self, capacity: "Resources") -> dict[str, float]:
        """Return by how much each amount here exceeds that of `capacity`; empty where all fits."""
        asked = {"cpus": self.cpus, "gpus": self.gpus, "memory": float(self.memory), **self.custom}
        had = {"cpus": capacity.cpus, "gpus": capacity.gpus, "memory": float(capacity.memory), **capacity.custom}
        return {name: amount - had.get(name, 0) for name, amount in asked.items() if amount > had.get(name, 0) + 1e-9}


class Scale(Model):
    """How many workers a group may have: min ≤ want ≤ max. Ray clusters end at some thousands of nodes."""

    min: int = Field(default=0, ge=0, le=100_000)
    want: int = Field(default=1, ge=0, le=100_000)
    max: int = Field(default=1, ge=0, le=100_000)

    @model_validator(mode="after")
    def _check_order(self) -> "Scale":
        if not self.min <= self.want <= self.max:
            raise ValueError(f"min <= want <= max does not hold for {self.min}, {self.want}, {self.max}")
        return self


# Of a worker's pod that asks for little: Ray takes half a GiB, each process that imports it and a model one or two.
LEAST_CPUS = 1.0
MEMORY_PER_CPU = 2 << 30
# Of a pod's memory; the rest is Ray's own and its object store's.
MEMORY_OFFERED = 0.7

Topology = Literal["any", "rack", "nvlink-domain"]
Spot = Literal["allow", "avoid", "prefer"]


class WorkerGroup(Model):
    """Equal workers: how many, and what each has.

    The last three say where they may run on Kubernetes, and are left out where they are the default, so that a server
    of the version before reads the record (R7).
    """

    name: str = "workers"
    scale: Scale = Scale()
    resources: Resources = Resources(cpus=1)
    accelerator: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9._+-]{0,61}[A-Za-z0-9])?$",
        exclude_if=not_,
        description="its kind, as pools name it (H100, A100-80GB); none: any whole GPU, where gpus are asked for",
    )
    topology: Topology = Field(
        default="any",
        exclude_if="any".__eq__,
        description="what all wanted workers must lie in together, or none start",
    )
    spot: Spot = Field(
        default="allow",
        exclude_if="allow".__eq__,
        description="nodes that may be taken away: after the others, never, or first",
    )

    @property
    def pod(self) -> Resources:
        """What each worker's pod asks of a node: what was asked for, and no less than a worker takes."""
        cpus = max(LEAST_CPUS, self.resources.cpus)
        memory = self.resources.memory or int(MEMORY_PER_CPU * cpus)
        return self.resources.model_copy(update={"cpus": cpus, "memory": memory})

    @property
    def offered(self) -> Resources:
        """What Ray says that each worker has; of memory that was not asked for, it keeps some for its object store."""
        pod = self.pod
        return pod.model_copy(update={"memory": self.resources.memory or int(pod.memory * MEMORY_OFFERED)})

    @property
    def elastic(self) -> bool:
        """Whether Ray's autoscaler moves it."""
        return self.scale.min != self.scale.max


class Shape(Model):
    """The workers a job's tasks and actors need, beside its driver. Counted against limits and capacity."""

    workers: tuple[WorkerGroup, ...] = ()

    def demand(self) -> Resources:
        """Return what all wanted workers need together."""
        cpus, gpus, memory = 0.0, 0.0, 0
        custom: dict[str, float] = {}
        # In one pass: this runs over what a stranger sent, before anything says that it is too much.
        for group in self.workers:
            count, each = group.scale.want, group.resources
            cpus, gpus, memory = cpus + count * each.cpus, gpus + count * each.gpus, memory + count * each.memory
            for name, amount in each.custom.items():
                custom[name] = custom.get(name, 0) + count * amount
        return Resources.model_construct(cpus=cpus, gpus=gpus, memory=memory, custom=custom)
