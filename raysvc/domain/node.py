"""A Kubernetes node as placement sees it: labels, taints, what is free, and whether it may be trusted with work."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from raysvc.domain.model import Instant, Model

# As Kubernetes has them: an optional DNS name and a slash before the name of a label; a value may be empty.
_PREFIX = r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?"
LabelKey = Annotated[str, StringConstraints(pattern=rf"^{_PREFIX}[A-Za-z0-9]([A-Za-z0-9_.-]{{0,61}}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$")]
NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
PRODUCT_LABEL = "nvidia.com/gpu.product"
Marks = tuple[tuple[tuple[str, str, str], ...], str | None, tuple[str | None, ...]]
Amounts = dict[str, float]
"""By Kubernetes' names of resources: cpu in cores, memory in bytes, all others counted."""


class Taint(Model):
    """A mark of a node that keeps pods away which do not tolerate it."""

    key: LabelKey
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = "NoSchedule"

    def __str__(self) -> str:
        return f"{self.key}{'=' if self.value else ''}{self.value}:{self.effect}"


class Toleration(Model):
    """What a pod says to a taint. No `effect`: any; the operator Exists takes no value."""

    key: LabelKey
    operator: Literal["Equal", "Exists"] = "Equal"
    value: LabelValue = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    def covers(self, taint: Taint) -> bool:
        return (
            self.key == taint.key
            and self.effect in {None, taint.effect}
            and (self.operator == "Exists" or self.value == taint.value)
        )


class OsFacts(Model):
    """Versions of what a node runs on, as its kubelet and NVIDIA's discovery report them; None: not reported."""

    kernel: str | None = None
    os_image: str | None = None
    container_runtime: str | None = None
    kubelet: str | None = None
    driver: str | None = None


class OsProfile(Model):
    """What a pool's nodes should run on: each a version, or a pattern such as `570.*`. None: anything.

    `on_drift`: whether a node that differs is only reported, or also kept out of placement.
    """

    kernel: str | None = Field(default=None, min_length=1, max_length=128)
    os_image: str | None = Field(default=None, min_length=1, max_length=128)
    container_runtime: str | None = Field(default=None, min_length=1, max_length=128)
    kubelet: str | None = Field(default=None, min_length=1, max_length=128)
    driver: str | None = Field(default=None, min_length=1, max_length=128)
    on_drift: Literal["report", "exclude"] = "report"

    def drift(self, facts: OsFacts) -> tuple[str, ...]:
        """Return, for each thing that differs, what it is and what it should be. What is not reported differs."""
        found = []
        for name in OsFacts.model_fields:
            wanted, is_ = getattr(self, name), getattr(facts, name)
            if wanted is not None and not (is_ is not None and fnmatchcase(is_, wanted)):
                found.append(f"{name} is {is_ or 'not reported'}, not {wanted}")
        return tuple(found)


class Quarantine(Model):
    """A node that gets no work until it is released."""

    node: NodeName
    reason: str = Field(min_length=1, max_length=500)
    by: str = Field(description="who put it there")
    at: Instant


class NodeView(Model):
    """A node as it was last seen. `used` is what pods on it asked for."""

    name: NodeName
    labels: dict[str, str] = Field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    allocatable: Amounts = Field(default_factory=dict)
    used: Amounts = Field(default_factory=dict)
    tenants: dict[str, Amounts] = Field(default_factory=dict, description="of `used`, our attempts' by their names")
    conditions: dict[str, str] = Field(default_factory=dict, description="type -> status, as Kubernetes has them")
    ready: bool = True
    cordoned: bool = False
    os: OsFacts = OsFacts()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some fields set anew, and with them what is concluded from them."""
        copied = super().model_copy(update=update, deep=deep)
        for concluded in ("marks", "trouble"):
            copied.__dict__.pop(concluded, None)
        return copied

    @property
    def product(self) -> str | None:
        """Its accelerator, as NVIDIA's discovery labels it."""
        return self.labels.get(PRODUCT_LABEL)

    @cached_property
    def marks(self) -> Marks:
        """What nodes have alike that decide whether a pool's work may run on them: taints, accelerator, versions."""
        taints = tuple((taint.key, taint.value, taint.effect) for taint in self.taints)
        return taints, self.product, tuple(self.os.__dict__.values())

    @cached_property
    def trouble(self) -> str | None:
        """What its conditions complain of; None where it is well.

        Kubernetes and the node problem detector name what is bad (DiskPressure, KernelDeadlock); node agents of clouds
        also what is good (AcceleratedHardwareReady). A status that is not known says nothing, but for Ready itself.
        """
        if not self.ready:
            return "not ready"
        for kind, status in self.conditions.items():
            if status == ("False" if kind.endswith(_GOOD) else "True") and kind != "Ready":
                return kind if status == "True" else f"{kind} is False"
        return None


_GOOD = ("Ready", "Healthy")
