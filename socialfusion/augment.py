"""Pictures changed by chance: cut and mirrored, with boxes and points taken along.

A cut keeps every box and every point of the sample, and all frames of a track are changed alike.
Pictures are mirrored left to right only, never upside down.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from degradation.tasks.task import TaskSpec

__all__ = ["Change", "draw_change", "may_mirror"]

CUT, MIRROR = 0.5, 0.5
"""Chances of each."""
LARGEST = 0.25
"""Share of a side that a cut takes from each end at most, so that half of it stays."""
_SIDED = ("left", "right")

Boxes = Mapping[str, Float32[np.ndarray, "f 4"]]


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to the pictures of one sample.

    Attributes:
        part: The part that is kept: x1, y1, x2, y2, normalised.
        mirror: Whether it is mirrored left to right afterwards.
    """

    part: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    mirror: bool = False

    def corners(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The part in whole pixels of a picture, rounded outwards: left, top, right, bottom."""
        left, top = math.floor(self.part[0] * width), math.floor(self.part[1] * height)
        right, bottom = math.ceil(self.part[2] * width), math.ceil(self.part[3] * height)
        return left, top, right, bottom

    def rounded(self, width: int, height: int) -> "Change":
        """The change as whole pixels of a picture make it."""
        x1, y1, x2, y2 = self.corners(width, height)
        return Change((x1 / width, y1 / height, x2 / width, y2 / height), self.mirror)

    def points(self, points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Points of the picture as points of the changed one; both normalised."""
        low, high = np.array(self.part[:2]), np.array(self.part[2:])
        moved = (points.astype(np.float64) - low) / (high - low)
        if self.mirror:
            moved[:, 0] = 1 - moved[:, 0]
        return moved.astype(points.dtype)

    def boxes(self, boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
        """Boxes of the picture as boxes of the changed one, still with x1 < x2; NaN stays."""
        one, two = self.points(boxes[:, :2]), self.points(boxes[:, 2:])
        if self.mirror:
            one[:, 0], two[:, 0] = two[:, 0].copy(), one[:, 0].copy()
        return np.clip(np.concatenate([one, two], axis=1), 0, 1)


def may_mirror(spec: TaskSpec) -> bool:
    """Whether a mirrored picture has the same answers: no class speaks of left or right."""
    words = [word for names in spec.label_sets.values() for name in names for word in _words(name)]
    return not set(words) & set(_SIDED)


def _words(name: str) -> list[str]:
    return name.lower().replace("_", " ").replace("-", " ").split()


def draw_change(
    boxes: Boxes, points: Float[np.ndarray, "a 2"], *, mirror: bool, rng: np.random.Generator
) -> Change:
    """A change that keeps all boxes and points in the picture.

    Args:
        boxes: Of the sample, by role; NaN for none.
        points: Of the sample; NaN for none.
        mirror: Whether it may be mirrored.
        rng: Decides.
    """
    cut, mirrored = rng.random() < CUT, mirror and rng.random() < MIRROR
    share = rng.random(4)
    if not cut:
        return Change(mirror=bool(mirrored))
    corners = [points, *(part for box in boxes.values() for part in (box[:, :2], box[:, 2:]))]
    known = np.concatenate(corners).astype(np.float64)
    known = known[np.isfinite(known).all(axis=1)]
    low = np.minimum(known.min(axis=0, initial=1), LARGEST)
    high = np.maximum(known.max(axis=0, initial=0), 1 - LARGEST)
    start = np.clip(low, 0, 1) * share[:2]
    end = 1 - np.clip(1 - high, 0, 1) * share[2:]
    return Change((*start.tolist(), *end.tolist()), bool(mirrored))
