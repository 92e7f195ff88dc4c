"""Anisotropy: how much the rows of a representation point the same way.

The mean cosine between two different rows (Ethayarajh, How Contextual are Contextualized Word
Representations?, EMNLP 2019), of rows as they are and after the mean row is subtracted. A common
offset alone makes the first large; the second shows what is left without it.
"""

import numpy as np
from jaxtyping import Float, Float64

from degradation.errors import DataError
from probes.drift.sums import Frame, finite_rows

__all__ = ["anisotropy", "anisotropy_centred", "unit_rows"]


def anisotropy(x: Float[np.ndarray, "n d"]) -> float:
    """Mean cosine between two different rows, features as they are, in [-1, 1].

    With u the rows divided by their lengths: (|sum u|^2 - sum |u|^2) / (n (n - 1)). A row of zeros
    has cosine 0 with every row.

    Args:
        x: Features, shape (n, d).

    Raises:
        DataError: If there are fewer than 2 rows, or a feature is not finite.

    Example:
        >>> anisotropy(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])) == 1 / 3
        True
    """
    unit = unit_rows(_some_rows(x))
    n, total = len(unit), unit.sum(axis=0)
    found = (total @ total - np.square(unit).sum()) / (n * (n - 1))
    return float(np.clip(found, -1.0, 1.0))


def anisotropy_centred(x: Float[np.ndarray, "n d"]) -> float:
    """Mean cosine between two different rows after the mean row is subtracted; see `anisotropy`.

    About 0 where all directions are alike, and 0 where all rows are equal.
    """
    rows = _some_rows(x)
    rows = Frame.around(rows).place(rows)
    rows -= rows.mean(axis=0)
    rows[:, np.ptp(rows, axis=0) <= 1e-15] = 0.0  # rounding of a constant feature is no direction
    return anisotropy(rows)


def unit_rows(x: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    """Rows divided by their lengths, whatever their size; rows of zeros stay."""
    top = np.abs(x).max(axis=1, initial=0.0, keepdims=True)
    rows = x / np.where(top > 0, top, 1.0)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1.0)


def _some_rows(x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    if len(x) < 2:
        raise DataError(f"Expected at least 2 rows to compare, found {len(x)}. Use more rows.")
    return finite_rows(x)
