"""Where a loss comes from: class means that moved together, or spread that grew around them.

For features with class means mu_k and class shares pi_k, the signal is the scatter between the
classes, sum_k pi_k ||mu_k - mu||^2, and the spread is the mean squared distance from the class
mean. The signal is estimated without bias by products of rows of different clusters only: a class
mean's own error adds nothing to it, nor do rows of one cluster that resemble each other.

Features after may be larger or smaller as a whole, so both are compared in units of what is common
to the sides: the variance of the features after that a linear map of those before explains on
other rows. Added noise leaves signal over common unchanged and multiplies spread over common; an
erased concept takes the signal to zero and leaves the spread.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from probes.diagnosis.alignment import affine_map, orthogonal_map, standardise
from probes.records import Estimate
from probes.selection import Plan
from probes.statistics.jackknife import influences
from probes.statistics.student import spread, t_interval

__all__ = ["Scatter", "SignalChange", "scatter", "sectors", "signal_change"]

GROUPS = 30
"""Most groups of clusters of which the jackknife leaves out one after another."""
SECTORS = 8


@dataclass(frozen=True, slots=True)
class Scatter:
    """Scatter between and within classes, in squared units of the features."""

    between: float
    within: float


def scatter(
    x: Float[np.ndarray, "n d"], labels: Int64[np.ndarray, " n"], clusters: np.ndarray
) -> Scatter:
    """Unbiased scatter between classes, and the rest of the variance as that within.

    With S_kg the sum of the rows of class k in cluster g, n_kg their number and S_k, n_k the sums
    over clusters, the product of the means of classes k and l is estimated by

        (S_k . S_l - sum_g S_kg . S_lg) / (n_k n_l - sum_g n_kg n_lg)

    Classes without rows of two clusters take no part.

    Args:
        x: Features.
        labels: Classes.
        clusters: Independent of each other.

    Returns:
        `between` can be below 0, since it is unbiased; NaN if fewer than two classes remain.
    """
    member = np.unique(clusters.astype(str), return_inverse=True)[1]
    seen = [k for k in np.unique(labels) if len(np.unique(member[labels == k])) > 1]
    if len(seen) < 2:
        return Scatter(float("nan"), float("nan"))
    kept = np.isin(labels, seen)
    column = np.searchsorted(seen, labels[kept])
    x, member = x[kept].astype(np.float64), member[kept]
    x = x - x.mean(axis=0)
    sums = np.zeros((len(seen), member.max() + 1, x.shape[1]))
    np.add.at(sums, (column, member), x)
    counts = np.zeros(sums.shape[:2])
    np.add.at(counts, (column, member), 1)
    total, flat = sums.sum(axis=1), sums.reshape(len(seen), -1)
    products = total @ total.T - flat @ flat.T
    pairs = np.outer(counts.sum(axis=1), counts.sum(axis=1)) - counts @ counts.T
    means = products / np.maximum(pairs, 1)
    share = counts.sum(axis=1) / len(x)
    own = float(share @ np.diag(means))
    return Scatter(
        between=own - float(share @ means @ share), within=float((x**2).sum()) / len(x) - own
    )


@dataclass(frozen=True, slots=True)
class SignalChange:
    """Signal and spread after over before, each in units of what is common to both sides.

    Attributes:
        signal: 1 where the class means are as far apart as they were, 0 where they coincide.
        spread: 1 where rows lie as near to their class mean as they did.
        common: Share of the variance after that the features before explain linearly.
        before: Signal over spread before, as it is.
    """

    signal: Estimate
    spread: Estimate
    common: float
    before: float


def signal_change(
    pre: Float[np.ndarray, "n d"],
    post: Float[np.ndarray, "n p"],
    labels: Int64[np.ndarray, " n"],
    clusters: np.ndarray,
    plan: Plan,
) -> SignalChange | None:
    """How signal and spread changed, on the predicted rows.

    Features after are first turned into the basis of those before by the orthogonal map, then both
    are z-scored by the rows fitted: what the probes see, were it not for a rotation. Intervals are
    95 %, by a delete-a-group jackknife over clusters.

    Args:
        pre: Features of all rows before.
        post: The same after.
        labels: Classes.
        clusters: Clusters.
        plan: Of the question.

    Returns:
        None where the classes before cannot be told apart by their means, or nothing is common:
        the quotients then mean nothing.
    """
    before, after, predicted = [], [], []
    for stage in plan.stages:
        rows = stage.predict
        turned = np.full((len(post), pre.shape[1]), np.nan)
        used = np.concatenate([stage.train, rows])
        turned[used] = orthogonal_map(post[stage.train], pre[stage.train])(post[used])
        for x, parts in ((pre, before), (turned, after)):
            mean, scale = standardise(x[stage.train])
            parts.append((x[rows] - mean) * scale)
        mean, scale = standardise(turned[stage.train])
        forward = affine_map(pre, turned, stage.trials, stage.train)
        predicted.append((forward(pre[rows]) - mean) * scale)
    rows = np.concatenate([stage.predict for stage in plan.stages])
    x, y, f = (np.concatenate(parts) for parts in (before, after, predicted))
    args = (x, y, f, labels[rows], clusters[rows])
    point = _quotients(*args)
    group = _groups(clusters[rows])
    drawn = np.array(
        [
            _quotients(*(one[group != g] for one in args))
            for g in range(group.max() + 1)
        ]
    )  # fmt: skip
    if not np.isfinite(point).all() or not np.isfinite(drawn).all() or point[2] <= 0:
        return None
    if _estimate(point[3], drawn[:, 3]).low <= 0:
        return None
    estimates = [_estimate(point[k], drawn[:, k]) for k in (0, 1)]
    return SignalChange(*estimates, common=float(point[2]), before=float(point[3]))


def _quotients(
    x: Float64[np.ndarray, "k d"],
    y: Float64[np.ndarray, "k p"],
    found: Float64[np.ndarray, "k p"],
    labels: Int64[np.ndarray, " k"],
    clusters: np.ndarray,
) -> Float64[np.ndarray, " 4"]:
    """Signal, spread, common share, and signal over spread before."""
    one, two = scatter(x, labels, clusters), scatter(y, labels, clusters)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = ((x - x.mean(axis=0)) ** 2).sum(axis=1).mean()
        variance = ((y - y.mean(axis=0)) ** 2).sum(axis=1).mean()
        # The covariance with the prediction, not its variance: that has the map's own noise in it.
        common = ((found - found.mean(axis=0)) * (y - y.mean(axis=0))).sum(axis=1).mean()
        unit = np.float64(common) / size
        return np.array(
            [
                two.between / (np.float64(one.between) * unit),
                two.within / (np.float64(one.within) * unit),
                common / variance,
                one.between / np.float64(one.within),
            ]
        )


def _groups(clusters: np.ndarray) -> Int64[np.ndarray, " k"]:
    """A group for each row; clusters are dealt out in turn, larger ones first."""
    names, member, sizes = np.unique(clusters.astype(str), return_inverse=True, return_counts=True)
    place = np.empty(len(names), dtype=np.int64)
    place[np.argsort(-sizes, kind="stable")] = np.arange(len(names)) % min(GROUPS, len(names))
    return place[member]


def _estimate(
    value: np.floating, without: Float64[np.ndarray, " g"], level: float = 0.95
) -> Estimate:
    """A number with the interval of its jackknife."""
    low, high = t_interval(float(value), spread(influences(without)), level)
    return Estimate(value=float(value), low=float(low), high=float(high))


def sectors(
    points: Float[np.ndarray, "n a 2"], heads: Float[np.ndarray, "n 4"]
) -> Int64[np.ndarray, " n"]:
    """Classes for gaze: in which of eight sectors around the head the mean target lies; -1 if none.

    Sector k is centred on the angle k * 45 degrees, clockwise from the right since y points down.
    """
    known = np.isfinite(points).all(axis=2)
    count = known.sum(axis=1)
    mean = np.where(known[..., None], points, 0).sum(axis=1) / np.maximum(count, 1)[:, None]
    offset = mean - (heads[:, :2] + heads[:, 2:]) / 2
    here = (count > 0) & np.isfinite(offset).all(axis=1)
    angle = np.arctan2(np.where(here, offset[:, 1], 0), np.where(here, offset[:, 0], 0))
    return np.where(here, np.round(angle / (2 * np.pi / SECTORS)).astype(np.int64) % SECTORS, -1)
