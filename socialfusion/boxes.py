"""Boxes as the model sees them: the cells that a box covers get the learned vector of its role.

Gaze-LLE (arXiv 2412.09586) adds one learned vector on the cells of the head; here every role has
its own, so that person A and person B of a pair can be told apart.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from degradation.errors import DataError

__all__ = ["BoxVectors", "box_cells"]

_SLACK = 1e-4
"""In cells: an edge this near to that of a cell is on it, since boxes are float32."""


def box_cells(
    boxes: Float32[np.ndarray, "n f 4"], grid: tuple[int, int]
) -> Bool[np.ndarray, "n v"]:
    """Which visual tokens a box covers, in whole or in part; at least one if there is a box.

    Edges are rounded outwards. A box that lies outside the picture covers the nearest cell.

    Args:
        boxes: Normalised xyxy by frame, shape (n, f, 4); NaN where there is none.
        grid: Rows and columns (h, w).

    Returns:
        Shape (n, f*h*w), frame after frame, each in raster order.

    Raises:
        DataError: A box has no area.

    Example:
        >>> box_cells(np.array([[[0, 0, 0.6, 0.5]]], dtype=np.float32), (2, 2)).tolist()
        [[True, True, False, False]]
    """
    absent = np.isnan(boxes).any(axis=2)
    x1, y1, x2, y2 = np.moveaxis(np.where(absent[..., None], 0.0, boxes).astype(float), 2, 0)
    if len(flat := np.argwhere(~absent & ~((x2 > x1) & (y2 > y1)))):
        row, frame = flat[0].tolist()
        raise DataError(
            f"Expected boxes x1, y1, x2, y2 with an area, found {boxes[row, frame].tolist()} in "
            f"row {row} (of {len(flat)} such boxes). Mend the annotation, or leave the row out."
        )
    inside = [
        _span(low, high, cells) for low, high, cells in ((y1, y2, grid[0]), (x1, x2, grid[1]))
    ]
    cells = inside[0][..., :, None] & inside[1][..., None, :] & ~absent[..., None, None]
    return cells.reshape(len(boxes), -1)


def _span(low: np.ndarray, high: np.ndarray, cells: int) -> np.ndarray:
    """Which of the cells along one axis lie between two edges, shape (n, f, cells)."""
    first = np.clip(np.floor(low * cells + _SLACK), 0, cells - 1)
    last = np.clip(np.ceil(high * cells - _SLACK), first + 1, cells)
    number = np.arange(cells)
    return (number >= first[..., None]) & (number < last[..., None])


class BoxVectors(nn.Module):
    """One learned vector for each role, in units of the visual tokens.

    Args:
        roles: Names of the roles.
        width: Width d of the visual tokens.
    """

    def __init__(self, roles: Sequence[str], width: int) -> None:
        super().__init__()
        self.roles = tuple(roles)
        self.vectors = nn.Parameter(torch.zeros(len(self.roles), width))

    def initialise(self, *, generator: torch.Generator) -> None:
        """Draw vectors with entries of variance 1, as large as the tokens they are added to."""
        with torch.no_grad():
            self.vectors.normal_(generator=generator)

    def forward(
        self, tokens: Float[Tensor, "b v d"], masks: Bool[Tensor, "b v r"], roles: Sequence[str]
    ) -> Float[Tensor, "b v d"]:
        """The tokens with the vector of each role added on its cells.

        Args:
            tokens: Visual tokens.
            masks: The cells of each role.
            roles: What the last axis of the masks means.
        """
        chosen = self.vectors[[self.roles.index(role) for role in roles]]
        return tokens + masks.to(tokens.dtype) @ chosen.to(tokens.dtype)
