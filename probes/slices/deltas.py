"""Pre, post and delta on the rows of each slice, with the intervals and tests of the run itself.

A slice is measured as if it were a data set of its own: its rows, its clusters. Average precision
depends on how frequent the classes are there, so its delta is one of the slice, while the levels of
two slices do not compare. Whether slices differ is tested on bootstrap draws that all slices share,
since slices may share clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.sparse import csr_array, dia_array

from probes.metrics import ClassOutcome, GazeOutcome, Metric, Outcome, delta, evaluate
from probes.questions import Prediction
from probes.records import Estimate
from probes.slices.cuts import Cut
from probes.statistics.bootstrap import resample
from probes.statistics.clusters import group_rows
from probes.statistics.jackknife import influences, leave_out
from probes.statistics.student import rare_changes, score_interval, spread, t_interval, t_p

__all__ = [
    "MIN_CLUSTERS",
    "Measured",
    "Paired",
    "compare",
    "measure",
    "shared_draws",
    "within",
]

MIN_CLUSTERS = 10
"""Clusters below which a slice has no numbers: nothing is known of intervals from so few."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Both sides of one metric on some rows, in points.

    Attributes:
        pre: Before, with its 95 % interval.
        post: After.
        delta: Post minus pre, negative = worse.
        se: Standard error of the delta.
        p: Two-sided, unadjusted.
    """

    pre: Estimate
    post: Estimate
    delta: Estimate
    se: float
    p: float


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One slice as it came out.

    Attributes:
        cut: The slice.
        metric: What was measured.
        n: Its rows.
        clusters: Its clusters.
        found: The numbers, or in words why there are none.
    """

    cut: Cut
    metric: Metric
    n: int
    clusters: int
    found: Paired | str


def compare(
    metric: Metric,
    pre: Outcome,
    post: Outcome,
    clusters: np.ndarray,
    *,
    rng: np.random.Generator,
) -> Paired | str:
    """Both sides of a metric by Student's t on the cluster jackknife, as the run has them.

    Args:
        metric: Any metric.
        pre: Outcome of n rows before.
        post: Of the same rows after.
        clusters: Shape (n,).
        rng: Decides which clusters are left out together where a ranking has more than 400.

    Returns:
        The numbers, or in words why there are none.
    """
    if (g := len(set(clusters.tolist()))) < MIN_CLUSTERS:
        return f"expected at least {MIN_CLUSTERS} clusters, found {g}"
    values = [float(evaluate(metric, side)[0]) for side in (pre, post)]
    if np.isnan(values).any():
        return f"{metric.label} is undefined: {metric.undefined}"
    grouped = group_rows(clusters)
    outcomes = {side: (metric, outcome) for side, outcome in enumerate((pre, post))}
    without = leave_out(grouped, outcomes, rng=rng)
    if any(np.isnan(each).any() for each in without.values()):
        return f"{metric.label} is undefined without one of the clusters: {metric.undefined}"
    value = float(delta(*values, metric))
    influence = influences(np.asarray(delta(without[0], without[1], metric)))
    found = spread(influence, rare_changes(metric, (pre, post), grouped, value))
    low, high = t_interval(value, found, 0.95)
    return Paired(
        pre=_score(metric, values[0], without[0]),
        post=_score(metric, values[1], without[1]),
        delta=Estimate(value=value, low=float(low), high=float(high)),
        se=float(found.se),
        p=float(t_p(value, found)),
    )


def _score(metric: Metric, value: float, without: Float64[np.ndarray, " g"]) -> Estimate:
    """One side in points."""
    low, high = score_interval(value, without, 0.95, bounded=metric.higher_is_better)
    return Estimate(value=100 * value, low=100 * float(low), high=100 * float(high))


def measure(
    pre: Prediction,
    post: Prediction,
    asked: Sequence[tuple[Cut, Metric]],
    *,
    rng: np.random.Generator,
) -> list[Measured]:
    """Numbers of each slice, or why it has none.

    Args:
        pre: Predictions of the k rows before.
        post: Of the same rows after.
        asked: Slices with the metric of each.
        rng: As `compare` takes it.
    """
    return [
        Measured(
            cut,
            metric,
            n=int(cut.rows.sum()),
            clusters=len(set(pre.clusters[cut.rows])),
            found=compare(
                metric,
                _taken(pre.outcome, cut.rows),
                _taken(post.outcome, cut.rows),
                pre.clusters[cut.rows],
                rng=rng,
            ),
        )
        for cut, metric in asked
    ]


def shared_draws(
    pre: Prediction,
    post: Prediction,
    slices: Sequence[tuple[Cut, Metric]],
    *,
    draws: int,
    rng: np.random.Generator,
) -> Float64[np.ndarray, "k draws"]:
    """Deltas of k slices in points under the same draws of all clusters, shape (k, draws).

    A draw in which a metric is undefined in a slice is NaN there.
    """
    outcomes = {
        (i, side): (narrowed, one.outcome)
        for i, narrowed in enumerate(within(metric, cut.rows) for cut, metric in slices)
        for side, one in enumerate((pre, post))
    }
    drawn = resample(pre.clusters, outcomes, draws=draws, rng=rng)
    return np.stack(
        [delta(drawn[i, 0], drawn[i, 1], metric) for i, (_, metric) in enumerate(slices)]
    )


def within(metric: Metric, rows: Bool[np.ndarray, " n"]) -> Metric:
    """The metric of some rows alone, whatever the weights of the others.

    Args:
        metric: Any metric.
        rows: Whether each of the n rows counts, shape (n,); at least one does.

    Example:
        >>> from probes.metrics import resolve
        >>> outcome = ClassOutcome(np.array([0, 1]), np.float32([[0.9, 0.1], [0.6, 0.4]]))
        >>> first = within(resolve("accuracy", ("no", "yes")), np.array([True, False]))
        >>> evaluate(first, outcome).tolist()
        [1.0]
    """
    if metric.rows is not None:

        def sums(outcome: Outcome) -> np.ndarray | csr_array:
            mask = dia_array((rows[None].astype(np.float64), [0]), shape=(len(rows), len(rows)))
            return mask @ metric.rows(outcome)

        return replace(metric, rows=sums)

    def ranked(outcome: Outcome) -> object:
        values = metric.ranked(_taken(outcome, rows))

        def weighted(weights: Float[np.ndarray, "b n"]) -> np.ndarray:
            return values(weights[:, rows])

        return weighted

    return replace(metric, ranked=ranked)


def _taken(outcome: Outcome, rows: Bool[np.ndarray, " n"]) -> Outcome:
    """The outcome of some of its n rows, given as a mask."""
    if isinstance(outcome, ClassOutcome):
        return ClassOutcome(outcome.labels[rows], outcome.scores[rows])
    return GazeOutcome({name: value[rows] for name, value in outcome.values.items()})
