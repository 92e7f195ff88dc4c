"""Tests of paired differences and corrections for many of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from scipy.stats import binom
from scipy.stats import t as student

__all__ = ["benjamini_hochberg", "holm", "mcnemar_exact", "tost"]


def mcnemar_exact(broken: int, fixed: int) -> float:
    """Two-sided exact p that the rows that changed were as likely to break as to be fixed.

    Under the null, `broken` is binomial(broken + fixed, 1/2); p = min(1, 2 P(X <= min)). Rows are
    taken as independent: with several rows a cluster, prefer the bootstrap's p.

    Args:
        broken: Rows right before and wrong after.
        fixed: Rows wrong before and right after.

    Example:
        >>> mcnemar_exact(5, 0)
        0.0625
    """
    return min(1.0, 2.0 * float(binom.cdf(min(broken, fixed), broken + fixed, 0.5)))


def tost(value: float, se: float, dof: float, margin: float) -> float:
    """The p of equivalence: that a delta lies at or beyond the margin (Schuirmann 1987).

    The larger of two one-sided p, of a delta at -margin and at +margin. It is at most 5 % exactly
    where the 90 % interval from the same t lies within [-margin, margin].

    Args:
        value: The delta.
        se: Its standard error, in the same unit.
        dof: Degrees of freedom of the standard error.
        margin: Half the width of what is too small to matter.

    Example:
        >>> round(tost(0.0, 1.0, 1e9, 2.0), 4)
        0.0228
    """
    room = margin - abs(value)
    if se == 0:
        return 0.0 if room >= 0 else 1.0
    return float(student.sf(room / se, dof))


def holm(p: Sequence[float]) -> Float64[np.ndarray, " m"]:
    """Adjusted p by Holm's step-down: comparing them with alpha keeps the family-wise error.

    The i-th smallest (from 0) becomes the running maximum of (m - i) p, at most 1.

    Example:
        >>> holm([0.01, 0.04]).tolist()
        [0.02, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    return np.minimum(adjusted, 1.0)


def benjamini_hochberg(p: Sequence[float]) -> Float64[np.ndarray, " m"]:
    """Adjusted p (q-values) by Benjamini and Hochberg's step-up: keeps the false discovery rate.

    The i-th smallest (from 1) becomes the running minimum from the right of m p / i, at most 1.

    Example:
        >>> benjamini_hochberg([0.01, 0.04]).tolist()
        [0.02, 0.04]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")[::-1]
    m = len(values)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum.accumulate(values[order] * m / np.arange(m, 0, -1))
    return np.minimum(adjusted, 1.0)
