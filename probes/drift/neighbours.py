"""Mutual nearest neighbours: how many of a row's k nearest rows are the same on both sides.

Huh et al. (The Platonic Representation Hypothesis, ICML 2024): the share of a row's k nearest
neighbours by cosine similarity (features as they are, not centred) that are also among its k
nearest on the other side, averaged over rows. Two unrelated sides share k / (n - 1).

Ties are not broken: every row as near as the k-th counts as a neighbour, and the overlap of a row
is the size of the intersection over that of the larger set. So the order of rows does not matter,
equal sides overlap by exactly 1, and a side that cannot tell rows apart scores the chance level.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from degradation.errors import DataError
from probes.drift.anisotropy import unit_rows
from probes.drift.sums import finite_rows

__all__ = ["NEIGHBOURS", "Nearest", "chance", "mutual_knn", "nearest", "overlaps"]

NEIGHBOURS = 10
"""k of Huh et al."""
TIED = 1e-9
"""Cosines that differ by less are equal: rounding parts those of equal rows by some 1e-16."""

Members = Int64[np.ndarray, " _"]
"""Neighbourhoods of n rows as sorted numbers row * n + neighbour."""


def mutual_knn(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"], *, k: int = NEIGHBOURS
) -> float:
    """Mean overlap of neighbourhoods, 0 to 1; its chance level is `chance(n, k)`.

    Args:
        x: Features, shape (n, d).
        y: Features of the same rows, shape (n, e).
        k: Neighbours of a row.

    Raises:
        DataError: If there are not more than k + 1 rows, or a feature is not finite.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> mutual_knn(x, x[::-1], k=1), mutual_knn(x, x[[0, 2, 1, 3]], k=1)
        (1.0, 0.0)
    """
    keep = np.ones(len(x), dtype=bool)
    first, second = (nearest(side, k=k).members(keep, k) for side in (x, y))
    return float(overlaps(first, second, len(x)).mean())


def chance(n: int, k: int) -> float:
    """Expected overlap of unrelated sides of n rows: k / (n - 1)."""
    return k / (n - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The nearest rows of each row of one side, nearest first, enough to leave some rows out.

    Attributes:
        index: Positions, shape (n, m).
        cosine: Their similarities, not increasing along a row, shape (n, m).
    """

    index: Int64[np.ndarray, "n m"]
    cosine: Float64[np.ndarray, "n m"]

    def members(self, keep: Bool[np.ndarray, " n"], k: int) -> Members:
        """Neighbourhoods among the rows kept, of the rows kept."""
        n, kept = len(self.index), keep[self.index]
        place = kept.cumsum(axis=1)
        last = self.cosine[np.arange(n), (place >= k).argmax(axis=1)]
        near = kept & keep[:, None] & (self.cosine >= last[:, None] - TIED)
        row, column = np.nonzero(near)
        return np.sort(row * n + self.index[row, column])


def nearest(x: Float[np.ndarray, "n d"], *, k: int = NEIGHBOURS, spare: int = 0) -> Nearest:
    """The nearest rows of each row by cosine, n x n in memory for the moment.

    Args:
        x: Features, shape (n, d). A row of zeros has cosine 0 with every row.
        k: Neighbours of a row.
        spare: Rows that may be left out later.

    Raises:
        DataError: If there are not more than k + 1 rows besides the spare ones, or a feature is not
            finite.
    """
    n = len(x)
    if n - spare <= k + 1:
        raise DataError(
            f"Expected more than {k + 1} rows for {k} neighbours, found {n - spare}. Use more rows "
            "or fewer neighbours."
        )
    unit = unit_rows(finite_rows(x))
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    m = min(n - 1, k + spare)
    value = np.partition(cosine, n - m, axis=1)[:, n - m, None] - TIED
    # Lists are as long as the longest of them, so that none ends within a tie.
    m = min(n - 1, int((cosine >= value).sum(axis=1).max()))
    index = np.argpartition(cosine, n - m, axis=1)[:, n - m :]
    found = np.take_along_axis(cosine, index, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return Nearest(
        np.take_along_axis(index, order, axis=1), np.take_along_axis(found, order, axis=1)
    )


def overlaps(first: Members, second: Members, n: int) -> Float64[np.ndarray, " r"]:
    """Overlap of each row that has neighbours, in order, of two sides of n rows."""
    both = np.bincount(np.intersect1d(first, second, assume_unique=True) // n, minlength=n)
    size = np.maximum(*(np.bincount(one // n, minlength=n) for one in (first, second)))
    return both[size > 0] / size[size > 0]
