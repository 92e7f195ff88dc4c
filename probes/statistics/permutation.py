"""Paired permutation test: if nothing differs, the two sides of a cluster might as well be swapped.

Both sides of a whole cluster are swapped together, half of the time, and the delta is compared with
those that result: p = (1 + # of at least this size) / (1 + draws), or the exact share where few
clusters differ at all and every swap can be tried. It assumes nothing about distributions; what
it tests is that the sides are exchangeable, which is more than a delta of zero.
"""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float64
from scipy.sparse import csr_array

from probes.metrics import ClassOutcome, Metric, Outcome, delta, evaluate
from probes.statistics.clusters import Clusters

__all__ = ["permutation_p"]

EXACT = 12
"""Clusters that differ up to which every swap is tried: 2^12 of them."""
CHUNK = 2_000_000
"""Row weights held at once."""


def permutation_p(
    metric: Metric,
    sides: tuple[Outcome, Outcome],
    clusters: Clusters,
    *,
    draws: int,
    rng: np.random.Generator,
) -> float:
    """Two-sided p of the delta under swaps of whole clusters.

    Swaps for which the metric is undefined do not count.

    Args:
        metric: Decided by sums, which are swapped, or by a ranking, in which scores are.
        sides: Pre and post, of the same rows.
        clusters: Of these rows.
        draws: Swaps to try where there are too many for all.
        rng: Source of the swaps.
    """
    pre, post = sides
    observed = abs(float(delta(evaluate(metric, pre), evaluate(metric, post), metric)[0]))
    if metric.rows is None:
        changed, swapped = _by_ranking(metric, (pre, post), clusters)
    else:
        changed, swapped = _by_sums(metric, (pre, post), clusters)
    if not changed:
        return 1.0
    if changed <= EXACT:
        # The observed order is among them, so p is at least 2^-changed.
        every = np.array(list(itertools.product((0.0, 1.0), repeat=changed)))
        found = np.abs(swapped(every))
        found = found[~np.isnan(found)]
        return float((found >= observed - _slack(observed)).mean())
    hits = count = 0
    for start in range(0, draws, step := max(1, CHUNK // changed)):
        m = min(step, draws - start)
        found = np.abs(swapped(rng.integers(0, 2, size=(m, changed)).astype(np.float64)))
        found = found[~np.isnan(found)]
        hits, count = hits + int((found >= observed - _slack(observed)).sum()), count + len(found)
    return (1 + hits) / (1 + count)


def _slack(observed: float) -> float:
    """Rounding of sums in another order is no difference."""
    return 1e-9 * max(1.0, observed)


Swapped = Callable[[Float64[np.ndarray, "b x"]], Float64[np.ndarray, " b"]]


def _by_sums(
    metric: Metric, sides: tuple[Outcome, Outcome], clusters: Clusters
) -> tuple[int, Swapped]:
    """Clusters whose sums differ, and the deltas after swaps of them."""
    one, two = (csr_array(clusters.sum(metric.rows(side))) for side in sides)
    apart = two - one
    apart.eliminate_zeros()
    apart = apart[np.flatnonzero(np.diff(apart.indptr))]
    totals = [each.sum(axis=0)[None] for each in (one, two)]

    def swapped(swap: Float64[np.ndarray, "b x"]) -> Float64[np.ndarray, " b"]:
        moved = swap @ apart
        values = [
            metric.finish(total + way * moved) for total, way in zip(totals, (1, -1), strict=True)
        ]
        return delta(*values, metric)

    return apart.shape[0], swapped


def _by_ranking(
    metric: Metric, sides: tuple[ClassOutcome, ClassOutcome], clusters: Clusters
) -> tuple[int, Swapped]:
    """Clusters whose scores differ, and the deltas after swaps of them.

    Rows of both sides are ranked together once; a side is the weights that pick its rows.
    """
    pre, post = sides
    differ = np.unique(clusters.member[(pre.scores != post.scores).any(axis=1)])
    place = np.full(clusters.count, -1)
    place[differ] = np.arange(len(differ))
    both = ClassOutcome(
        np.concatenate([pre.labels, post.labels]), np.concatenate([pre.scores, post.scores])
    )
    ranking = metric.ranked(both)

    def swapped(swap: Float64[np.ndarray, "b x"]) -> Float64[np.ndarray, " b"]:
        found = []
        for part in np.array_split(swap, -(-len(swap) * len(both.labels) // CHUNK)):
            wide = np.concatenate([part, np.zeros((len(part), 1))], axis=1).astype(np.float32)
            rows = wide[:, place[clusters.member]]
            values = [
                metric.finish(ranking(np.concatenate(order, axis=1)))
                for order in ((1 - rows, rows), (rows, 1 - rows))
            ]
            found.append(delta(*values, metric))
        return np.concatenate(found)

    return len(differ), swapped
