"""Orthogonal Procrustes distance: how far apart two sides are after the best rotation.

Both sides are centred and divided by their Frobenius norms; the largest inner product that any
orthogonal map reaches is the nuclear norm s = |X'Y|_* of what is left (Schoenemann 1966). The
angle arccos s is the normalised shape metric of Williams et al. (Generalized Shape Metrics on
Neural Representations, NeurIPS 2021), a true metric between 0 and 90 degrees; s^2 is the share of
the second side's variance that the first explains after a rotation and one scale. Where the widths
differ the narrower side is padded with zero columns, which leaves the singular values as they
are.

The angle is large for unrelated sides only where n is many times d: two random sides of few rows
align well. So it is read beside its value under shuffled rows, at the same n.
"""

import numpy as np
from jaxtyping import Float, Float64

from degradation.errors import DataError
from probes.drift.sums import FLAT, PairSums, chunks_of, stream_sums

__all__ = ["angle", "procrustes_angle", "procrustes_cosine", "procrustes_explained"]

ROUNDING = 1e-12
"""A cosine nearer to 1 than this is 1: its arc cosine would be 1e-4 degrees of rounding."""


def procrustes_angle(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"]) -> float:
    """Angle between the shapes of two sides, in degrees, 0 (same shape) to 90.

    Args:
        x: Features, shape (n, d).
        y: Features of the same rows, shape (n, e).

    Raises:
        DataError: If there are fewer than 2 rows, a feature is not finite, or a side is constant.

    Example:
        >>> x = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 3.0]])
        >>> procrustes_angle(x, 5 - 3 * x[:, ::-1])
        0.0
    """
    return angle(procrustes_cosine(stream_sums(chunks_of(x, y))))


def procrustes_explained(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"]) -> float:
    """Share of the variance of y that the best orthogonal map and scale of x explain, 0 to 1.

    It is the same with x and y exchanged. Arguments and errors as `procrustes_angle`.
    """
    return procrustes_cosine(stream_sums(chunks_of(x, y))) ** 2


def procrustes_cosine(sums: PairSums) -> float:
    """Cosine of the angle, from the sums of a pair; errors as `procrustes_angle`."""
    if sums.xx.flat or sums.yy.flat:
        raise DataError(FLAT.format(but=""))
    return _shape_cosine(sums.xy.centred, sums.xx.centred_norms[0], sums.yy.centred_norms[0])


def _shape_cosine(cross: Float64[np.ndarray, "d e"], first: float, second: float) -> float:
    """Cosine from centred sums: x y^T over rows, and the squared norms of both sides."""
    nuclear = float(np.linalg.svd(cross, compute_uv=False).sum())
    cosine = nuclear / np.sqrt(first) / np.sqrt(second)
    return 1.0 if cosine > 1 - ROUNDING else float(cosine)


def angle(cosine: float) -> float:
    """The angle of a cosine, in degrees."""
    return float(np.degrees(np.arccos(cosine)))
