"""The interval of every record: Student's t on the cluster jackknife, made fit for few clusters.

A number x with jackknife influences u_i of its g clusters gets the interval x +/- t se, with

    se^2 = g / (g - 1) (S2 + c h^2),  S2 = sum u^2,  S4 = sum u^4
    dof  = sqrt(k (g - 1)),  k = 2 / (S4 / S2^2 - 1 / g)

k is the Satterthwaite degrees of freedom of S2 by the kurtosis of the influences themselves: g - 1
for normal ones, few where a few large clusters, or a few that changed at all, carry the variance.
Of a heavy tail it says too few, of a sample that missed the tail too many; the geometric mean with
g - 1 kept coverage closest to its level in docs/calibration.md. p values and the 90 % interval come
from the same t, so the three cannot disagree.

Where an outcome is right or wrong and few clusters changed, the changes seen say little of those
that were not. As Agresti and Min (2005) and Bonett and Price (2012) add pseudo-pairs to McNemar's
table, c = 8 / (4 + x) clusters with a typical change h are added to the variance of a delta, where
x clusters changed: two where none did, and fewer the more there are. Where not one did, though the
scores differ, h is a whole cluster that changes, and the interval is close to the rule of three.
Sides with the same scores differ by exactly nothing.

A score between 0 and 1 gets Wilson's interval with as many tries as its standard error is worth,
x (1 - x) / se^2 (Korn and Graubard 1998), around the value less its jackknife bias. An error gets a
t interval on the scale of 1 / x, where the mean of a long tail is nearly symmetric. Both take k
itself as degrees of freedom: scores are skewed, differences of scores hardly.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import t as student

from probes.metrics import ClassOutcome, Metric, Outcome
from probes.statistics.clusters import Clusters
from probes.statistics.jackknife import influences

__all__ = [
    "Rare",
    "Spread",
    "rare_changes",
    "score_interval",
    "spread",
    "t_interval",
    "t_p",
]

PSEUDO, FADE = 8.0, 4.0
POINTS = 100.0
LONGEST = 10.0
"""Times the value at which the interval of an error ends at the latest."""
RIGHT_OR_WRONG = ("accuracy", "micro_f1")

Batch = float | Float64[np.ndarray, "..."]
"""One number, or one for each of many data sets, all of one shape."""


@dataclass(frozen=True, slots=True)
class Rare:
    """What the pseudo-clusters of a delta need to know.

    Attributes:
        changed: Clusters that changed, shape (...).
        value: The delta in points, shape (...).
        whole: Mean square of the share of the rows that a cluster holds, shape (...).
    """

    changed: Batch
    value: Batch
    whole: Batch


@dataclass(frozen=True, slots=True)
class Spread:
    """Standard error of a number, in its unit, and the degrees of freedom of that error."""

    se: Batch
    dof: Batch


def spread(influence: Float64[np.ndarray, "*batch g"], rare: Rare | None = None) -> Spread:
    """Standard error and degrees of freedom from the influences of at least two clusters.

    Args:
        influence: Of each cluster (`probes.statistics.jackknife.influences`).
        rare: For deltas in points of outcomes that are right or wrong; None for all else.
    """
    g = influence.shape[-1]
    s2, s4 = (influence**2).sum(axis=-1), (influence**4).sum(axis=-1)
    if rare is not None:
        # A change moves its own influence and, through the mean, all others a little.
        seen = (s2 + rare.value**2 * g * rare.whole) / np.maximum(rare.changed, 1)
        typical = np.where((rare.changed > 0) & (seen > 0), seen, POINTS**2 * rare.whole)
        added = PSEUDO / (FADE + np.where(seen > 0, rare.changed, 0))
        s2, s4 = s2 + added * typical, s4 + added * typical**2
    return Spread(np.sqrt(g / (g - 1) * s2), np.sqrt(_satterthwaite(s2, s4, g) * (g - 1)))


def _satterthwaite(s2: Batch, s4: Batch, g: int) -> Batch:
    """Degrees of freedom k of a sum of g squares, by their own spread."""
    share = np.divide(s4, s2**2, out=np.full_like(s2, 1 / g), where=s2**2 > 0)
    return np.clip(2 / np.maximum(share - 1 / g, 1e-12), 1, g - 1)


def rare_changes(
    metric: Metric, sides: tuple[Outcome, Outcome], clusters: Clusters, value: float
) -> Rare | None:
    """What `spread` needs of a delta in points, None where no pseudo-clusters belong.

    That is where the sides are the same, or where each row has an error of its own.
    """
    pre, post = sides
    if not isinstance(pre, ClassOutcome) or np.array_equal(pre.scores, post.scores):
        return None
    if metric.rows is None:
        changed = np.ones(len(pre.labels), dtype=bool)
    elif metric.name in RIGHT_OR_WRONG:
        changed = (pre.predicted == pre.labels) != (post.predicted == post.labels)
    else:
        changed = pre.predicted != post.predicted
    held = clusters.sizes.astype(np.float64)
    if metric.rows is not None:
        # Recall of a class is decided by the clusters that hold it.
        held = held[~np.isnan(metric.finish(clusters.sum(metric.rows(pre)).toarray()))]
    return Rare(
        changed=float(len(np.unique(clusters.member[changed]))),
        value=value,
        whole=float(np.mean(held**2) / held.sum() ** 2),
    )


def t_interval(value: Batch, found: Spread, level: float) -> tuple[Batch, Batch]:
    """Ends of the interval at a level such as 0.95, in the unit of the value."""
    half = student.ppf((1 + level) / 2, found.dof) * found.se
    return value - half, value + half


def t_p(value: Batch, found: Spread) -> Batch:
    """Two-sided p of a value of zero; 1 where it is exactly that.

    Example:
        >>> float(t_p(2.0, Spread(1.0, 1e9)).round(4))
        0.0455
    """
    size = np.abs(np.asarray(value, dtype=np.float64))
    far = np.divide(size, found.se, out=np.where(size > 0, np.inf, 0.0), where=found.se > 0)
    return 2 * student.sf(far, found.dof)


def score_interval(
    value: Batch, without: Float64[np.ndarray, "*batch g"], level: float, *, bounded: bool
) -> tuple[Batch, Batch]:
    """Ends of the interval of a score or an error, as fractions; the value lies within.

    Args:
        value: The score.
        without: Its values without one cluster after another.
        level: Such as 0.95.
        bounded: Whether it lies between 0 and 1; if not, it is an error, which is above 0.
    """
    g = without.shape[-1]
    influence = influences(without)
    s2, s4 = (influence**2).sum(axis=-1), (influence**4).sum(axis=-1)
    se = np.sqrt(g / (g - 1) * s2)
    t = student.ppf((1 + level) / 2, _satterthwaite(s2, s4, g))
    if not bounded:
        far = np.divide(t * se, value, out=np.zeros_like(se), where=np.asarray(value) > 0)
        return value / (1 + far), value / np.maximum(1 - far, 1 / LONGEST)
    binomial = value * (1 - value)
    # A score of exactly 0 or 1 shows no spread: each cluster then counts as one try.
    tries = np.divide(
        binomial, se**2, out=np.full_like(se, g - 1.0), where=(se > 0) & (binomial > 0)
    )
    centre = np.clip(value - (g - 1) * (without.mean(axis=-1) - value), 0, 1)
    shift = t**2 / tries
    middle = (centre + shift / 2) / (1 + shift)
    half = np.sqrt(centre * (1 - centre) * shift + shift**2 / 4) / (1 + shift)
    fixed = (se == 0) & (binomial > 0)
    low, high = np.where(fixed, value, middle - half), np.where(fixed, value, middle + half)
    return np.clip(low, 0, value), np.clip(high, value, 1)
