"""A rendered scene as a photograph: in another shape than square, with boxes that move along."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from degradation.scenes.records import Box, Scene
from degradation.scenes.render import render

__all__ = ["Photograph", "photograph", "save"]

SHAPES = (1.0, 4 / 3, 3 / 4, 16 / 9, 3 / 2)
"""Width over height."""


@dataclass(frozen=True, slots=True)
class Photograph:
    """A picture and where the square scene lies in it.

    Attributes:
        image: RGB.
        left: Columns before the scene, in pixels.
        top: Rows above it.
        side: Side of the scene in pixels.
    """

    image: Image.Image
    left: int
    top: int
    side: int

    def pixels(self, box: Box) -> Box:
        """A box of the scene, normalised xyxy, in pixels of the picture."""
        x1, y1, x2, y2 = (self.side * value for value in box)
        return (self.left + x1, self.top + y1, self.left + x2, self.top + y2)

    def normalised(self, box: Box) -> Box:
        """A box of the scene, normalised to the picture."""
        x1, y1, x2, y2 = self.pixels(box)
        width, height = self.image.size
        return (x1 / width, y1 / height, x2 / width, y2 / height)


def photograph(scene: Scene, *, side: int, shape: float, rng: np.random.Generator) -> Photograph:
    """The scene with its edges drawn out to the right aspect ratio, at a random place.

    Args:
        scene: What to paint.
        side: Side of the scene in pixels, which is the shorter side of the picture.
        shape: Width over height of the picture.
        rng: Of the place.
    """
    across = math.ceil(side * (max(shape, 1) - 1))
    down = math.ceil(side * (max(1 / shape, 1) - 1))
    left, top = (int(rng.integers(0, more + 1)) for more in (across, down))
    margins = ((top, down - top), (left, across - left), (0, 0))
    drawn = np.pad(np.asarray(render(scene, side)), margins, mode="edge")
    return Photograph(Image.fromarray(drawn), left, top, side)


def save(image: Image.Image, file: Path) -> None:
    """Write a JPEG, with the folders above it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file, "JPEG", quality=90)
