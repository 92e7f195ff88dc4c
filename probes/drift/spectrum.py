"""How many directions a representation uses.

From the singular values s of the features (n, d), or the variances v = s^2, of rows that are
centred or are taken as they are:

    effective rank        exp of the entropy of s / sum s (Roy and Vetterli, EUSIPCO 2007)
    RankMe                the same of rows as they are, with 1e-7 added to each share after
                          normalising (Garrido et al., ICML 2023, equation 1)
    participation ratio   (sum v)^2 / sum v^2

All lie in [1, min(n, d)] and all grow with n: compare sides on the same rows only.
"""

import numpy as np
from jaxtyping import Float, Float64

from degradation.errors import DataError
from probes.drift.sums import (
    FLAT,
    CrossSums,
    Frame,
    PairSums,
    chunks_of,
    finite_rows,
    stream_sums,
)

__all__ = [
    "Axes",
    "effective_rank",
    "effective_rank_uncentred",
    "entropy_rank",
    "participation",
    "participation_ratio",
    "participation_ratio_uncentred",
    "principal_axes",
    "rankme",
    "singular_values",
    "top_variance",
]

RANKME_EPSILON = 1e-7

Axes = tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, "d r"]]
"""Scatter (n times the variance) along each principal component, largest first, and the components
as columns; only the r that are above rounding."""


def effective_rank(x: Float[np.ndarray, "n d"]) -> float:
    """Roy and Vetterli's effective rank of centred features.

    Args:
        x: Features, shape (n, d).

    Raises:
        DataError: If there are fewer than 2 rows, a feature is not finite, or all rows are equal.

    Example:
        >>> round(effective_rank(np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])), 6)
        2.0
    """
    return entropy_rank(np.sqrt(_axes(x)[0]))


def effective_rank_uncentred(x: Float[np.ndarray, "n d"]) -> float:
    """Roy and Vetterli's effective rank of features as they are; see `effective_rank`."""
    return entropy_rank(_raw_singular_values(x))


def rankme(x: Float[np.ndarray, "n d"]) -> float:
    """RankMe of features as they are; see `effective_rank`."""
    return entropy_rank(_raw_singular_values(x), size=min(x.shape), epsilon=RANKME_EPSILON)


def participation_ratio(x: Float[np.ndarray, "n d"]) -> float:
    """Participation ratio of centred features; see `effective_rank`."""
    return participation(_axes(x)[0])


def participation_ratio_uncentred(x: Float[np.ndarray, "n d"]) -> float:
    """Participation ratio of features as they are; see `effective_rank`."""
    return participation(_raw_singular_values(x) ** 2)


def top_variance(x: Float[np.ndarray, "n d"], k: int) -> float:
    """Share of the variance in the k largest principal components; see `effective_rank`."""
    scatter = _axes(x)[0]
    return float(scatter[:k].sum() / scatter.sum())


def entropy_rank(
    singular: Float64[np.ndarray, " r"], *, size: int = 0, epsilon: float = 0.0
) -> float:
    """Exponential of the entropy of shares of singular values; `size` counts the zero ones too."""
    share = singular / singular.sum()
    share = np.pad(share, (0, max(0, size - len(share)))) + epsilon
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


def participation(scatter: Float64[np.ndarray, " r"]) -> float:
    """(sum v)^2 / sum v^2."""
    share = scatter / scatter.sum()
    return float(1 / np.square(share).sum())


def principal_axes(sums: CrossSums) -> Axes:
    """Principal components of one side, from its sums with itself.

    Components whose scatter is below max(n, d) eps of the largest are rounding and left out.

    Raises:
        DataError: If all rows are equal.
    """
    if sums.flat:
        raise DataError(FLAT.format(but=""))
    scatter, components = np.linalg.eigh(sums.centred)
    scatter, components = scatter[::-1], components[:, ::-1]
    above = scatter > max(sums.n, len(scatter)) * np.finfo(np.float64).eps * scatter[0]
    return scatter[above], components[:, above]


def singular_values(axes: Axes, sums: CrossSums, frame: Frame) -> Float64[np.ndarray, " m"]:
    """Singular values of the rows as they are: those of the centred ones with the mean put back.

    Computed from a matrix with the same Gram matrix, not from the Gram matrix itself, in which a
    large mean would drown the rest.
    """
    scatter, components = axes
    mean = frame.origin + sums.a / sums.n
    along = components.T @ mean
    beside = np.linalg.norm(mean - components @ along)
    stacked = np.zeros((len(scatter) + 1, len(scatter) + 1))
    stacked[:-1, :-1] = np.diag(np.sqrt(scatter))
    stacked[-1] = np.sqrt(sums.n) * np.append(along, beside)
    found = np.linalg.svd(stacked, compute_uv=False)
    return found[found > found[0] * len(stacked) * np.finfo(np.float64).eps]


def _axes(x: Float[np.ndarray, "n d"]) -> Axes:
    return principal_axes(_own_sums(x).xx)


def _raw_singular_values(x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, " m"]:
    sums = _own_sums(x)
    return singular_values(principal_axes(sums.xx), sums.xx, sums.x)


def _own_sums(x: Float[np.ndarray, "n d"]) -> PairSums:
    if len(x) < 2:
        raise DataError(f"Expected at least 2 rows for a spectrum, found {len(x)}. Use more rows.")
    rows = finite_rows(x)
    return stream_sums(chunks_of(rows, rows))
