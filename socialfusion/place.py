"""Where a model computes, and in which arithmetic."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

import torch

__all__ = ["Place"]

AnyBatch = TypeVar("AnyBatch")
"""Any kind of batch that has `to`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model computes, and in what.

    Attributes:
        device: Of the model.
        dtype: Of its arithmetic: float32, or bfloat16 under autocast.
        rank: Number of this process.
        count: Number of processes, which share what is not trained on.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32
    rank: int = 0
    count: int = 1

    def put(self, batch: AnyBatch) -> AnyBatch:
        """A batch on the device; its tokens stay as they are stored, the model widens them."""
        return batch.to(self.device)

    def arithmetic(self) -> AbstractContextManager[None]:
        """A context in which the forward pass runs."""
        narrow = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=narrow)
