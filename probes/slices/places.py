"""Where the tokens of a picture lie: in which boxes, and in which cell of a box-relative map."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

__all__ = ["BACKGROUND", "box_cells", "cell_centres", "regions"]

BACKGROUND = "background"
SIDE = 8
"""Rows and columns of the box-relative map; the box itself has the middle half of each."""
REACH = 0.5
"""Widths and heights of a box that the map shows beyond each of its sides."""


def cell_centres(grid: tuple[int, int]) -> Float64[np.ndarray, "t 2"]:
    """Centres x, y of the cells in raster order, normalised.

    Example:
        >>> cell_centres((1, 2)).tolist()
        [[0.25, 0.5], [0.75, 0.5]]
    """
    h, w = grid
    y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=1)


def regions(
    boxes: Mapping[str, Float[np.ndarray, "n 4"]], grid: tuple[int, int]
) -> dict[str, Bool[np.ndarray, "n t"]]:
    """Which tokens belong to the box of each role, and to the background.

    A token belongs to a box in which the centre of its cell lies, so to several where they
    overlap; a box that holds no centre has the token whose centre is nearest to its own. The
    background is what lies in no box.

    Args:
        boxes: By role, normalised xyxy, NaN where there is none, shape (n, 4).
        grid: Rows and columns of the token map.

    Returns:
        By role, then `background`; all False in rows without the box, shape (n, t).

    Example:
        >>> regions({"face": np.array([[0.0, 0.0, 0.5, 1.0]])}, (1, 2))["background"].tolist()
        [[False, True]]
    """
    centres = cell_centres(grid)
    found = {}
    for role, box in boxes.items():
        low, high = box[:, None, :2], box[:, None, 2:]
        inside = ((low <= centres) & (centres <= high)).all(axis=2)
        known = np.isfinite(box).all(axis=1)
        lost = known & ~inside.any(axis=1)
        middle = (box[lost, :2] + box[lost, 2:]) / 2
        distance = ((middle[:, None] - centres) ** 2).sum(axis=2)
        inside[lost, distance.argmin(axis=1)] = True
        found[role] = inside
    n = len(next(iter(boxes.values()))) if boxes else 0
    anywhere = np.zeros((n, len(centres)), dtype=bool)
    for inside in found.values():
        anywhere |= inside
    return found | {BACKGROUND: ~anywhere}


def box_cells(box: Float[np.ndarray, "n 4"], grid: tuple[int, int]) -> Int64[np.ndarray, "n t"]:
    """Cell of the box-relative map in which the centre of each token lies, shape (n, t).

    The map has `SIDE` rows and columns and shows the box with half its size around it; -1 for
    tokens beyond, and in rows without the box.
    """
    centres = cell_centres(grid)
    known = np.isfinite(box).all(axis=1)
    safe = np.where(known[:, None], box, [0.0, 0.0, 1.0, 1.0]).astype(np.float64)
    size = np.maximum(safe[:, None, 2:] - safe[:, None, :2], np.finfo(np.float64).tiny)
    relative = (centres - safe[:, None, :2]) / size  # 0 and 1 are the sides of the box
    cell = np.floor((relative + REACH) / (1 + 2 * REACH) * SIDE)
    inside = ((cell >= 0) & (cell < SIDE)).all(axis=2) & known[:, None]
    column, row = np.where(inside[:, :, None], cell, 0).astype(np.int64).transpose(2, 0, 1)
    return np.where(inside, SIDE * row + column, -1)
