"""From the predictions of one question to its numbers, with intervals and tests.

Probing and recomputing from a predictions file both end here, so they cannot disagree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from probes.metrics import ClassOutcome, Metric, Outcome, delta, evaluate
from probes.questions import Prediction
from probes.records import Baseline, Estimate, Numbers
from probes.statistics.bootstrap import bca, interval, resample, stream
from probes.statistics.clusters import Clusters, group_rows
from probes.statistics.coverage import warning
from probes.statistics.differences import mcnemar_exact
from probes.statistics.jackknife import influences, leave_out
from probes.statistics.permutation import permutation_p
from probes.statistics.student import (
    rare_changes,
    score_interval,
    spread,
    t_interval,
    t_p,
)

__all__ = ["METHOD", "Summary", "summarise"]

METHOD = "cluster jackknife, t"
"""Name of the interval in a record (see `probes.statistics.student`)."""
ALONE = "all rows that decide it lie in one cluster, so nothing says how far off it may be"
RANKED_SWAPS = 499
"""Permutations of a ranking, each of which costs two passes over twice the rows."""

Place = tuple[int, str, str, str]
"""Block, probe, side and metric."""


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
        predictions: Of one question, all of the same rows in the same order. Those of the sides
            have the clusters of the first.
        metrics: What to compute; of those that rank, only the first gets a permutation test, which
            is dear.
        draws: Bootstrap draws, and swaps of the permutation test.
        seed: Decides them, with the names of question, block and probe.

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
    undefined = {
        metric.name: f"undefined on the {len(first.ids)} rows predicted: {metric.undefined}"
        for metric in metrics
        if any(np.isnan(points[key]) for key in points if _of(key, metric))
    }
    clusters = group_rows(first.clusters)
    asked = _Asked(first.question, first.clusters, clusters, every, points, draws, seed)
    asked.leave_out(set(undefined))
    undefined |= {
        metric.name: ALONE
        for metric in metrics
        if metric.name not in undefined
        and any(np.isnan(asked.without[key]).any() for key in asked.without if _of(key, metric))
    }
    usable = [
        key
        for key, values in asked.without.items()
        if key[-1] not in undefined and not np.isnan(values).any()
    ]
    swapped = [m.name for m in metrics if m.rows is not None and m.name not in undefined]
    swapped += [m.name for m in metrics if m.rows is None and m.name not in undefined][:1]
    return Summary(
        baselines=tuple(asked.baseline(key) for key in usable if key[2] == "none"),
        numbers={
            (block, probe, name): asked.numbers(block, probe, name, swap=name in swapped)
            for block, probe, side, name in usable
            if side == "pre"
        },
        undefined=undefined,
    )


def _of(key: Place, metric: Metric) -> bool:
    """Whether a place is one of the metric with an encoder."""
    return key[-1] == metric.name and key[2] != "none"


@dataclass(slots=True, eq=False)
class _Asked:
    """The outcomes of a question, their values, and the values without each cluster."""

    question: str
    names: np.ndarray
    clusters: Clusters
    every: Mapping[Place, tuple[Metric, Prediction]]
    points: Mapping[Place, float]
    draws: int
    seed: int
    without: dict[Place, Float64[np.ndarray, " _"]] = field(default_factory=dict)
    draws_of: dict[tuple[int, str], dict] = field(default_factory=dict)

    def leave_out(self, absent: set[str]) -> None:
        """Fill `without` for what has a value."""
        defined = {
            key: (metric, one.outcome)
            for key, (metric, one) in self.every.items()
            if key[-1] not in absent and not np.isnan(self.points[key])
        }
        rng = stream(self.seed, f"jackknife/{self.question}")
        apart = [key for key in defined if self._apart(self.every[key][1])]
        alike = {key: found for key, found in defined.items() if key not in apart}
        self.without = leave_out(self.clusters, alike, rng=rng)
        for key in apart:
            own = group_rows(self.every[key][1].clusters)
            self.without |= leave_out(own, {key: defined[key]}, rng=rng)

    def _apart(self, one: Prediction) -> bool:
        """Whether the rows of a baseline belong together in another way than those of the sides."""
        return one.side == "none" and not np.array_equal(one.clusters, self.names)

    def baseline(self, key: Place) -> Baseline:
        """What is read without an encoder."""
        return Baseline(
            question=self.question, name=key[1], metric=key[-1], estimate=self.score(key)
        )

    def score(self, key: Place) -> Estimate:
        """One side in points."""
        metric, value = self.every[key][0], self.points[key]
        low, high = score_interval(value, self.without[key], 0.95, bounded=metric.higher_is_better)
        return Estimate(value=100 * value, low=100 * float(low), high=100 * float(high))

    def numbers(self, block: int, probe: str, name: str, *, swap: bool) -> Numbers:
        """Pre against post."""
        keys = [(block, probe, side, name) for side in ("pre", "post")]
        (metric, pre), (_, post) = (self.every[key] for key in keys)
        sides = (pre.outcome, post.outcome)
        value = float(delta(*(self.points[key] for key in keys), metric))
        influence = influences(delta(*(self.without[key] for key in keys), metric))
        found = spread(influence, rare_changes(metric, sides, self.clusters, value))
        (low, high), (low_90, high_90) = (t_interval(value, found, at) for at in (0.95, 0.90))
        drawn = delta(*(self.drawn(block, probe)[key] for key in keys), metric)
        percentile, accelerated = interval(drawn, 0.95), bca(value, drawn, influence, 0.95)
        flips = _flips(*sides)
        exact = metric.name == "accuracy" and flips is not None
        return Numbers(
            pre=self.score(keys[0]),
            post=self.score(keys[1]),
            delta=Estimate(value=value, low=float(low), high=float(high)),
            delta_low_90=float(low_90),
            delta_high_90=float(high_90),
            p=float(t_p(value, found)),
            p_mcnemar=mcnemar_exact(*flips) if exact else None,
            p_permutation=self.permuted(metric, sides, block, probe) if swap else None,
            broken=flips[0] if flips else None,
            fixed=flips[1] if flips else None,
            n=len(pre.ids),
            clusters=self.clusters.count,
            effective_clusters=self.clusters.effective,
            interval=METHOD,
            se=float(found.se),
            dof=float(found.dof),
            warning=warning(self.clusters.count),
            percentile_low=percentile[0],
            percentile_high=percentile[1],
            bca_low=accelerated[0],
            bca_high=accelerated[1],
        )

    def permuted(
        self, metric: Metric, sides: tuple[Outcome, Outcome], block: int, probe: str
    ) -> float:
        """Its p by the permutation test."""
        rng = stream(self.seed, f"permutation/{self.question}/{block}/{probe}/{metric.name}")
        draws = self.draws if metric.rows is not None else min(self.draws, RANKED_SWAPS)
        return permutation_p(metric, sides, self.clusters, draws=draws, rng=rng)

    def drawn(self, block: int, probe: str) -> dict[Place, Float64[np.ndarray, " draws"]]:
        """Bootstrap draws of both sides; metrics that rank cost more and are drawn apart."""
        if (block, probe) not in self.draws_of:
            self.draws_of.clear()
            found = self.draws_of[block, probe] = {}
            keys = [key for key in self.without if key[:2] == (block, probe)]
            for kind in ("sums", "rankings"):
                own = {
                    key: (metric, one.outcome)
                    for key in keys
                    for metric, one in [self.every[key]]
                    if (metric.rows is None) == (kind == "rankings")
                }
                rng = stream(self.seed, f"bootstrap/{self.question}/{block}/{probe}/{kind}")
                if own:
                    found |= resample(self.clusters.member, own, draws=self.draws, rng=rng)
        return self.draws_of[block, probe]


def _flips(pre: object, post: object) -> tuple[int, int] | None:
    """Rows broken and fixed; None where an outcome is not right or wrong."""
    if not isinstance(pre, ClassOutcome) or not isinstance(post, ClassOutcome):
        return None
    before, after = pre.predicted == pre.labels, post.predicted == post.labels
    return int((before & ~after).sum()), int((~before & after).sum())
