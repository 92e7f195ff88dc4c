"""From the predictions of one question to its numbers, with intervals and tests.

Probing and recomputing from a predictions file both end here, so they cannot disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from probes.metrics import ClassOutcome, Metric, delta, evaluate
from probes.questions import Prediction
from probes.records import Baseline, Numbers
from probes.statistics.bootstrap import estimate, interval, resample, stream, two_sided_p
from probes.statistics.differences import mcnemar_exact

__all__ = ["Summary", "summarise"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the predictions of one question in one arm come to.

    Attributes:
        baselines: By baseline and metric; none where a metric has no value for a baseline alone.
        numbers: Pre against post, by block, probe and metric name.
        undefined: Why a metric has no value on these rows, by its name; it has no baselines and no
            numbers then.
    """

    baselines: tuple[Baseline, ...]
    numbers: Mapping[tuple[int, str, str], Numbers]
    undefined: Mapping[str, str]


def summarise(
    predictions: Sequence[Prediction], metrics: Sequence[Metric], *, draws: int, seed: int
) -> Summary:
    """The numbers of one question in one arm.

    Args:
        predictions: Of one question, all of the same rows in the same order.
        metrics: What to compute.
        draws: Bootstrap draws, the same for every prediction and metric.
        seed: Decides them, with the question's name.

    Raises:
        DataError: If the rows form fewer than two clusters.
    """
    first = predictions[0]
    every = {
        (one.block, one.probe, one.side, metric.name): (metric, one)
        for one in predictions
        for metric in metrics
    }
    points = {key: float(evaluate(metric, one.outcome)[0]) for key, (metric, one) in every.items()}
    absent = {
        name for (_, _, side, name), value in points.items() if np.isnan(value) and side != "none"
    }
    by_key = {
        key: found
        for key, found in every.items()
        if key[-1] not in absent and not np.isnan(points[key])
    }
    values = resample(
        first.clusters,
        {key: (metric, one.outcome) for key, (metric, one) in by_key.items()},
        draws=draws,
        rng=stream(seed, f"bootstrap/{first.question}"),
    )
    baselines = tuple(
        Baseline(
            question=first.question,
            name=probe,
            metric=name,
            estimate=estimate(100 * points[key], 100 * values[key]),
        )
        for key in by_key
        for _, probe, side, name in [key]
        if side == "none"
    )
    numbers = {}
    for block, probe, side, name in by_key:
        if side == "pre":
            keys = [(block, probe, each, name) for each in ("pre", "post")]
            (metric, pre), (_, post) = (by_key[key] for key in keys)
            numbers[block, probe, name] = _compare(
                metric, (pre, post), [points[key] for key in keys], [values[key] for key in keys]
            )
    undefined = {
        metric.name: f"undefined on the {len(first.ids)} rows predicted: {metric.undefined}"
        for metric in metrics
        if metric.name in absent
    }
    return Summary(baselines, numbers, undefined)


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
