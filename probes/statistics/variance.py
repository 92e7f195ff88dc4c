"""Two reasons why a delta would come out otherwise: other test samples, and another training.

A delta that is measured again on other test clusters *and* with a probe fitted again (other
training rows, another seed) varies for both reasons. With refits s = 1..S on the *same* test rows,

    delta_s = Delta + T + R_s + I_s

T is what these test clusters do to every refit, R_s what refit s does on all test rows there might
be, and I_s what it does on these. The jackknife over test clusters sees T + I in each refit and
T + I / S in their mean; the spread between refits sees R + I, since T is common to all. By the
law of total variance var(mean) = var(T) + (var(R) + var(I)) / S, which is estimated by

    jackknife variance of the mean + variance between refits / S

This counts var(I) / S twice, which is little, and makes up for degrees of freedom that are
estimated themselves: taken out, coverage falls to 92 % with three refits. The two parts are nearly
independent and their sum gets Satterthwaite's degrees of freedom. With two refits no such interval
covers, so three are asked for. Refits on overlapping training rows differ less than those on new
ones would: what is called training here is what was varied.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.stats import t as student

from degradation.errors import DataError
from probes.metrics import Metric, Outcome, delta, evaluate
from probes.statistics.clusters import Clusters
from probes.statistics.jackknife import influences, leave_out
from probes.statistics.student import rare_changes, spread

__all__ = ["VarianceComponents", "refit_components", "variance_components"]

FEWEST = 3
"""Refits from which the interval covers as it says."""


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """The mean delta of several refits, and where its uncertainty comes from; points throughout.

    Attributes:
        mean: Mean delta of the refits.
        sampling: Standard error of the mean from test sampling.
        training: Standard deviation of a refit from training, on all test rows there might be:
            root of the variance between refits less var(I), at least 0.
        refits: Number of refits.
        total_se: Standard error of the mean from both.
        single_se: Standard error that one refit alone would have, from both.
        dof: Degrees of freedom of `total_se`.
        low: Lower end of the 95 % interval of the mean.
        high: Upper end.
    """

    mean: float
    sampling: float
    training: float
    refits: int
    total_se: float
    single_se: float
    dof: float
    low: float
    high: float


def variance_components(
    deltas: Float64[np.ndarray, " s"],
    sampling_var: Float64[np.ndarray, " s"],
    *,
    mean_var: float | None = None,
    sampling_dof: float = np.inf,
    level: float = 0.95,
) -> VarianceComponents:
    """Separate test sampling from training, and give the mean delta an interval for both.

    Args:
        deltas: Of at least three refits on the same test rows.
        sampling_var: Variance of each from test sampling alone, as the jackknife gives it.
        mean_var: The same of their mean. If it is not known, the mean of `sampling_var` is taken,
            which is too large by (S - 1) / S of var(I), and var(I) counts as training.
        sampling_dof: Degrees of freedom of `mean_var`.
        level: Of the interval.

    Raises:
        DataError: If there are fewer than three refits.
    """
    s = len(deltas)
    if s < FEWEST:
        raise DataError(
            f"Expected at least {FEWEST} refits to tell training from test sampling, found {s}. "
            "Refit more often: with other training rows, or another seed."
        )
    each = float(sampling_var.mean())
    sampling = each if mean_var is None else mean_var
    interaction = max(0.0, (each - sampling) * s / (s - 1))
    between = float(deltas.var(ddof=1))
    training = max(0.0, between - interaction)
    total = sampling + between / s
    parts = sampling**2 / sampling_dof + (between / s) ** 2 / (s - 1)
    dof = total**2 / parts if parts > 0 else np.inf
    mean, se = float(deltas.mean()), float(np.sqrt(total))
    half = float(student.ppf((1 + level) / 2, dof)) * se
    return VarianceComponents(
        mean=mean,
        sampling=float(np.sqrt(sampling)),
        training=float(np.sqrt(training)),
        refits=s,
        total_se=se,
        single_se=float(np.sqrt(each + training)),
        dof=float(min(dof, 1e9)),
        low=mean - half,
        high=mean + half,
    )


def refit_components(
    metric: Metric,
    refits: Sequence[tuple[Outcome, Outcome]],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
) -> VarianceComponents:
    """The variance components of refits from their outcomes, pre and post, on the same rows.

    Args:
        metric: What is measured.
        refits: At least three, with equal training on both sides of each.
        clusters: Of the rows.
        rng: Groups clusters where a ranking has many (`probes.statistics.jackknife`).
        level: Of the interval.

    Raises:
        DataError: If there are fewer than three refits, or the metric is undefined in one of them
            or without one of the clusters.
    """
    outcomes = {
        (i, side): (metric, outcome)
        for i, sides in enumerate(refits)
        for side, outcome in zip(("pre", "post"), sides, strict=True)
    }
    points = {key: float(evaluate(metric, one)[0]) for key, (_, one) in outcomes.items()}
    without = leave_out(clusters, outcomes, rng=rng)
    if any(np.isnan(values).any() or np.isnan(points[key]) for key, values in without.items()):
        raise DataError(
            f"Expected {metric.name} of every refit, with any one cluster left out; it is not "
            f"defined: {metric.undefined}. Use more rows or another metric."
        )
    count = range(len(refits))
    deltas = np.array([delta(points[i, "pre"], points[i, "post"], metric) for i in count])
    influence = np.stack(
        [influences(delta(without[i, "pre"], without[i, "post"], metric)) for i in count]
    )
    each = [
        spread(one, rare_changes(metric, sides, clusters, float(value))).se ** 2
        for one, sides, value in zip(influence, refits, deltas, strict=True)
    ]
    mean = spread(influence.mean(axis=0))
    # Of rare changes, the variance of the mean cannot fall below its share of that of the refits.
    floor = min(each) / len(refits)
    return variance_components(
        deltas,
        np.array(each, dtype=np.float64),
        mean_var=max(float(mean.se**2), float(floor)),
        sampling_dof=float(mean.dof),
        level=level,
    )
