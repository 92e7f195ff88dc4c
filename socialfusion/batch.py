"""A micro-batch: samples that all answer the same question.

So they share prompt and number of visual tokens, and nothing but answers is ever padded.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from socialfusion.questions import Question

__all__ = ["Batch"]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """b samples of one question.

    Attributes:
        question: What they are asked.
        tokens: Patch tokens of the frozen encoder in raster order, frame after frame, shape
            (b, v, d) with v = frames * h * w, any float dtype.
        masks: Which visual tokens the box of each role covers, shape (b, v, r), roles in the
            order of `question.roles`; none for a box that is absent.
        labels: Class of each sample, shape (b,); None for gaze, or where only scores are wanted.
        points: Gaze targets by annotator, normalised xy, shape (b, a, 2), NaN-padded; None for
            classes, or where only maps are wanted.
    """

    question: Question
    tokens: Float[Tensor, "b v d"]
    masks: Bool[Tensor, "b v r"]
    labels: Int[Tensor, " b"] | None = None
    points: Float[Tensor, "b a 2"] | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.tokens)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The batch on a device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        return Batch(
            question=self.question,
            tokens=self.tokens.to(device, non_blocking=non_blocking),
            masks=self.masks.to(device, non_blocking=non_blocking),
            labels=move(self.labels),
            points=move(self.points),
        )
