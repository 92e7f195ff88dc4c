"""Where a model computes, and in which arithmetic."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from socialfusion.batch import Batch

__all__ = ["Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model computes, and in what.

    Attributes:
        device: Of the model.
        dtype: Of its arithmetic: float32, or bfloat16 under autocast.
    """

    device: torch.device
    dtype: torch.dtype = torch.float32

    def put(self, batch: Batch) -> Batch:
        """A batch on the device; its tokens stay as they are stored, the model widens them."""
        return batch.to(self.device)

    def arithmetic(self) -> AbstractContextManager[None]:
        """A context in which the forward pass runs."""
        narrow = self.dtype != torch.float32
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=narrow)
