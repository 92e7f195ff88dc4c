"""Where a token stands: axial rotary angles, windows, and tables of positions at another grid."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn import functional

__all__ = ["BASE", "Interpolation", "Turns", "axial_turns", "rotated", "table_at", "window_mask"]

BASE = 10_000.0

Interpolation = Literal["bicubic", "bilinear_corners"]
"""How a table of positions is brought to another grid, always in float32.

`bicubic` is that of CLIP, InternVL and DINOv2 in transformers: cell centres aligned, no
antialiasing. `bilinear_corners` is Qwen3-VL's own: corner cells stay on corner cells.
"""


class Turns(NamedTuple):
    """Cosine and sine of the angle by which each pair of a head's channels is turned.

    Attributes:
        cos: Shape (t, half), with `half` half the width of a head.
        sin: Shape (t, half).
    """

    cos: Float32[Tensor, "t half"]
    sin: Float32[Tensor, "t half"]


def axial_turns(rows: int, columns: int, head_width: int, device: torch.device) -> Turns:
    """The turns of a grid in raster order, for two-dimensional RoPE as in Qwen2-VL.

    With q = head_width / 4 and frequency k = BASE^(-k / q) for k < q, the first q pairs turn by
    row times frequency and the other q by column times frequency (Su et al. 2021, arXiv
    2104.09864; arXiv 2409.12191). Computed anew for every grid, so that no buffer can be left
    without its values when a tower is built on the meta device.
    """
    quarter = head_width // 4
    steps = torch.arange(quarter, dtype=torch.float32, device=device)
    frequencies = BASE ** -(steps / quarter)
    row = torch.arange(rows, dtype=torch.float32, device=device).repeat_interleave(columns)
    column = torch.arange(columns, dtype=torch.float32, device=device).repeat(rows)
    angles = torch.cat([row[:, None] * frequencies, column[:, None] * frequencies], dim=1)
    return Turns(angles.cos(), angles.sin())


def rotated(x: Float[Tensor, "*heads t e"], turns: Turns) -> Float[Tensor, "*heads t e"]:
    """Queries or keys, turned in float32; channel i is paired with channel i + e / 2."""
    first, second = x.float().chunk(2, dim=-1)
    turned = (first * turns.cos - second * turns.sin, second * turns.cos + first * turns.sin)
    return torch.cat(turned, dim=-1).to(x.dtype)


def window_mask(rows: int, columns: int, window: int, device: torch.device) -> Bool[Tensor, "t t"]:
    """True where two cells share a window; windows start at the upper left corner."""
    row = (torch.arange(rows, device=device) // window).repeat_interleave(columns)
    column = (torch.arange(columns, device=device) // window).repeat(rows)
    return (row[:, None] == row) & (column[:, None] == column)


def table_at(
    table: Float[Tensor, "from d"],
    n_prefix: int,
    grid: tuple[int, int],
    interpolation: Interpolation,
) -> Float[Tensor, "to d"]:
    """A table of positions for another grid.

    Args:
        table: Positions of the prefix tokens, then of a square grid in raster order.
        n_prefix: Rows for prefix tokens; they stay as they are.
        grid: Rows and columns of the new grid.
        interpolation: How values between cells are found.
    """
    prefix, cells = table[:n_prefix], table[n_prefix:]
    side = round(len(cells) ** 0.5)
    planes = cells.float().T.unflatten(1, (side, side))[None]
    if interpolation == "bicubic":
        planes = functional.interpolate(
            planes, size=grid, mode="bicubic", align_corners=False, antialias=False
        )
    else:
        planes = functional.interpolate(planes, size=grid, mode="bilinear", align_corners=True)
    return torch.cat([prefix, planes[0].flatten(1).T.to(table.dtype)])
