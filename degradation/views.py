"""The array of a picture under a geometry, and where the picture lies in it."""

import math

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.geometry import MAX_PIXELS, Filter, Geometry
from degradation.placement import Placement

__all__ = ["place", "render", "smart_size", "square", "view"]

_MAX_ASPECT = 200
_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def smart_size(
    width: int, height: int, *, min_pixels: int, max_pixels: int, multiple: int
) -> tuple[int, int]:
    """Height and width of a `native` array, as Qwen2-VL chooses them.

    Each side goes to the nearest multiple, a half to the even one. Where the area is then out of
    bounds, the sides are scaled by the root of the ratio of areas instead, and rounded inwards.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        min_pixels: Least area.
        max_pixels: Largest area.
        multiple: Of which both sides are multiples.

    Raises:
        DataError: One side is more than 200 times the other, which Qwen2-VL refuses.

    Example:
        >>> smart_size(640, 480, min_pixels=3136, max_pixels=12_845_056, multiple=28)
        (476, 644)
    """
    if max(height, width) > _MAX_ASPECT * min(height, width):
        raise DataError(
            f"Expected sides at most {_MAX_ASPECT} : 1, found a picture of {width} x {height} "
            "pixels. Leave it out, or choose another geometry than native."
        )
    rows, columns = (round(side / multiple) * multiple for side in (height, width))
    if rows * columns > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows, columns = (
            max(1, math.floor(side / shrink / multiple)) * multiple for side in (height, width)
        )
    elif rows * columns < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows, columns = (math.ceil(side * grow / multiple) * multiple for side in (height, width))
    return rows, columns


def place(
    width: int, height: int, geometry: Geometry, *, box: Float32[np.ndarray, "4"] | None = None
) -> Placement:
    """Where a picture goes.

    Args:
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        geometry: How it becomes an array; with a size, unless native.
        box: Box of the role `geometry.crop`, normalised xyxy; used only if there is a cut.

    Raises:
        ConfigError: The geometry needs a size and has none.
        DataError: There is no box to cut to, or nothing in it; or the picture is so elongated
            that Qwen2-VL refuses it or scaling it would take more than `MAX_PIXELS`.
    """
    part = _part(width, height, geometry, box) if geometry.crop else (0, 0, width, height)
    (across, down), shape = _scaled_size(part[2] - part[0], part[3] - part[1], geometry)
    if across * down > MAX_PIXELS:
        raise DataError(
            f"Expected at most {MAX_PIXELS:,} pixels after scaling, found {across} x {down} from "
            f"a picture of {width} x {height}. Leave it out, or choose another geometry."
        )
    left, top = (
        # Floors, of the crop as CLIP's processor takes it and of the padding as Molmo's does.
        (side - scaled) // 2 if scaled <= side else -((scaled - side) // 2)
        for side, scaled in ((shape[1], across), (shape[0], down))
    )
    target = (left, top, left + across, top + down)
    return Placement(picture=(height, width), part=part, target=target, shape=shape)


def _part(
    width: int, height: int, geometry: Geometry, box: Float32[np.ndarray, "4"] | None
) -> tuple[int, int, int, int]:
    """The box with its margin, to the nearest whole pixels and inside the picture."""
    if box is None or not np.isfinite(box).all():
        raise DataError(f"Expected a box {geometry.crop!r} to cut the picture to, found none.")
    x1, y1, x2, y2 = box.astype(np.float64).tolist()
    if not (x1 < x2 and y1 < y2 and max(x1, y1) < 1 and min(x2, y2) > 0):
        raise DataError(
            f"Expected a box {geometry.crop!r} in the picture with x1 < x2 and y1 < y2 to cut it "
            f"to, found {[x1, y1, x2, y2]}. Mend the annotation."
        )
    ends = []
    for low, high, side in ((x1, x2, width), (y1, y2, height)):
        wider = geometry.margin * (high - low)
        first = min(max(round((low - wider) * side), 0), side - 1)
        last = max(min(round((high + wider) * side), side), first + 1)
        ends.append((first, last))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def _scaled_size(
    width: int, height: int, geometry: Geometry
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Width and height of a part after scaling; height and width of the array it goes into."""
    if geometry.kind == "native":
        rows, columns = smart_size(
            width,
            height,
            min_pixels=geometry.min_pixels,
            max_pixels=geometry.max_pixels,
            multiple=geometry.multiple,
        )
        return (columns, rows), (rows, columns)
    if (size := geometry.size) is None:
        raise ConfigError(f"Geometry {geometry.kind} needs a size, and has none. Give one.")
    if geometry.kind == "squash":
        return (size, size), (size, size)
    if geometry.kind == "short-crop":
        shorter, scaled = min(width, height), int(size / geometry.crop_pct)
        return (scaled * width // shorter, scaled * height // shorter), (size, size)
    # Molmo computes in float32, which can make the longer side one pixel shorter than s.
    sides = np.array([width, height], dtype=np.float32)
    across, down = (max(1, int(side)) for side in sides * (np.float32(size) / sides).min())
    return (across, down), (size, size)


def render(
    image: Image.Image, placement: Placement, resampling: Filter
) -> UInt8[np.ndarray, "h w 3"]:
    """The array of a picture, rows from the top, RGB; black where it shows nothing.

    Args:
        image: A picture from `degradation.pixels.to_rgb`.
        placement: Where it goes.
        resampling: `Geometry.filter`.
    """
    left, top, right, bottom = placement.target
    height, width = placement.shape
    part = image if placement.whole else image.crop(placement.part)
    scaled = _scale(part, (right - left, bottom - top), resampling)
    return np.array(scaled.crop((-left, -top, width - left, height - top)))


def _scale(image: Image.Image, size: tuple[int, int], resampling: Filter) -> Image.Image:
    """The picture scaled to width and height `size`, with antialiasing."""
    if resampling != "bilinear-float":
        return image.resize(size, _RESAMPLING[resampling])
    bands = [band.convert("F").resize(size, _RESAMPLING["bilinear"]) for band in image.split()]
    values = np.stack([np.asarray(band) for band in bands], axis=-1)
    return Image.fromarray(np.rint(values).astype(np.uint8))


def view(
    image: Image.Image, geometry: Geometry, *, box: Float32[np.ndarray, "4"] | None = None
) -> tuple[UInt8[np.ndarray, "h w 3"], Placement]:
    """The array of a picture, and where the picture lies in it.

    Args:
        image: A picture from `degradation.pixels.to_rgb`.
        geometry: How it becomes an array; with a size, unless native.
        box: Box of the role `geometry.crop`, normalised xyxy; used only if there is a cut.

    Raises:
        ConfigError: The geometry needs a size and has none.
        DataError: As for `place`.
    """
    placement = place(*image.size, geometry, box=box)
    return render(image, placement, geometry.filter), placement


def square(image: Image.Image, size: int) -> UInt8[np.ndarray, "s s 3"]:
    """The array of the standard geometry: squash, bicubic, antialiased.

    Args:
        image: A picture from `degradation.pixels.to_rgb`.
        size: The side s, in pixels.
    """
    return view(image, Geometry(size=size))[0]
