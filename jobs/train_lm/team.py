"""The workers of a run, as the training loop sees them: what one says, all hear. Works alone too, without a group."""

import os
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


class Team:
    """Rank `rank` of `size`, computing on `device`. Every method but `wrap` is collective: all ranks call it together.

    What is agreed on goes over gloo on the CPU even where gradients go over NCCL, so that it never waits for the GPU's
    queue to drain.
    """

    def __init__(self, *, rank: int = 0, size: int = 1, device: str = "cpu", node: str = "") -> None:
        self.rank = rank
        self.size = size
        self.device = torch.device(device)
        self.node = node
        self._talk = dist.new_group(backend="gloo") if size > 1 else None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model that averages its gradients over the team; its weights become those of rank 0."""
        if self.size == 1:
            return model
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def total(self, *values: float) -> list[float]:
        """Return each value summed over all ranks."""
        numbers = torch.tensor(values, dtype=torch.float64)
        if self._talk is not None:
            dist.all_reduce(numbers, group=self._talk)
        return numbers.tolist()

    def collect(self, value: T) -> list[T]:
        """Return every rank's value, in the order of ranks, on rank 0; an empty list elsewhere."""
        if self._talk is None:
            return [value]
        values: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(value, values, dst=0, group=self._talk)
        return values or []

    def told(self, value: T) -> T:
        """Return rank 0's value."""
        if self._talk is None:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0, group=self._talk)
        told: T = box[0]
        return told

    def card(self) -> dict[str, Any]:
        """Return who this rank is, for those who look after processes."""
        return {"rank": self.rank, "pid": os.getpid(), "node": self.node}
