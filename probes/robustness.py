"""Would it have come out otherwise: with other strengths, or on other training rows?

The variants of a reading (`probes.variants`) predict the same test rows as the declared one.
"""

from collections.abc import Sequence

from degradation.axes import SIDES
from degradation.errors import DataError
from probes.metrics import Metric
from probes.questions import Prediction
from probes.records import Robustness, TrainingVariance, TuningPoint
from probes.statistics.bootstrap import stream
from probes.statistics.clusters import group_rows
from probes.statistics.variance import refit_components
from probes.summary import summarise
from probes.variants import is_refit, strength_of

__all__ = ["robustness"]


def robustness(
    variants: Sequence[Prediction], metric: Metric, *, draws: int, seed: int
) -> Robustness | None:
    """What the variants of one question say of one metric; None if there are none.

    Args:
        variants: Of one question and block, both sides, all of the same rows.
        metric: The declared one.
        draws: For the intervals of the tuning curve.
        seed: Decides them.
    """
    if not variants:
        return None
    tuned = [one for one in variants if strength_of(one.probe) is not None]
    found = summarise(tuned, [metric], draws=draws, seed=seed).numbers if tuned else {}
    points = tuple(
        TuningPoint(
            strength=strength_of(probe),
            pre=numbers.pre.value,
            post=numbers.post.value,
            delta=numbers.delta,
        )
        for (_, probe, _), numbers in found.items()
    )
    return Robustness(
        question=variants[0].question,
        block=variants[0].block,
        metric=metric.name,
        tuning=tuple(sorted(points, key=lambda point: point.strength)),
        training=_training(variants, metric, seed),
    )


def _training(variants: Sequence[Prediction], metric: Metric, seed: int) -> TrainingVariance | None:
    """The two sources of variance of the delta, from refits; None without two of them."""
    by_probe = {(one.probe, one.side): one for one in variants if is_refit(one.probe)}
    names = list(dict.fromkeys(probe for probe, _ in by_probe))
    if len(names) < 2:
        return None
    refits = [tuple(by_probe[name, side].outcome for side in SIDES) for name in names]
    rng = stream(seed, f"refits/{variants[0].question}")
    try:
        found = refit_components(metric, refits, group_rows(variants[0].clusters), rng=rng)
    except DataError:  # the metric has no value without one of the clusters
        return None
    return TrainingVariance(
        refits=found.refits,
        mean=found.mean,
        low=found.low,
        high=found.high,
        sampling_se=found.sampling,
        training_sd=found.training,
        single_se=found.single_se,
    )
