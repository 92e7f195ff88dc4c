"""Pictures as Qwen2-VL takes them: patches in its own order, of pictures of any size.

A picture keeps its aspect ratio (`native` geometry). Its patches come in the order in which the
merger joins them, block after block of 2 x 2, and each patch holds the same pixels twice, since a
picture is a film of two equal frames.
"""

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from PIL.Image import Image
from torch import Tensor
from transformers import Qwen2VLConfig

from degradation.encoders.statistics import CLIP_STATISTICS
from degradation.geometry import Geometry
from degradation.pixels import to_rgb
from degradation.placement import Placement
from degradation.views import view

__all__ = ["native_geometry", "patches", "picture_array"]


def native_geometry(
    config: Qwen2VLConfig, *, min_pixels: int, max_pixels: int, crop: str = ""
) -> Geometry:
    """The geometry of Qwen2-VL's own preprocessing.

    Args:
        config: Of the model; its patches and merger decide what sides are multiples of.
        min_pixels: Least area of a picture as it is seen.
        max_pixels: Largest area.
        crop: Role of the box to which pictures are cut first; empty for none.
    """
    vision = config.vision_config
    return Geometry(
        kind="native",
        min_pixels=min_pixels,
        max_pixels=max_pixels,
        multiple=vision.patch_size * vision.spatial_merge_size,
        crop=crop,
    )


def picture_array(
    image: Image, geometry: Geometry, *, box: Float32[np.ndarray, "4"]
) -> tuple[UInt8[np.ndarray, "h w 3"], Placement]:
    """A picture as the model sees it, and where the picture lies in it.

    Args:
        image: In any mode.
        geometry: From `native_geometry`.
        box: Box of the role `geometry.crop`; not looked at without one.

    Raises:
        DataError: There is no box to cut to, or the picture is more elongated than 200 : 1.
    """
    return view(to_rgb(image), geometry, box=box)


def patches(
    array: UInt8[np.ndarray, "h w 3"], config: Qwen2VLConfig
) -> tuple[Float32[Tensor, "t k"], tuple[int, int, int]]:
    """The patches of one picture, normalised as CLIP's pixels are.

    Args:
        array: Sides are multiples of patch times merge.
        config: Of the model.

    Returns:
        Patches, each flattened from (colour, frame, row, column), and how many there are along
        time, height and width.
    """
    vision = config.vision_config
    side, merge, frames = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    mean, deviation = (torch.tensor(one)[:, None, None] for one in CLIP_STATISTICS)
    pixels = (torch.from_numpy(array).permute(2, 0, 1) / 255 - mean) / deviation
    h, w = array.shape[0] // side, array.shape[1] // side
    cut = pixels.reshape(3, h // merge, merge, side, w // merge, merge, side)
    ordered = cut.permute(1, 4, 2, 5, 0, 3, 6)  # block row and column, row, column, colour, y, x
    twice = ordered.unsqueeze(5).expand(*ordered.shape[:5], frames, side, side)
    return twice.reshape(h * w, -1), (1, h, w)
