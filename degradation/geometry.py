"""How a picture of any size becomes the array that both sides see: a plain record.

A picture is cut to a box if asked, scaled, and placed in an array:

* `squash` (the default): to s x s, the aspect ratio given up; nothing is lost.
* `pad`: scaled to fit into s x s and centred, the rest black, as Molmo does.
* `short-crop`: the shorter side scaled to s, then the centre s x s, as CLIP does; what lies
  outside is gone, which costs people and gaze targets at the sides. With `crop_pct` the shorter
  side is scaled to more than s, as DINOv2 does.
* `native`: both sides rounded to a multiple, within bounds on the area, as Qwen2-VL does; the
  arrays of different pictures differ in shape.

`degradation.views` makes the arrays, and `degradation.placement` takes boxes and points through the
same map as the pixels. Which geometry a published model has is said by its row in
`degradation.encoders.catalogue`, so that nothing heavy is imported here.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from degradation.errors import ConfigError

__all__ = ["MAX_PIXELS", "Filter", "Geometry", "Kind"]

MAX_PIXELS = 100_000_000
"""Larger pictures are refused before they are decoded, and larger arrays before they are made: 300
MB in memory, most likely a mistake."""

Kind = Literal["squash", "pad", "short-crop", "native"]
Filter = Literal["bicubic", "bilinear", "bilinear-float"]

_MIN_PIXELS, _MAX_PIXELS, _MULTIPLE = 3136, 12_845_056, 28  # of the published Qwen2-VL processors
_MAX_SIDE = math.isqrt(MAX_PIXELS)
_ROLE = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Geometry:
    """Everything that decides which array a picture becomes.

    Attributes:
        kind: `squash`, `pad`, `short-crop` or `native`; see the module.
        size: Side s of the array in pixels; None for `native`, and elsewhere until `at` fills in
            the native side of an encoder.
        filter: `bicubic` and `bilinear` are Pillow's, antialiased, in 8 bits. `bilinear-float`
            rounds once, at the end: closest to models that resize floating-point pictures.
        min_pixels: Least area of a `native` array.
        max_pixels: Largest area of a `native` array; by default 16384 tokens after merging.
        multiple: Both sides of a `native` array are multiples of it: patch times merge side.
        crop: Role of the box to which a picture is cut before all else; empty for no cut.
        margin: Share of the box's sides by which it is widened at each end before the cut.
        crop_pct: Share of the shorter side that a `short-crop` keeps, as timm calls it; the
            shorter side is scaled to size / crop_pct.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    kind: Kind = "squash"
    size: int | None = None
    filter: Filter = "bicubic"
    min_pixels: int = _MIN_PIXELS
    max_pixels: int = _MAX_PIXELS
    multiple: int = _MULTIPLE
    crop: str = ""
    margin: float = 0.0
    crop_pct: float = 1.0

    def __post_init__(self) -> None:
        """Check that every option is in range and has an effect.

        Raises:
            ConfigError: Naming the option.
        """
        native = (self.min_pixels, self.max_pixels, self.multiple)
        if self.kind == "native" and self.size is not None:
            raise ConfigError(
                f"Native geometry follows the picture, but size {self.size} was asked for. Leave "
                "the size out, or bound the area by min_pixels and max_pixels."
            )
        if self.size is not None and not 1 <= self.size <= _MAX_SIDE:
            raise ConfigError(f"Expected a size from 1 to {_MAX_SIDE} pixels, found {self.size}.")
        if self.kind != "native" and native != (_MIN_PIXELS, _MAX_PIXELS, _MULTIPLE):
            raise ConfigError(
                "min_pixels, max_pixels and multiple belong to native geometry, but the geometry "
                f"is {self.kind}. Leave them out, or choose native."
            )
        if not (1 <= self.min_pixels <= self.max_pixels <= MAX_PIXELS and self.multiple >= 1):
            raise ConfigError(
                f"Expected 1 <= min_pixels <= max_pixels <= {MAX_PIXELS} and 1 <= multiple, found "
                "{}, {} and {}.".format(*native)
            )
        if self.crop and not _ROLE.fullmatch(self.crop):
            raise ConfigError(f"Expected a role of boxes to cut to, found {self.crop!r}.")
        if not 0 <= self.margin < math.inf:
            raise ConfigError(f"Expected a margin of at least 0, found {self.margin}.")
        if self.margin and not self.crop:
            raise ConfigError(
                f"A margin of {self.margin} was asked for, but no cut. Name the role as crop."
            )
        if not 0 < self.crop_pct <= 1 or (self.crop_pct != 1 and self.kind != "short-crop"):
            raise ConfigError(
                "Expected a crop_pct in (0, 1], other than 1 for short-crop only, found "
                f"{self.crop_pct} for {self.kind}. Leave it out, or choose short-crop."
            )

    @property
    def still(self) -> bool:
        """Whether every array has the normalised coordinates of its picture, and one size."""
        return self.kind == "squash" and not self.crop

    def at(self, side: int) -> "Geometry":
        """This geometry with size `side`, if it needs a size and has none."""
        return self if self.kind == "native" or self.size else replace(self, size=side)
