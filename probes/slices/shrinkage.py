"""Many slices and few rows in each: how far they differ, and how bad the worst of them is.

Of many noisy deltas the lowest is low by luck too. The slices of one attribute are therefore taken
as a sample: delta_i ~ N(theta_i, v_i) with theta_i ~ N(mu, tau^2), the normal-normal model of
random effects. tau^2 is Paule and Mandel's (J. Res. Natl. Bur. Stand. 87, 1982, 377), the value at
which the weighted sum of squares equals its expectation k - 1; it assumes nothing about the shape
of the effects and is preferred to DerSimonian and Laird's by Veroniki et al. (Res. Synth. Methods
7, 2016, 55). Each slice is drawn towards mu by the share v_i / (v_i + tau^2).

That mu and tau^2 are estimated themselves is carried into the intervals. At the true tau^2 the
weighted sum of squares is chi-squared with k - 1 degrees of freedom, so a draw c of it and the
tau^2 at which the sum is c are a draw of what tau^2 may be (the Q-profile of Viechtbauer, Stat.
Med. 26, 2007, 37; Paule and Mandel's is that of the mean, c = k - 1). Each draw gives a mean and a
posterior of every theta, and the intervals are those of the mixture. A posterior does not depend on
why a slice is looked at (Dawid 1994; Senn, Stat. Med. 27, 2008, 1199), so the interval of the slice
that is named as the worst needs no further correction for having been picked.

Measured over 600 simulated worlds of 2 to 10 slices with tau from 0 to twice the error: 95 %
intervals held 92 to 99 % of the slices and the named worst one in 92 to 97 % of the worlds. The
lowest raw delta lay 0.3 to 1.7 errors below its truth on average, the shrunken delta of the named
slice between 0.3 below and 0.1 above. `tests/probes/slices/test_shrinkage.py` repeats part of it.

Slices that share clusters have errors that correlate a little; the model takes them as independent.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

__all__ = ["Shrunken", "cochran_q", "floored", "heterogeneity", "shrink"]

HALVINGS = 40
FLOOR = 1e-6
"""Least variance of a slice, as a share of the largest: one whose sides are equal has none."""


@dataclass(frozen=True, slots=True, eq=False)
class Shrunken:
    """The slices of one attribute under the random-effects model.

    Attributes:
        mean: mu, the precision-weighted mean of the slices.
        spread: tau, the standard deviation between slices.
        estimates: Shrunken deltas, shape (k,).
        low: Lower ends of their 95 % intervals, shape (k,).
        high: Upper ends, shape (k,).
        worst: Position of the slice with the lowest shrunken delta, of equals (tau = 0) the one
            with the lowest delta.
        p_worst: Posterior probability of each slice that its theta is the lowest, equals sharing
            it, shape (k,).
        lowest: Posterior median of the lowest theta, whichever slice has it.
        lowest_low: Lower end of its 95 % interval.
        lowest_high: Upper end.
    """

    mean: float
    spread: float
    estimates: Float64[np.ndarray, " k"]
    low: Float64[np.ndarray, " k"]
    high: Float64[np.ndarray, " k"]
    worst: int
    p_worst: Float64[np.ndarray, " k"]
    lowest: float
    lowest_low: float
    lowest_high: float


def floored(errors: Float64[np.ndarray, " k"]) -> Float64[np.ndarray, " k"]:
    """Variances of standard errors, none of them 0 unless all are.

    Example:
        >>> floored(np.array([2.0, 0.0])).tolist()
        [4.0, 4e-06]
    """
    variances = errors**2
    return np.maximum(variances, FLOOR * variances.max())


def cochran_q(
    values: Float64[np.ndarray, "*#b k"], variances: Float64[np.ndarray, "*#b k"]
) -> Float64[np.ndarray, "*b"] | np.floating:
    """Cochran's Q: the squared distances from the weighted mean, in variances, summed over slices.

    It has k - 1 degrees of freedom where the slices do not differ.

    Example:
        >>> float(cochran_q(np.array([0.0, 2.0]), np.array([1.0, 1.0])))
        2.0
    """
    weights = 1 / variances
    mean = (values * weights).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)
    return ((values - mean) ** 2 * weights).sum(-1)


def heterogeneity(
    values: Float64[np.ndarray, " k"],
    variances: Float64[np.ndarray, " k"],
    targets: Float64[np.ndarray, " b"],
) -> Float64[np.ndarray, " b"]:
    """tau^2 at which Q with weights 1 / (v_i + tau^2) is each target; 0 where it is lower at 0.

    With the target k - 1 this is Paule and Mandel's estimate. Q falls as tau^2 grows and is at most
    (sum of squares) / tau^2, which bounds the root; halving finds it.

    Example:
        >>> heterogeneity(np.array([0.0, 4.0]), np.array([1.0, 1.0]), np.array([1.0])).round(6)
        array([7.])
    """
    low = np.zeros(len(targets))
    high = ((values - values.mean()) ** 2).sum() / targets
    reached = cochran_q(values, variances) > targets
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        above = cochran_q(values, variances + middle[:, None]) > targets
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(reached, (low + high) / 2, 0.0)


def shrink(
    values: Float64[np.ndarray, " k"],
    variances: Float64[np.ndarray, " k"],
    *,
    draws: int,
    rng: np.random.Generator,
) -> Shrunken:
    """Shrunken deltas of k slices, at least two, with intervals, and the worst of them.

    Args:
        values: Deltas, shape (k,).
        variances: Their variances, shape (k,); all 0 where nothing changed in any slice, else
            positive, as `floored` makes them.
        draws: Draws behind the intervals.
        rng: Source of the draws.

    Example:
        >>> found = shrink(
        ...     np.array([-9.0, 0.0, 1.0, 2.0]), np.full(4, 4.0), draws=500,
        ...     rng=np.random.default_rng(0),
        ... )
        >>> found.worst, bool(-9 < found.estimates[0] < found.mean)
        (0, True)
    """
    if not variances.any():
        return _exact(values)
    k = len(values)
    square = heterogeneity(values, variances, np.array([k - 1.0]))
    mean, _ = _mean(values, variances, square)
    estimates, _ = _posterior(values, variances, mean, square)
    squares = heterogeneity(values, variances, rng.chisquare(k - 1, draws))
    means = rng.normal(*_mean(values, variances, squares))
    theta = rng.normal(*_posterior(values, variances, means, squares))
    low, high = np.quantile(theta, (0.025, 0.975), axis=0)
    least = theta == theta.min(axis=1, keepdims=True)  # all slices, in draws where tau is 0
    lowest_low, lowest, lowest_high = np.quantile(theta.min(1), (0.025, 0.5, 0.975))
    return Shrunken(
        mean=float(mean[0]),
        spread=float(np.sqrt(square[0])),
        estimates=estimates[0],
        low=low,
        high=high,
        worst=int(np.lexsort((values, estimates[0]))[0]),
        p_worst=(least / least.sum(axis=1, keepdims=True)).mean(axis=0),
        lowest=float(lowest),
        lowest_low=float(lowest_low),
        lowest_high=float(lowest_high),
    )


def _exact(values: Float64[np.ndarray, " k"]) -> Shrunken:
    """Deltas without any error, as those of a pair of equal encoders."""
    least = float(values.min())
    lowest = values == least
    return Shrunken(
        mean=float(values.mean()),
        spread=float(values.std()),
        estimates=values,
        low=values,
        high=values,
        worst=int(values.argmin()),
        p_worst=lowest / lowest.sum(),
        lowest=least,
        lowest_low=least,
        lowest_high=least,
    )


def _mean(
    values: Float64[np.ndarray, " k"],
    variances: Float64[np.ndarray, " k"],
    squares: Float64[np.ndarray, " b"],
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, " b"]]:
    """The precision-weighted mean under each tau^2, and its standard error."""
    weights = 1 / (variances + squares[:, None])
    total = weights.sum(1)
    return (weights @ values) / total, 1 / np.sqrt(total)


def _posterior(
    values: Float64[np.ndarray, " k"],
    variances: Float64[np.ndarray, " k"],
    means: Float64[np.ndarray, " b"],
    squares: Float64[np.ndarray, " b"],
) -> tuple[Float64[np.ndarray, "b k"], Float64[np.ndarray, "b k"]]:
    """Mean and standard deviation of each theta, given mu and tau^2."""
    share = variances / (variances + squares[:, None])
    return share * means[:, None] + (1 - share) * values, np.sqrt((1 - share) * variances)
