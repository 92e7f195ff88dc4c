"""Block by block maps: every block of each side against every block of each side.

With l blocks in all and d features each, sums over features (as in `probes.drift.sums`) would
need (l d)^2 numbers: 36 GB for two sides of 33 blocks of width 1,024. Sums over pairs of rows need
none of that. Rows are taken tile by tile (one jackknife group against another), the l linear
kernels of a tile are laid out as vectors, and one product of them with themselves adds to the
l x l matrix of tr K L; only that matrix by pair of groups, and sums of kernel rows by group, are
kept. A pair of blocks costs n^2 then, after n^2 d for each block: for 66 blocks of width 1,024 and
2,000 rows 1.4e11 multiplications for the kernels and 9e9 for all 2,145 pairs, and 1.1 GB for the
features. It is exact for the rows it sees, with the same numbers as the sums over features; where
there are many rows it sees a subset, and says so.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from degradation.errors import DataError
from probes.drift.jackknife import quantile
from probes.drift.neighbours import Nearest, overlaps
from probes.drift.sums import Frame, finite_rows

__all__ = ["MapValues", "cka_map", "neighbour_map"]

MapValues = tuple[
    Float64[np.ndarray, "l l"], Float64[np.ndarray, "l l"], Float64[np.ndarray, "l l"]
]
"""Values with the ends of their 95 % intervals."""


def cka_map(
    features: Sequence[Float[np.ndarray, "n _"]], groups: Int64[np.ndarray, " n"]
) -> MapValues:
    """Unbiased linear CKA between all pairs, NaN where a block does not tell rows apart.

    Args:
        features: One array of the same n rows for each block, any widths.
        groups: Jackknife group of each row, from 0, shape (n,).

    Raises:
        DataError: If fewer than 4 rows are left without a group, or a feature is not finite.
    """
    kernels = _KernelSums(features, groups)
    count = int(groups.max()) + 1
    whole = kernels.cka(np.ones(count, dtype=bool))
    parts = np.stack([kernels.cka(np.arange(count) != group) for group in range(count)])
    return _with_interval(whole, parts, low=-1.0)


class _KernelSums:
    """Products of the l linear kernels by pair of groups, and their row sums by group.

    Attributes:
        products: sum over rows i of one group and j of another of K_a[i, j] K_b[i, j] without
            i = j, shape (g, g, l, l).
        rows: sum over rows j of a group of K_a[i, j] without i = j, shape (l, n, g).
    """

    def __init__(
        self, features: Sequence[Float[np.ndarray, "n _"]], groups: Int64[np.ndarray, " n"]
    ):
        self.groups, count, depth = groups, int(groups.max()) + 1, len(features)
        self.products = np.zeros((count, count, depth, depth))
        self.rows = np.zeros((depth, len(groups), count))
        placed = [_placed(x) for x in features]
        members = [np.flatnonzero(groups == group) for group in range(count)]
        for g, first in enumerate(members):
            for h, second in enumerate(members[: g + 1]):
                tile = np.stack([x[first] @ x[second].T for x in placed])
                if g == h:
                    tile[:, np.arange(len(first)), np.arange(len(first))] = 0.0
                flat = tile.reshape(depth, -1)
                self.products[g, h] = self.products[h, g] = flat @ flat.T
                self.rows[:, first, h] = tile.sum(axis=2)
                self.rows[:, second, g] = tile.sum(axis=1)

    def cka(self, keep: Bool[np.ndarray, " g"]) -> Float64[np.ndarray, "l l"]:
        """CKA among the rows of the groups kept.

        Raises:
            DataError: Fewer than four rows are kept.
        """
        inside = keep[self.groups]
        n = int(inside.sum())
        if n < 4:
            raise DataError(
                f"Expected at least 4 rows for unbiased CKA without any group, found {n}. "
                "Use more rows."
            )
        square = self.products[np.ix_(keep, keep)].sum(axis=(0, 1))
        rows = self.rows[:, inside][:, :, keep].sum(axis=2)
        total = rows.sum(axis=1)
        hsic = square + np.outer(total, total) / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows @ rows.T
        own = np.diag(hsic).copy()
        own[own <= 1e-13 * (np.diag(square) + total**2)] = np.nan
        scale = np.sqrt(own)
        values = hsic / np.outer(scale, scale)
        np.fill_diagonal(values, np.where(np.isnan(own), np.nan, 1.0))
        return np.clip(values, -1.0, 1.0)


def _placed(x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    """Centred rows in a unit near their largest entry, 0 where all are equal."""
    rows = finite_rows(x)
    placed = Frame.around(rows).place(rows)
    placed -= placed.mean(axis=0)
    placed[:, np.ptp(rows, axis=0) == 0] = 0.0
    return placed


def neighbour_map(near: Sequence[Nearest], groups: Int64[np.ndarray, " n"], *, k: int) -> MapValues:
    """Mutual nearest neighbour overlap between all pairs.

    Args:
        near: Neighbours of each block, with at least the largest group to spare.
        groups: Jackknife group of each row, from 0, shape (n,).
        k: Neighbours of a row.
    """
    n, count = len(groups), int(groups.max()) + 1
    whole = _overlap_matrix(near, np.ones(n, dtype=bool), k)
    parts = np.stack([_overlap_matrix(near, groups != group, k) for group in range(count)])
    return _with_interval(whole, parts, low=0.0)


def _overlap_matrix(
    near: Sequence[Nearest], keep: Bool[np.ndarray, " n"], k: int
) -> Float64[np.ndarray, "l l"]:
    members = [one.members(keep, k) for one in near]
    values = np.eye(len(near))
    for a, first in enumerate(members):
        for b, second in enumerate(members[:a]):
            values[a, b] = values[b, a] = overlaps(first, second, len(keep)).mean()
    return values


def _with_interval(
    whole: Float64[np.ndarray, "l l"], parts: Float64[np.ndarray, "g l l"], *, low: float
) -> MapValues:
    """The interval of `probes.drift.jackknife` for every cell, cut to [low, 1]."""
    g = len(parts)
    reach = quantile(g - 1) * np.sqrt((g - 1) * parts.var(axis=0))
    return whole, np.maximum(low, whole - reach), np.minimum(1.0, whole + reach)
