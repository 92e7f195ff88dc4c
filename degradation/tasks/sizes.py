"""Sides of pictures, read from the heads of their files.

Some data sets give boxes in pixels without saying of how many; a hundred thousand heads are read
in seconds, since nothing is decoded.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from PIL import Image

__all__ = ["picture_sizes"]


def picture_sizes(root: Path, paths: Sequence[str]) -> Int64[np.ndarray, "n 2"]:
    """Width and height of each picture, upright (after its EXIF orientation); -1 if unreadable.

    Args:
        root: Data root.
        paths: Relative to it; must have passed `degradation.tasks.disk.Pictures.faults`.
    """
    sizes = np.full((len(paths), 2), -1, dtype=np.int64)
    for row, path in enumerate(paths):
        try:
            with Image.open(root / path) as image:
                sizes[row] = image.size
        except (OSError, ValueError):
            continue
    return sizes
