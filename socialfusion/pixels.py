"""Micro-batches of pictures as the encoder sees them, for a model that trains the encoder too."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from degradation.errors import ConfigError
from socialfusion.online import OnlineTokens
from socialfusion.questions import Question
from socialfusion.samples import Places, QuestionSamples

__all__ = ["PixelBatch", "PixelSamples", "with_pixels"]


@dataclass(frozen=True, slots=True, eq=False)
class PixelBatch:
    """b samples of one question; a `Batch` whose tokens are not computed yet.

    Attributes:
        question: What they are asked.
        pixels: Scaled as the encoder wants them, frame after frame, shape (b, f, s, s, 3).
        masks: As in `Batch`, shape (b, v, r).
        labels: As in `Batch`, shape (b,).
        points: As in `Batch`, shape (b, a, 2).
    """

    question: Question
    pixels: UInt8[Tensor, "b f s s 3"]
    masks: Bool[Tensor, "b v r"]
    labels: Int[Tensor, " b"] | None = None
    points: Float[Tensor, "b a 2"] | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.pixels)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "PixelBatch":
        """The batch on a device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        return PixelBatch(
            question=self.question,
            pixels=self.pixels.to(device, non_blocking=non_blocking),
            masks=self.masks.to(device, non_blocking=non_blocking),
            labels=move(self.labels),
            points=move(self.points),
        )


@dataclass(frozen=True, slots=True, eq=False)
class PixelSamples(QuestionSamples):
    """One question and its rows, put as pictures.

    Attributes:
        source: Where the pictures of the task come from.
    """

    source: OnlineTokens

    def batch(self, rows: Places, rng: np.random.Generator | None = None) -> PixelBatch:
        """The question put to some rows; arguments as for `QuestionSamples.batch`."""
        boxes = {role: column[rows] for role, column in self.task.boxes.items()}
        shown = self.source.show(rows, boxes, self.task.table.points[rows], rng)
        labels, points = self.targets(rows, shown.points)
        masks = self.masks(shown.boxes, len(rows), self.source.shape[0])
        return PixelBatch(self.question, shown.pixels, masks, labels, points)


def with_pixels(questions: Mapping[str, QuestionSamples]) -> dict[str, PixelSamples]:
    """Questions whose rows are put as pictures, by label.

    Raises:
        ConfigError: Their tokens come from the cache, where no encoder can be trained.
    """
    found = {}
    for label, one in questions.items():
        source = one.task.tokens
        if not isinstance(source, OnlineTokens):
            raise ConfigError(
                f"Expected pictures of {one.task.name} to train the encoder on, found tokens from "
                "the cache. Compute them from the pictures, or keep the encoder frozen."
            )
        own = {field.name: getattr(one, field.name) for field in fields(one)}
        found[label] = PixelSamples(**own, source=source)
    return found
