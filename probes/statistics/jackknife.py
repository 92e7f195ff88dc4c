"""What each cluster adds to a number: the jackknife that leaves out one cluster after another.

The influence of cluster i of g on a number is u_i = (g - 1) / g (mean - value without i), where the
mean is over all values without one. Their squares give the variance of the number, g / (g - 1) sum
u^2, which is Tukey's jackknife; their third powers the acceleration of BCa; and influences of the
same cluster on several numbers add. Nothing here is random, except that of a *ranking* with more
than 400 clusters, groups of clusters are left out (Kott 2001), since each one costs a pass over all
rows.
"""

from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from probes.metrics import Metric, Outcome
from probes.statistics import bootstrap
from probes.statistics.clusters import Clusters, finished, ranked_slots, row_sums

__all__ = ["influences", "leave_out"]

Key = TypeVar("Key", bound=Hashable)

GROUPS = 400
"""Most groups of clusters that are left out of a ranking one after another."""


def leave_out(
    clusters: Clusters,
    outcomes: Mapping[Key, tuple[Metric, Outcome]],
    *,
    rng: np.random.Generator,
) -> dict[Key, Float64[np.ndarray, " _"]]:
    """Values of each metric, as fractions, without one cluster (or group of them) after another.

    Args:
        clusters: Of the n rows.
        outcomes: By any key, a metric and an outcome with n rows.
        rng: Decides groups, the same for every ranking.

    Returns:
        By the same keys: shape (g,), for rankings at most (400,). NaN where the metric is undefined
        without that cluster.
    """
    values = {}
    for slot, sums in row_sums(clusters, outcomes).items():
        dense = sums if isinstance(sums, np.ndarray) else sums.toarray()
        own = {key: one for key, one in outcomes.items() if _reads(one, slot)}
        values |= dict(finished(own, {slot: dense.sum(axis=0) - dense}))
    group = _groups(clusters.count, rng)[clusters.member]
    groups = int(group.max()) + 1
    for slot, ranking in ranked_slots(outcomes).items():
        own = {key: one for key, one in outcomes.items() if _reads(one, slot)}
        step = max(1, bootstrap.CHUNK // len(group))
        read = np.concatenate(
            [
                ranking((group != np.arange(i, min(i + step, groups))[:, None]).astype(np.float32))
                for i in range(0, groups, step)
            ]
        )
        values |= dict(finished(own, {slot: read}))
    return {key: values[key] for key in outcomes}


def _reads(one: tuple[Metric, Outcome], slot: tuple[object, int]) -> bool:
    metric, outcome = one
    return (metric.rows or metric.ranked, id(outcome)) == slot


def _groups(g: int, rng: np.random.Generator) -> Int64[np.ndarray, " g"]:
    """The group of each cluster: itself, or one of 400 of equally many clusters, by chance."""
    if g <= GROUPS:
        return np.arange(g)
    return rng.permutation(g) % GROUPS


def influences(without: Float64[np.ndarray, "*batch g"]) -> Float64[np.ndarray, "*batch g"]:
    """Influence of each cluster, from the values without it.

    Example:
        >>> influences(np.array([1.5, 1.0, 0.5])).round(3).tolist()  # the mean of 0, 1 and 2
        [-0.333, 0.0, 0.333]
    """
    g = without.shape[-1]
    return (g - 1) / g * (without.mean(axis=-1, keepdims=True) - without)
