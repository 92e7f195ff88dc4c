"""Least-squares concept erasure (LEACE; Belrose et al. 2023, arXiv 2306.03819).

The smallest affine change of features after which no linear classifier of the concept beats the
constant one, on the data of the fit.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Num

from degradation.errors import DataError

__all__ = ["Eraser", "fit_eraser", "fit_sign_axis"]


class Eraser(NamedTuple):
    """The erasing map x -> x - u v (x - mean), in factors of rank r.

    Attributes:
        u: Directions that are removed from the features, shape (d, r).
        v: Readouts of the concept; v (x - mean) has identity covariance, shape (r, d).
        mean: Mean of the features, shape (d,).
    """

    u: Float64[np.ndarray, "d r"]
    v: Float64[np.ndarray, "r d"]
    mean: Float64[np.ndarray, "d"]


def fit_eraser(x: Num[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]) -> Eraser:
    """The eraser of a concept with c classes; its rank r is at most c - 1.

    With W the pseudo-inverse square root of the covariance of x and B an orthonormal basis of the
    columns of W Cov(x, one-hot labels): u = W^+ B and v = B^T W.

    Args:
        x: Features, shape (n, d).
        labels: Class of each sample, shape (n,).

    Raises:
        DataError: There are fewer samples than dimensions, one class only, or a value is not
            finite.
    """
    x = x.astype(np.float64)
    classes = np.unique(labels)
    n, width = x.shape
    if n <= width or len(classes) < 2 or not np.isfinite(x).all():
        raise DataError(
            f"Erasing a concept needs more samples than the {width} dimensions, two classes and "
            f"finite features, but there are {n} samples of {len(classes)} classes, "
            f"{int((~np.isfinite(x)).sum())} values not finite. Fit on more rows."
        )
    mean = x.mean(axis=0)
    centred = x - mean
    one_hot = (labels[:, None] == classes).astype(np.float64)
    crossed = centred.T @ (one_hot - one_hot.mean(axis=0)) / n
    variances, axes = np.linalg.eigh(centred.T @ centred / n)
    kept = variances > variances[-1] * width * np.finfo(np.float64).eps
    axes, deviations = axes[:, kept], np.sqrt(variances[kept])

    # Everything between here and the result happens in whitened coordinates (columns of axes).
    basis, strengths, _ = np.linalg.svd((axes / deviations).T @ crossed, full_matrices=False)
    # One-hot labels sum to 1, so the last of c directions is 0 up to rounding.
    rank = min(len(classes) - 1, int((strengths > strengths[0] * 1e-10).sum()))
    basis = basis[:, :rank]
    return Eraser(u=(axes * deviations) @ basis, v=(axes / deviations @ basis).T, mean=mean)


def fit_sign_axis(
    x: Num[np.ndarray, "n d"], eraser: Eraser
) -> tuple[Float64[np.ndarray, "d"], float]:
    """Where a sign can be written at the least cost to the features, and how large.

    Args:
        x: Features of the fit, shape (n, d).
        eraser: Eraser of the concept that the sign must not touch.

    Returns:
        The unit direction of smallest variance among those orthogonal to the eraser's u and v,
        shape (d,); and the root mean square of the features' standard deviations, so that the
        sign is as large as one average dimension.

    Raises:
        DataError: The concept leaves no direction free.
    """
    concept = np.concatenate([eraser.u, eraser.v.T], axis=1)
    directions, strengths, _ = np.linalg.svd(concept / np.linalg.norm(concept, axis=0))
    free = directions[:, int((strengths > 1e-10).sum()) :]
    if not free.shape[1]:
        raise DataError(
            f"Folding a concept of rank {eraser.v.shape[0]} needs more than {len(free)} "
            "dimensions. Use a wider encoder or fewer classes."
        )
    covariance = np.cov(x.astype(np.float64), rowvar=False, bias=True)
    _, axes = np.linalg.eigh(free.T @ covariance @ free)
    return free @ axes[:, 0], float(np.sqrt(np.trace(covariance) / len(covariance)))
