"""From patch tokens to one vector: means over the cells of the grid that a box covers."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from degradation.errors import DataError

__all__ = ["box_weights", "coverage", "pool"]


def coverage(
    low: Float64[np.ndarray, " n"], high: Float64[np.ndarray, " n"], cells: int
) -> Float64[np.ndarray, "n cells"]:
    """Length of each of `cells` equal cells of [0, 1] inside [low, high], in cells.

    Args:
        low: Lower ends, shape (n,).
        high: Upper ends, shape (n,).
        cells: Number of cells.
    """
    edges = np.arange(cells)
    inside = np.minimum(high[:, None] * cells, edges + 1) - np.maximum(low[:, None] * cells, edges)
    return np.clip(inside, 0.0, 1.0)


def box_weights(
    boxes: Float32[np.ndarray, "n 4"], grid: tuple[int, int]
) -> Float32[np.ndarray, "n t"]:
    """Share of each cell of the grid that a box covers, normalised to sum 1.

    A box without area, or wholly outside, counts for the cell that holds its nearest centre; a
    box with a NaN gives NaN weights.

    Args:
        boxes: Normalised xyxy, shape (n, 4); what lies outside [0, 1] is cut off.
        grid: Rows and columns (h, w); t = h * w in raster order.

    Raises:
        DataError: A box is inverted.

    Example:
        >>> box_weights(np.array([[0, 0, 0.75, 0.5]], dtype=np.float32), (2, 2)).round(2).tolist()
        [[0.6700000166893005, 0.33000001311302185, 0.0, 0.0]]
    """
    height, width = grid
    absent = np.isnan(boxes).any(axis=1)
    inside = np.clip(np.where(absent[:, None], 0.0, boxes).astype(np.float64), 0.0, 1.0)
    x1, y1, x2, y2 = inside.T
    if inverted := np.flatnonzero((x2 < x1) | (y2 < y1)).tolist():
        raise DataError(
            f"Expected boxes as x1, y1, x2, y2 with x1 <= x2 and y1 <= y2, found "
            f"{boxes[inverted[0]].tolist()} at position {inverted[0]}. Mend the annotation."
        )
    cover = coverage(y1, y2, height)[:, :, None] * coverage(x1, x2, width)[:, None, :]
    empty = cover.sum(axis=(1, 2)) < 1e-9  # in cells; below that the quotient is rounding
    row = np.minimum((y1 + y2) / 2 * height, height - 1).astype(np.int64)
    column = np.minimum((x1 + x2) / 2 * width, width - 1).astype(np.int64)
    cover[empty, row[empty], column[empty]] = 1.0
    weights = cover.reshape(len(boxes), height * width)
    weights /= weights.sum(axis=1, keepdims=True)
    weights[absent] = np.nan
    return weights.astype(np.float32)


def pool(patches: Float[Tensor, "b t d"], weights: Float[Tensor, "b t"]) -> Float32[Tensor, "b d"]:
    """Weighted sum of the patch tokens of each sample, accumulated in float32.

    Args:
        patches: Patch tokens in raster order, shape (b, t, d), any float dtype.
        weights: Shape (b, t); sums to 1 for a mean, as `box_weights` gives. NaN gives NaN.
    """
    return torch.bmm(weights.float().unsqueeze(1), patches.float()).squeeze(1)
