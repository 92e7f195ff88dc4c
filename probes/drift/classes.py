"""Where the classes lie: the angle between class subspaces, and the class signal by component.

**Class subspaces.** The span of a side's centred class means has c - 1 dimensions. Those of two
sides lie in different spaces, so they are compared where both are at home, over the rows: a side's
rows are projected on its own span, and the principal angles between the two sets of n scores
(Bjoerck and Golub 1973) are the canonical correlations of these scores. An angle of 0 means that
some contrast of classes orders the rows on one side as some contrast does on the other. Rotation,
scale and shift of a side change nothing; stretching a direction does, as it turns the span.

**Class signal.** Along each principal component the scatter of the class means, less what
chance puts there, as a share of its sum over components: whether the signal sits in the large
components or in the tail. Chance is not small: means of c classes of n rows differ along a
component of variance v by about (c - 1) v even if the classes are the same. It is estimated from
the sums of residuals by cluster, so rows of one cluster may resemble each other; where every row is
a cluster of its own and classes are of one size, it is the numerator of Hays' omega squared.
"""

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.sparse import csr_array

from degradation.errors import DataError
from probes.drift.spectrum import principal_axes
from probes.drift.sums import FLAT, PairSums, chunks_of, stream_sums

__all__ = [
    "Signal",
    "canonical_cosines",
    "class_angles",
    "class_means",
    "class_shares",
    "class_signal",
    "class_subspace",
    "class_top",
    "class_variance",
    "fisher_top",
]

ROUNDING = 1e-10
"""Directions of class means below this share of the largest are none."""
ROWS_A_COMPONENT = 2
"""Fewer rows for each component than this, and variances in the tail are too small to divide by."""

Signal = tuple[Float64[np.ndarray, " r"], Float64[np.ndarray, " r"]]
"""Scatter of the labelled rows, and of the class means less chance, along each component."""


def class_subspace(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"], labels: Int64[np.ndarray, " n"]
) -> float:
    """Mean squared cosine of the principal angles between the class subspaces, 0 to 1.

    Args:
        x: Features, shape (n, d).
        y: Features of the same rows, shape (n, e).
        labels: Class of each row, shape (n,); rows with -1 take part in the correlations only.

    Raises:
        DataError: If there are fewer than 2 classes, a feature is not finite, or a side is constant
            or has equal class means.
    """
    return float((canonical_cosines_of(x, y, labels) ** 2).mean())


def class_angles(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"], labels: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " a"]:
    """The principal angles in degrees, smallest first; see `class_subspace`."""
    return np.degrees(np.arccos(canonical_cosines_of(x, y, labels)))


def canonical_cosines_of(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"], labels: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " a"]:
    """`canonical_cosines` of features; see `class_subspace`."""
    sums = stream_sums(chunks_of(x, y))
    means = [
        class_means(frame.place(side.astype(np.float64)), labels)
        for frame, side in ((sums.x, x), (sums.y, y))
    ]
    return canonical_cosines(sums, *means)


def class_means(
    rows: Float64[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, "c d"]:
    """Means of the classes that occur, less their own mean, shape (c, d).

    Raises:
        DataError: If there are fewer than 2.
    """
    known = _known_classes(labels)
    means = np.stack([rows[labels == one].mean(axis=0) for one in known])
    return means - means.mean(axis=0)


def _known_classes(labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " c"]:
    """The classes that occur.

    Raises:
        DataError: If there are fewer than 2.
    """
    known = np.unique(labels[labels >= 0])
    if len(known) < 2:
        raise DataError(
            f"Expected rows of at least 2 classes, found {len(known)}. Use more rows, or leave the "
            "class measures out."
        )
    return known


def canonical_cosines(
    sums: PairSums, x_means: Float64[np.ndarray, "c d"], y_means: Float64[np.ndarray, "c e"]
) -> Float64[np.ndarray, " a"]:
    """Cosines of the principal angles, largest first; 0 for dimensions that one side lacks.

    Args:
        sums: Of all rows.
        x_means: Centred class means of the first side, shape (c, d).
        y_means: Those of the second side, shape (c, e).

    Raises:
        DataError: If a side is constant or has equal class means.
    """
    if sums.xx.flat or sums.yy.flat:
        raise DataError(FLAT.format(but=""))
    spans = [_span(means) for means in (x_means, y_means)]
    whitened = [
        span @ _inverse_root(span.T @ own.centred @ span)
        for span, own in zip(spans, (sums.xx, sums.yy), strict=True)
    ]
    cosines = np.linalg.svd(whitened[0].T @ sums.xy.centred @ whitened[1], compute_uv=False)
    cosines = np.where(cosines > 1 - 1e-12, 1.0, cosines)  # an arc cosine doubles lost digits
    return np.pad(cosines, (0, max(span.shape[1] for span in spans) - len(cosines)))


def _span(means: Float64[np.ndarray, "c d"]) -> Float64[np.ndarray, "d r"]:
    """Orthonormal basis of the span of the class means."""
    _, size, basis = np.linalg.svd(means, full_matrices=False)
    if size[0] <= 1e-14:
        raise DataError(
            "Expected class means that differ, found them equal: there is no class subspace. "
            "Measure another block."
        )
    return basis[size > ROUNDING * size[0]].T


def _inverse_root(scatter: Float64[np.ndarray, "r r"]) -> Float64[np.ndarray, "r s"]:
    """A matrix w with w^T scatter w = 1."""
    size, axes = np.linalg.eigh(scatter)
    above = size > ROUNDING * size[-1]
    return axes[:, above] / np.sqrt(size[above])


def class_variance(
    x: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], clusters: np.ndarray
) -> float:
    """Share of the variance that lies between classes, less chance; at most 1, about 0 for none.

    Args:
        x: Features, shape (n, d).
        labels: Class of each row, shape (n,), -1 where unknown.
        clusters: Cluster of each row, shape (n,).

    Raises:
        DataError: If there are not more clusters than classes, fewer than 2 classes, a feature is
            not finite, or all rows are equal.
    """
    scatter, between = _signal_of(x, labels, clusters)
    return float(between.sum() / scatter.sum())


def class_top(
    x: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], clusters: np.ndarray, k: int
) -> float:
    """Share of the between-class scatter in the k largest components; NaN if there is none.

    Arguments and errors as `class_variance`.
    """
    return float(class_shares(_signal_of(x, labels, clusters))[0][: k + 1][-1])


def fisher_top(
    x: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], clusters: np.ndarray, k: int
) -> float:
    """Share of the Fisher ratio in the k largest components; NaN if there is none.

    The Fisher ratio of a component is the between-class scatter along it over all its scatter, so a
    clear signal counts however small the component. It needs two rows for each component.
    Arguments and errors as `class_variance`.
    """
    return float(class_shares(_signal_of(x, labels, clusters), n=len(x))[1][: k + 1][-1])


def class_shares(
    signal: Signal, n: int = 0
) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Running shares of class scatter and of the Fisher ratio in the first 0, 1, ... r components.

    Args:
        signal: By component, largest first.
        n: Rows behind it; the Fisher ratio is NaN if they are too few for its components.
    """
    scatter, between = signal
    ratio = between / scatter if n >= ROWS_A_COMPONENT * len(scatter) else np.zeros(len(scatter))
    return _running(between), _running(ratio)


def _running(part: Float64[np.ndarray, " r"]) -> Float64[np.ndarray, " m"]:
    """Running shares from 0; NaN where the sum is not positive."""
    total = part.sum()
    return np.concatenate([[0.0], part.cumsum()]) / (total if total > 0 else np.nan)


def class_signal(
    scores: Float64[np.ndarray, "n r"], labels: Int64[np.ndarray, " n"], clusters: np.ndarray
) -> Signal:
    """Scatter of the labelled rows and of their class means less chance, along each component.

    Chance: a class mean of n_c rows is off by e_c, the sum over clusters of residuals over n_c.
    The expected sum of n_c (e_c - e)^2 follows from the squares of these sums, times g / (g - c)
    for the c means fitted to g clusters.

    Args:
        scores: Rows along the principal components, shape (n, r).
        labels: Class of each row, shape (n,), -1 where unknown.
        clusters: Cluster of each row, shape (n,).

    Raises:
        DataError: If there are not more clusters than classes, or fewer than 2 classes.
    """
    classes = _known_classes(labels)
    known = labels >= 0
    rows, label = scores[known], np.searchsorted(classes, labels[known])
    member = np.unique(np.asarray(clusters)[known].astype(str), return_inverse=True)[1]
    g, c, n = int(member.max()) + 1, len(classes), len(rows)
    if g <= c:
        raise DataError(
            f"Expected more clusters than classes, found {g} clusters and {c} classes. Use more "
            "pictures."
        )
    sizes = np.bincount(label)
    means = _sums_by(label, rows) / sizes[:, None]
    rows = rows - rows.mean(axis=0)
    between = (sizes[:, None] * (means - means.T @ (sizes / n)) ** 2).sum(axis=0)
    residuals = rows - (_sums_by(label, rows) / sizes[:, None])[label]
    cells, cell = np.unique(member * c + label, return_inverse=True)
    by_cell = _sums_by(cell, residuals)
    own = (by_cell**2 / sizes[cells % c, None]).sum(axis=0)
    shared = (_sums_by(cells // c, by_cell) ** 2).sum(axis=0) / n
    return (rows**2).sum(axis=0), between - g / (g - c) * (own - shared)


def _sums_by(
    member: Int64[np.ndarray, " n"], rows: Float64[np.ndarray, "n r"]
) -> Float64[np.ndarray, "m r"]:
    """Sums of the rows of each member, from 0."""
    place = (member, np.arange(len(member)))
    return csr_array((np.ones(len(member)), place)) @ rows


def _signal_of(
    x: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], clusters: np.ndarray
) -> Signal:
    sums = stream_sums(chunks_of(x, x))
    rows = sums.x.place(x.astype(np.float64))
    return class_signal(rows @ principal_axes(sums.xx)[1], labels, clusters)
