"""A micro-batch of pictures: samples that all answer one question, in the model's own pixels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float32, Int, Int64
from torch import Tensor

from socialfusion.questions import Question

__all__ = ["PictureBatch"]


@dataclass(frozen=True, slots=True, eq=False)
class PictureBatch:
    """b samples of one question, of f pictures each.

    Attributes:
        question: What they are asked.
        patches: Of all pictures of all samples, one after the other, shape (t, k); from
            `socialfusion.vlm.patches`.
        grids: Patches of each picture along time, height and width, shape (b*f, 3). It stays on
            the CPU, where lengths are computed.
        boxes: Normalised xyxy by picture and role, NaN where there is none, shape (b, f, r, 4). It
            stays on the CPU, where it is put in words.
        labels: Class of each sample, shape (b,); None for gaze, or where only scores are wanted.
        points: Gaze targets by annotator, normalised xy, shape (b, a, 2), NaN-padded; None for
            classes, or where only answers are wanted.
    """

    question: Question
    patches: Float32[Tensor, "t k"]
    grids: Int64[Tensor, "p 3"]
    boxes: Float32[Tensor, "b f r 4"]
    labels: Int[Tensor, " b"] | None = None
    points: Float[Tensor, "b a 2"] | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.boxes)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "PictureBatch":
        """The batch on a device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        return PictureBatch(
            question=self.question,
            patches=self.patches.to(device, non_blocking=non_blocking),
            grids=self.grids,
            boxes=self.boxes,
            labels=move(self.labels),
            points=move(self.points),
        )
