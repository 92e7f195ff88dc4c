"""From patch tokens to one vector: over the cells of the grid that a box covers."""

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from degradation.errors import DataError

__all__ = ["box_weights", "coverage", "pool", "pool_frames", "split_boxes"]

_POWER = 3  # of the generalised mean; Radenovic et al. 2018 (arXiv 1711.02512) start from it


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


def pool(
    patches: Float[Tensor, "b t d"], weights: Float[Tensor, "b r t"]
) -> Float32[Tensor, "b r d"]:
    """Weighted sums of the patch tokens of each sample, accumulated in float32.

    All r regions at once, so that the tokens are read once.

    Args:
        patches: Patch tokens in raster order, shape (b, t, d), any float dtype.
        weights: Shape (b, r, t); each sums to 1 for a mean, as `box_weights` gives. NaN gives NaN.
    """
    return torch.bmm(weights.float(), patches.float())


def split_boxes(boxes: Float32[np.ndarray, "n 4"], fields: int) -> Float32[np.ndarray, "n k 4"]:
    """Each box in fields x fields equal parts, in raster order; k = fields * fields.

    Args:
        boxes: Normalised xyxy, shape (n, 4); what lies outside [0, 1] is cut off first.
        fields: Parts along each side.
    """
    x1, y1, x2, y2 = np.clip(boxes, 0, 1).T[..., None]
    shares = np.arange(fields + 1, dtype=np.float32) / np.float32(fields)
    x, y = x1 + (x2 - x1) * shares, y1 + (y2 - y1) * shares
    rows, columns = np.divmod(np.arange(fields**2), fields)
    return np.stack([x[:, columns], y[:, rows], x[:, columns + 1], y[:, rows + 1]], axis=2)


def pool_frames(
    patches: Float[Tensor, "n t d"], weights: Float32[Tensor, "b f r t"], how: str
) -> Float32[Tensor, "b r d"]:
    """The regions of each sample, pooled in each frame, the frames averaged; in float32.

    Args:
        patches: Patch tokens of all frames, shape (b * f, t, d).
        weights: Shape (b, f, r, t); they sum to 1 over frames and tokens, or are NaN where no
            frame has the region. A frame without the region has zeros.
        how: `mean`; `max`, over the cells with a weight; `gem`, the generalised mean of power 3,
            with the sign of the cubes kept, since a residual stream is as often negative.
    """
    flat = weights.flatten(0, 1)
    if how == "mean":
        return pool(patches, flat).unflatten(0, weights.shape[:2]).sum(dim=1)
    reduce = {"max": _maximum, "gem": _generalised_mean}[how]
    values = reduce(patches.float(), flat).unflatten(0, weights.shape[:2])
    shares = weights.sum(dim=3)
    shares = (shares / shares.sum(dim=1, keepdim=True))[..., None]
    return torch.where(shares == 0, 0, values * shares).sum(dim=1)


def _maximum(
    patches: Float32[Tensor, "n t d"], weights: Float32[Tensor, "n r t"]
) -> Float32[Tensor, "n r d"]:
    """Largest values over the cells with a weight; minus infinity where there are none."""
    outside = ~(weights > 0)
    return torch.stack(
        [patches.masked_fill(one[..., None], -torch.inf).amax(dim=1) for one in outside.unbind(1)],
        dim=1,
    )


def _generalised_mean(
    patches: Float32[Tensor, "n t d"], weights: Float32[Tensor, "n r t"]
) -> Float32[Tensor, "n r d"]:
    """Roots of the means of powers; NaN where no cell has a weight."""
    shares = weights / weights.sum(dim=2, keepdim=True)
    means = torch.bmm(shares, patches**_POWER)
    return means.sign() * means.abs() ** (1 / _POWER)
