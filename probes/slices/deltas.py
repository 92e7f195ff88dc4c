"""Pre, post and delta on each slice of a question, under the draws of the run.

A slice is a weighting: rows outside weigh nothing. All slices of a question see the same draws of
its clusters, which are those of the run itself, so slices can be compared and their differences
tested. Average precision is computed on the rows of the slice alone; it depends on how frequent the
classes are there, so its delta is one of the slice, while levels of two slices do not compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.sparse import csr_array, dia_array

from probes.metrics import ClassOutcome, GazeOutcome, Metric, Outcome, delta, evaluate
from probes.questions import Prediction
from probes.slices.cuts import Cut
from probes.statistics.bootstrap import resample

__all__ = ["MIN_CLUSTERS", "Measured", "measure"]

MIN_CLUSTERS = 10
"""Clusters below which a slice has no numbers: a bootstrap of so few says little."""
MIN_DEFINED = 0.95
"""Share of the draws in which a metric must have a value."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One slice as it came out.

    Attributes:
        cut: The slice.
        metric: What was measured.
        n: Its rows.
        clusters: Its clusters.
        refused: Why there are no numbers; empty where there are.
        points: Values of both sides as fractions, shape (2,).
        values: Their draws, shape (2, draws).
        deltas: Draws of the delta in points, shape (draws,).
    """

    cut: Cut
    metric: Metric
    n: int
    clusters: int
    refused: str
    points: Float64[np.ndarray, " two"]
    values: Float64[np.ndarray, "two draws"]
    deltas: Float64[np.ndarray, " draws"]

    @property
    def delta(self) -> float:
        """Post minus pre in points, negative = worse."""
        return float(delta(self.points[0], self.points[1], self.metric))


def measure(
    pre: Prediction,
    post: Prediction,
    asked: Sequence[tuple[Cut, Metric]],
    *,
    draws: int,
    rng: np.random.Generator,
) -> list[Measured]:
    """Numbers of each slice, or why it has none.

    Args:
        pre: Predictions of the k rows before.
        post: Of the same rows after.
        asked: Slices with the metric of each.
        draws: Bootstrap draws.
        rng: Source of the draws; in the state in which the run had it, they are those of the run.

    Raises:
        DataError: If the rows form fewer than two clusters.
    """
    clusters = [len(set(pre.clusters[cut.rows])) for cut, _ in asked]
    points = [
        np.array([_value(within(metric, cut.rows), one.outcome) for one in (pre, post)])
        if cut.rows.any()
        else np.full(2, np.nan)
        for cut, metric in asked
    ]
    refused = [
        _refusal(metric, g, values)
        for (_, metric), g, values in zip(asked, clusters, points, strict=True)
    ]
    outcomes = {}
    for i, (cut, metric) in enumerate(asked):
        if not refused[i]:
            narrowed = within(metric, cut.rows)
            outcomes |= {(i, 0): (narrowed, pre.outcome), (i, 1): (narrowed, post.outcome)}
    drawn = resample(pre.clusters, outcomes, draws=draws, rng=rng) if outcomes else {}
    return [
        _measured(cut, metric, g, why, values, drawn, i, draws)
        for i, ((cut, metric), g, why, values) in enumerate(
            zip(asked, clusters, refused, points, strict=True)
        )
    ]


def _measured(
    cut: Cut,
    metric: Metric,
    clusters: int,
    refused: str,
    points: Float64[np.ndarray, " two"],
    drawn: Mapping[tuple[int, int], Float64[np.ndarray, " draws"]],
    i: int,
    draws: int,
) -> Measured:
    """One slice with its draws; refused too where a metric is undefined in many of them."""
    values = np.full((2, draws), np.nan)
    if not refused:
        values = np.stack([drawn[i, 0], drawn[i, 1]])
        defined = ~np.isnan(values).any(0)
        if defined.mean() < MIN_DEFINED:
            refused = (
                f"{metric.label} is undefined in {100 * (1 - defined.mean()):.0f} % of the "
                f"draws: {metric.undefined}"
            )
    deltas = np.asarray(delta(values[0], values[1], metric))
    return Measured(cut, metric, int(cut.rows.sum()), clusters, refused, points, values, deltas)


def _value(metric: Metric, outcome: Outcome) -> float:
    return float(evaluate(metric, outcome)[0])


def _refusal(metric: Metric, clusters: int, points: Float64[np.ndarray, " two"]) -> str:
    if clusters < MIN_CLUSTERS:
        return f"expected at least {MIN_CLUSTERS} clusters, found {clusters}"
    if np.isnan(points).any():
        return f"{metric.label} is undefined: {metric.undefined}"
    return ""


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
    """The outcome of some rows."""
    if isinstance(outcome, ClassOutcome):
        return ClassOutcome(outcome.labels[rows], outcome.scores[rows])
    return GazeOutcome({name: value[rows] for name, value in outcome.values.items()})
