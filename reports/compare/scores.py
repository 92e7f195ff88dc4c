"""How far a score differs between two runs, from what both predicted.

Where both predicted the same rows the change is paired: its interval is Student's t on the
jackknife over clusters, each left out of both. Where they did not, the interval adds the variances
of two independent samples (Welch), which is wider.
"""

from collections.abc import Sequence
from math import hypot

import numpy as np
from jaxtyping import Float64

from degradation.errors import DataError
from probes.metrics import (
    ClassOutcome,
    GazeOutcome,
    Metric,
    Outcome,
    delta,
    evaluate,
)
from probes.questions import Prediction
from probes.records import Estimate
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import group_rows
from probes.statistics.jackknife import influences, leave_out
from probes.statistics.student import Spread, rare_changes, spread, t_interval
from reports.compare.records import Word

__all__ = ["apart", "bound_word", "score_change", "score_of"]


def score_of(metric: Metric, classes: Sequence[str], one: Prediction, where: str) -> float:
    """A score or error in points, from predictions: what this version makes of them.

    Args:
        metric: What is measured.
        classes: Of the question; none for gaze.
        one: What was predicted.
        where: The question and run, for the message.

    Raises:
        DataError: The predictions are of another kind of question, or of other classes.
    """
    width = one.scores.shape[1] if isinstance(one.outcome, ClassOutcome) else 0
    if width != len(classes):
        raise DataError(
            f"Expected predictions of {len(classes) or 'no'} classes for {where}, as its record "
            f"has them, found {width or 'points'}: one of the two was changed after the run. Run "
            "it again, or move it out of the results."
        )
    return 100 * float(evaluate(metric, one.outcome)[0])


def apart(one: Prediction, other: Prediction) -> str:
    """Why predictions are not of the same rows; empty if they are."""
    orders = [np.argsort(each.ids.astype(str)) for each in (one, other)]
    ids = [each.ids.astype(str)[o] for each, o in zip((one, other), orders, strict=True)]
    if not np.array_equal(*ids):
        shared = len(np.intersect1d(*ids))
        return f"other rows: {len(ids[0])} and {len(ids[1])}, {shared} in both"
    groups = [each.clusters.astype(str)[o] for each, o in zip((one, other), orders, strict=True)]
    if not np.array_equal(*groups):
        return "the same rows in other clusters"
    if isinstance(one.outcome, ClassOutcome) and isinstance(other.outcome, ClassOutcome):
        labels = [each.outcome.labels[o] for each, o in zip((one, other), orders, strict=True)]
        if not np.array_equal(*labels):
            return "the same rows with other labels"
    return ""


def score_change(
    metric: Metric, one: Prediction, other: Prediction, *, seed: int, paired: bool
) -> Estimate:
    """Second minus first in points, errors flipped, with its 95 % interval.

    Args:
        metric: What is measured.
        one: What the first run predicted.
        other: What the second did.
        seed: Groups clusters where a ranking has many (`probes.statistics.jackknife`).
        paired: Whether both are of the same rows (`apart`).
    """
    (names, first), (others, second) = _sorted(one), _sorted(other)
    value = float(delta(*(float(evaluate(metric, o)[0]) for o in (first, second)), metric))
    sign = 1 if metric.higher_is_better else -1
    if paired:
        clusters = group_rows(names)
        both = {"first": (metric, first), "second": (metric, second)}
        without = leave_out(clusters, both, rng=stream(seed, "compare"))
        influence = influences(delta(without["first"], without["second"], metric))
        found = spread(influence, rare_changes(metric, (first, second), clusters, value))
    else:
        alone = [
            spread(_alone(metric, outcome, clusters, seed, sign))
            for outcome, clusters in ((first, names), (second, others))
        ]
        found = _together(*alone)
    low, high = t_interval(value, found, 0.95)
    return Estimate(value=value, low=float(low), high=float(high))


def bound_word(change: Estimate, max_drop: float | None) -> Word:
    """Whether a score fell by more than the bound for certain, or did not; empty without one."""
    if max_drop is None:
        return ""
    if change.high < -max_drop:
        return "fell"
    return "held" if change.low >= -max_drop else "open"


def _sorted(one: Prediction) -> tuple[np.ndarray, Outcome]:
    """Clusters and outcome in the order of the ids."""
    order = np.argsort(one.ids.astype(str))
    if isinstance(one.outcome, ClassOutcome):
        outcome: Outcome = ClassOutcome(one.outcome.labels[order], one.outcome.scores[order])
    else:
        outcome = GazeOutcome({name: v[order] for name, v in one.outcome.values.items()})
    return one.clusters.astype(str)[order], outcome


def _alone(
    metric: Metric, outcome: Outcome, names: np.ndarray, seed: int, sign: int
) -> Float64[np.ndarray, " g"]:
    """Influences on one score, in points."""
    without = leave_out(group_rows(names), {"": (metric, outcome)}, rng=stream(seed, "compare"))[""]
    return influences(100 * sign * without)


def _together(one: Spread, other: Spread) -> Spread:
    """Standard error of a difference of independent numbers, with Welch's degrees of freedom."""
    se = hypot(float(one.se), float(other.se))
    if se == 0:
        return Spread(0.0, min(float(one.dof), float(other.dof)))
    parts = [float(each.se) ** 4 / float(each.dof) for each in (one, other)]
    return Spread(se, se**4 / sum(parts))
