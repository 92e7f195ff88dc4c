"""Maps from the features after to those before, fitted on rows without their labels.

Two kinds. `orthogonal`: x -> s (x - mean) Q + mean', the least-squares rotation (with reflections)
and one scale s (Procrustes; Schoenemann, Psychometrika 31, 1966). Where the widths differ Q has
orthonormal rows or columns, as if the narrower side were filled with zeros. `affine`: ridge
regression of the z-scored features before on those after; the ridge is the one that rebuilds
held-out rows best.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

__all__ = ["AffineMap", "affine_map", "explained", "orthogonal_map", "standardise"]

RIDGES = tuple(float(10.0**k) for k in range(-8, 3))
"""Ridges tried, in units of the variance of a z-scored feature."""

Rows = Int64[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, eq=False)
class AffineMap:
    """x -> (x - source) matrix + target.

    Attributes:
        source: Shape (d,).
        matrix: Shape (d, p).
        target: Shape (p,).
        scale: Of an orthogonal map; None for an affine one.
        ridge: Of an affine map; None for an orthogonal one.
    """

    source: Float64[np.ndarray, " d"]
    matrix: Float64[np.ndarray, "d p"]
    target: Float64[np.ndarray, " p"]
    scale: float | None = None
    ridge: float | None = None

    def __call__(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n p"]:
        """The mapped features."""
        return (x.astype(np.float64) - self.source) @ self.matrix + self.target


def standardise(
    x: Float[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, " d"], Float64[np.ndarray, " d"]]:
    """Mean and one over the deviation of each feature; 0 for a constant one."""
    wide = x.astype(np.float64)
    deviation = wide.std(axis=0)
    constant = (x.max(axis=0) == x.min(axis=0)) | (deviation == 0)
    return wide.mean(axis=0), np.where(constant, 0.0, 1 / np.where(constant, 1.0, deviation))


def orthogonal_map(post: Float[np.ndarray, "n d"], pre: Float[np.ndarray, "n p"]) -> AffineMap:
    """The rotation and the scale that bring the features after nearest to those before.

    With U S V^T the singular value decomposition of the cross-product of the centred features,
    Q = U V^T and s = sum S / ||post||^2.

    Example:
        >>> x = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
        >>> bool(np.allclose(orthogonal_map(3 * x[:, ::-1], x)(3 * x[:, ::-1]), x))
        True
    """
    source, target = post.mean(axis=0, dtype=np.float64), pre.mean(axis=0, dtype=np.float64)
    centred = post - source
    u, strengths, v = np.linalg.svd(centred.T @ (pre - target), full_matrices=False)
    size = float((centred**2).sum())
    scale = float(strengths.sum()) / size if size > 0 else 1.0
    return AffineMap(source, scale * (u @ v), target, scale=scale)


def affine_map(
    post: Float[np.ndarray, "n d"],
    pre: Float[np.ndarray, "n p"],
    trials: Sequence[tuple[Rows, Rows]],
    train: Rows,
) -> AffineMap:
    """The affine map that rebuilds held-out features before from those after.

    Args:
        post: Features of all rows after.
        pre: The same before.
        trials: Pairs (fitted, held out) that choose the ridge.
        train: Rows of the final fit.
    """
    errors = np.zeros(len(RIDGES))
    for fit, held in trials:
        own = standardise(pre[fit])
        truth = (pre[held] - own[0]) * own[1]
        for k, found in enumerate(_ridge_path(post[fit], pre[fit], RIDGES)):
            errors[k] += (((found(post[held]) - own[0]) * own[1] - truth) ** 2).sum()
    ridge = RIDGES[int(np.argmin(errors))]
    return _ridge_path(post[train], pre[train], [ridge])[0]


def _ridge_path(
    post: Float[np.ndarray, "n d"], pre: Float[np.ndarray, "n p"], ridges: Sequence[float]
) -> list[AffineMap]:
    """One map a ridge, from one eigendecomposition."""
    (source, shrink), (target, _) = standardise(post), standardise(pre)
    z = (post - source) * shrink
    spread, axes = np.linalg.eigh(z.T @ z / len(z))
    crossed = axes.T @ (z.T @ (pre - target)) / len(z)
    spread = np.maximum(spread, 0)
    return [
        AffineMap(
            source,
            shrink[:, None] * (axes @ (crossed / (spread + ridge)[:, None])),
            target,
            ridge=ridge,
        )
        for ridge in ridges
    ]


def explained(
    truth: Float[np.ndarray, "n p"],
    found: Float[np.ndarray, "n p"],
    centre: Float[np.ndarray, " p"],
    directions: Float[np.ndarray, "p r"] | None = None,
) -> float:
    """R^2: one minus the squared error over the squared distance from the centre.

    Args:
        truth: What was to be rebuilt.
        found: What was rebuilt.
        centre: Mean of the rows of the fit.
        directions: Orthonormal; only what lies along them counts. All where absent.

    Returns:
        1 at best; NaN where the truth does not vary.
    """
    error, spread = truth - found, truth - centre
    if directions is not None:
        error, spread = error @ directions, spread @ directions
    total = float((spread.astype(np.float64) ** 2).sum())
    return 1 - float((error.astype(np.float64) ** 2).sum()) / total if total > 0 else float("nan")
