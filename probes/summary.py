"""From the predictions of one question to its numbers, with intervals and tests.

Probing and recomputing from a predictions file both end here, so they cannot disagree.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from degradation.errors import DataError
from probes.bootstrap import estimate, interval, resample, stream, two_sided_p
from probes.differences import mcnemar_exact
from probes.metrics import ClassOutcome, Metric, delta, evaluate
from probes.questions import Prediction
from probes.records import Baseline, Numbers

__all__ = ["summarise"]


def summarise(
    predictions: Sequence[Prediction], metrics: Sequence[Metric], *, draws: int, seed: int
) -> tuple[list[Baseline], dict[tuple[int, str], Numbers]]:
    """The numbers of one question.

    Args:
        predictions: Of one question, all of the same rows in the same order.
        metrics: What to compute.
        draws: Bootstrap draws, the same for every prediction and metric.
        seed: Decides them, with the question's name.

    Returns:
        Baselines, and the paired numbers by block and metric name.

    Raises:
        DataError: If a metric is undefined on these rows, or if they form fewer than two clusters.
    """
    first = predictions[0]
    by_key = {
        (one.block, one.probe, one.side, metric.name): (metric, one)
        for one in predictions
        for metric in metrics
    }
    values = resample(
        first.clusters,
        {key: (metric, one.outcome) for key, (metric, one) in by_key.items()},
        draws=draws,
        rng=stream(seed, f"bootstrap/{first.question}"),
    )
    points = {key: _defined(metric, one) for key, (metric, one) in by_key.items()}
    baselines = [
        Baseline(
            question=first.question,
            name=probe,
            metric=name,
            estimate=estimate(100 * points[key], 100 * values[key]),
        )
        for key in by_key
        for _, probe, side, name in [key]
        if side == "none"
    ]
    numbers = {}
    for block, probe, side, name in by_key:
        if side == "pre":
            keys = [(block, probe, each, name) for each in ("pre", "post")]
            (metric, pre), (_, post) = (by_key[key] for key in keys)
            numbers[block, name] = _compare(
                metric, (pre, post), [points[key] for key in keys], [values[key] for key in keys]
            )
    return baselines, numbers


def _defined(metric: Metric, prediction: Prediction) -> float:
    value = float(evaluate(metric, prediction.outcome)[0])
    if np.isnan(value):
        raise DataError(
            f"{metric.name} of {prediction.question} is undefined on the "
            f"{len(prediction.ids)} rows predicted: {_counts(prediction)}. "
            "Use more rows or another metric."
        )
    return value


def _counts(prediction: Prediction) -> str:
    if not isinstance(prediction.outcome, ClassOutcome):
        return "every cell of the grid holds an annotated point"
    classes, counts = np.unique(prediction.outcome.labels, return_counts=True)
    pairs = zip(classes.tolist(), counts.tolist(), strict=True)
    return "rows by class index " + ", ".join(f"{k}: {count}" for k, count in pairs)


def _compare(
    metric: Metric,
    sides: tuple[Prediction, Prediction],
    points: Sequence[float],
    values: Sequence[Float64[np.ndarray, " draws"]],
) -> Numbers:
    pre, post = sides
    difference = delta(values[0], values[1], metric)
    low, high = interval(difference, 0.90)
    flips = _flips(pre.outcome, post.outcome)
    exact = metric.name == "accuracy" and flips is not None
    return Numbers(
        pre=estimate(100 * points[0], 100 * values[0]),
        post=estimate(100 * points[1], 100 * values[1]),
        delta=estimate(delta(points[0], points[1], metric), difference),
        delta_low_90=low,
        delta_high_90=high,
        p=two_sided_p(difference),
        p_mcnemar=mcnemar_exact(*flips) if exact else None,
        broken=flips[0] if flips else None,
        fixed=flips[1] if flips else None,
        n=len(pre.ids),
        clusters=len(set(pre.clusters)),
    )


def _flips(pre: object, post: object) -> tuple[int, int] | None:
    """Rows broken and fixed; None where an outcome is not right or wrong."""
    if not isinstance(pre, ClassOutcome) or not isinstance(post, ClassOutcome):
        return None
    before, after = pre.predicted == pre.labels, post.predicted == post.labels
    return int((before & ~after).sum()), int((~before & after).sum())
