"""Numbers computed from several predictions of one question, with intervals.

A share of a loss that is recovered, or the gain from more samples, is a function of the scores of
several probes and sides. It is evaluated with all clusters and without each of them in turn; the
jackknife then gives its interval as it does for every other number of a record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from probes.metrics import Metric, evaluate
from probes.questions import Prediction
from probes.records import Estimate
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import group_rows
from probes.statistics.jackknife import influences, leave_out
from probes.statistics.student import Spread, spread, t_interval

__all__ = ["QuestionValues", "Scores", "Values", "mean_over", "question_values"]

Values = float | Float64[np.ndarray, " g"]
"""A number of the sample itself, or without each cluster in turn."""
Scores = Callable[[str, str], Values]
"""From probe and side (`none` without an encoder) to the score in points; more is better, since
errors are negated."""


@dataclass(frozen=True, slots=True, eq=False)
class QuestionValues:
    """The scores of a question in one metric.

    Attributes:
        points: In points, by probe and side; errors are negated.
        without: The same without each cluster in turn, each of shape (g,).
    """

    points: dict[tuple[str, str], float]
    without: dict[tuple[str, str], Float64[np.ndarray, " g"]]

    def estimate(self, number: Callable[[Scores], Values]) -> Estimate | None:
        """A number with its 95 % interval; None where it is undefined, or is without a cluster."""
        value = np.asarray(number(lambda probe, side: np.float64(self.points[probe, side])))
        drawn = np.asarray(number(lambda probe, side: self.without[probe, side]))
        if not (np.isfinite(value).all() and np.isfinite(drawn).all()):
            return None
        low, high = t_interval(float(value), spread(influences(drawn)), 0.95)
        return Estimate(value=float(value), low=float(low), high=float(high))

    def mean_estimate(self, numbers: Sequence[Callable[[Scores], Values]]) -> Estimate | None:
        """Mean of one number over random subsets of the training rows, as `mean_over`."""
        points = [
            number(lambda probe, side: np.float64(self.points[probe, side])) for number in numbers
        ]
        drawn = [number(lambda probe, side: self.without[probe, side]) for number in numbers]
        return mean_over(np.array(points), np.array(drawn))


def mean_over(
    points: Float64[np.ndarray, " r"], without: Float64[np.ndarray, "r g"]
) -> Estimate | None:
    """Mean of a number over random subsets or orders, with a 95 % interval; None if undefined.

    The interval covers both which clusters were measured and which subsets were drawn: the variance
    between subsets, over their number, is added to that of the jackknife of the mean.

    Args:
        points: The number in each subset.
        without: The same without each cluster in turn.
    """
    if not (np.isfinite(points).all() and np.isfinite(without).all()):
        return None
    found = spread(influences(without.mean(axis=0)))
    extra = points.var(ddof=1) / len(points) if len(points) > 1 else 0.0
    both = Spread(np.sqrt(found.se**2 + extra), found.dof)
    low, high = t_interval(float(points.mean()), both, 0.95)
    return Estimate(value=float(points.mean()), low=float(low), high=float(high))


def question_values(
    predictions: Sequence[Prediction], metric: Metric, *, seed: int
) -> QuestionValues:
    """The scores of all predictions of a question, of the same rows, with and without each cluster.

    Raises:
        DataError: If the rows form fewer than two clusters.
    """
    sign = 100.0 if metric.higher_is_better else -100.0
    own = {(one.probe, one.side): (metric, one.outcome) for one in predictions}
    rng = stream(seed, f"jackknife/{predictions[0].question}")
    without = leave_out(group_rows(predictions[0].clusters), own, rng=rng)
    return QuestionValues(
        points={key: sign * float(evaluate(*found)[0]) for key, found in own.items()},
        without={key: sign * values for key, values in without.items()},
    )
