"""Painting of plane shapes in nested coordinate frames, on a Pillow canvas.

Points are complex numbers (x right, y down), so that a frame is one multiplication and one
addition: `origin + unit * z` moves, scales and turns a shape at once. Everything is a filled
polygon: outlines are a darker, larger copy below.
"""

import functools
import math
from collections.abc import Iterable

import numpy as np
from PIL import ImageDraw

Rgb = tuple[int, int, int]
Real = float | int  # run-time checks of annotations do not take an int for a float

CIRCLE = np.exp(2j * math.pi * np.arange(28) / 28)
_HALF = np.exp(1j * math.pi * (np.arange(9) / 8 - 0.5))


def shade(colour: Rgb, factor: Real) -> Rgb:
    """The colour made darker (factor < 1) or lighter (factor > 1, towards white)."""
    if factor <= 1:
        return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
    return mix(colour, (255, 255, 255), factor - 1)


def mix(first: Rgb, second: Rgb, share: Real) -> Rgb:
    """The colour `share` of the way from `first` to `second`."""
    r, g, b = (int(p + (q - p) * share) for p, q in zip(first, second, strict=True))
    return (r, g, b)


@functools.cache
def shape(*points: complex) -> np.ndarray:
    """The points as a complex array, made once for each outline."""
    return np.array(points, dtype=np.complex128)


class Brush:
    """A drawing context with a coordinate frame; `at` gives a brush in a frame inside this one."""

    __slots__ = ("draw", "flip", "origin", "unit")

    def __init__(
        self, draw: ImageDraw.ImageDraw, origin: complex, unit: complex, *, flip: bool = False
    ) -> None:
        """Keep the frame: z lies at `origin + unit * z`, mirrored left-right first if `flip`."""
        self.draw = draw
        self.origin = origin
        self.unit = unit
        self.flip = flip

    def at(
        self, centre: complex, size: Real = 1.0, angle: Real = 0.0, *, flip: bool = False
    ) -> "Brush":
        """A brush with origin `centre` and unit `size` as seen here, turned by `angle` radians."""
        origin = self.spot(centre)
        if self.flip:
            angle = -angle
        unit = self.unit * size * complex(math.cos(angle), math.sin(angle))
        return Brush(self.draw, origin, unit, flip=self.flip != flip)

    def spot(self, point: complex) -> complex:
        """The canvas position of a local point."""
        if self.flip:
            point = complex(-point.real, point.imag)
        return self.origin + self.unit * point

    def fill(self, points: np.ndarray, colour: Rgb) -> None:
        """Fill the polygon with these complex local points."""
        if self.flip:
            points = -points.conjugate()
        placed = points * self.unit + self.origin
        self.draw.polygon(placed.view(np.float64).tolist(), fill=colour)

    def oval(self, centre: complex, rx: Real, ry: Real, colour: Rgb, angle: Real = 0.0) -> None:
        """Fill an ellipse with half axes `rx` and `ry`, turned by `angle` radians."""
        turn = complex(math.cos(angle), math.sin(angle))
        plus, minus = turn * ((rx + ry) / 2), turn * ((rx - ry) / 2)
        self.fill(centre + plus * CIRCLE + minus * CIRCLE.conjugate(), colour)

    def box(self, x0: Real, y0: Real, x1: Real, y1: Real, colour: Rgb) -> None:
        """Fill the rectangle between two local corners."""
        self.fill(
            np.array((complex(x0, y0), complex(x1, y0), complex(x1, y1), complex(x0, y1))), colour
        )

    def bar(
        self, start: complex, end: complex, width: Real, colour: Rgb, tip: Real | None = None
    ) -> None:
        """Fill a round-ended bar of this width, which may taper to the width `tip` at its end."""
        span = end - start
        along = span / (abs(span) or 1.0)
        cap = _HALF * along
        far = end + cap * ((width if tip is None else tip) / 2)
        self.fill(np.concatenate((far, start - cap * (width / 2))), colour)

    def stroke(self, points: Iterable[complex], width: Real, colour: Rgb) -> None:
        """Draw a line of this width through the points."""
        flat: list[float] = []
        for point in points:
            spot = self.spot(point)
            flat += (spot.real, spot.imag)
        self.draw.line(
            flat, fill=colour, width=max(1, round(width * abs(self.unit))), joint="curve"
        )
