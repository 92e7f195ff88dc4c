"""Paired cluster bootstrap: how much a number would move with other subjects, pictures or clips.

A draw takes as many clusters as there are, with replacement; a cluster drawn twice counts twice,
with all its rows. Every outcome of a question, both sides included, sees the same draws, so the
difference of two sides is paired. The intervals are percentiles; they describe test sampling only,
not the variation from fitting the probe on other training rows.
"""

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, Float64
from scipy.sparse import csr_array

from degradation.errors import DataError
from probes.metrics import Metric, Outcome
from probes.records import Estimate

__all__ = ["estimate", "interval", "resample", "stream", "two_sided_p"]

Key = TypeVar("Key", bound=Hashable)

CHUNK = 2_000_000
"""Row weights held at once; bounds memory whatever the number of draws."""


def stream(seed: int, name: str) -> np.random.Generator:
    """The generator of one named stage: independent of every other name under the same seed."""
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *words.tolist()]))


def resample(
    clusters: np.ndarray,
    outcomes: Mapping[Key, tuple[Metric, Outcome]],
    *,
    draws: int,
    rng: np.random.Generator,
) -> dict[Key, Float64[np.ndarray, " draws"]]:
    """Values of each metric under the same cluster draws, as fractions, shape (draws,).

    Args:
        clusters: Cluster of each row, shape (n,).
        outcomes: By any key, a metric and an outcome with n rows.
        draws: Number of draws.
        rng: Source of the draws.

    Returns:
        By the same keys; NaN in draws for which a metric is undefined.

    Raises:
        DataError: If there are fewer than two clusters.
    """
    names, member = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    g = len(names)
    if g < 2:
        raise DataError(
            f"Expected at least two clusters to resample, found {g} in {len(member)} rows. "
            "Use more pictures, or give rows the clusters they really belong to."
        )
    clusters_of = csr_array((np.ones(len(member)), (member, np.arange(len(member)))))
    shared, sums, rankings = {}, {}, {}
    for key, (metric, outcome) in outcomes.items():
        # Metrics of one outcome that read the same statistics get them computed once.
        shared[key] = slot = (metric.rows or metric.ranked, id(outcome))
        if metric.rows is None and slot not in rankings:
            rankings[slot] = metric.ranked(outcome)
        elif metric.rows is not None and slot not in sums:
            sums[slot] = clusters_of @ metric.rows(outcome)
    values = {key: np.empty(draws) for key in outcomes}
    for part, counts in _counts(g, draws, max(1, CHUNK // max(g, len(member))), rng):
        wide = counts.astype(np.float64)
        drawn = {slot: wide @ each for slot, each in sums.items()}
        if rankings:
            rows = counts[:, member]
            drawn |= {slot: ranking(rows) for slot, ranking in rankings.items()}
        for key, (metric, _) in outcomes.items():
            values[key][part] = metric.finish(drawn[shared[key]])
    return values


def _counts(
    g: int, draws: int, chunk: int, rng: np.random.Generator
) -> Iterator[tuple[slice, Float32[np.ndarray, "m g"]]]:
    """How often each draw takes each cluster, some draws at a time."""
    for start in range(0, draws, chunk):
        m = min(chunk, draws - start)
        picks = rng.integers(0, g, size=(m, g)) + g * np.arange(m)[:, None]
        counts = np.bincount(picks.ravel(), minlength=m * g).reshape(m, g)
        yield slice(start, start + m), counts.astype(np.float32)


def interval(values: Float64[np.ndarray, " draws"], level: float) -> tuple[float, float]:
    """Percentile interval of the draws for which the number is defined, for example level 0.95.

    Raises:
        DataError: If it is defined in none.
    """
    defined = values[~np.isnan(values)]
    if not len(defined):
        raise DataError(
            "The metric is undefined in every bootstrap draw. A class may lie in too few clusters: "
            "use more rows or another metric."
        )
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(value: float, values: Float64[np.ndarray, " draws"]) -> Estimate:
    """A number with the 95 % interval of its draws, both in the unit given."""
    low, high = interval(values, 0.95)
    return Estimate(value=float(value), low=low, high=high)


def two_sided_p(deltas: Float64[np.ndarray, " draws"]) -> float:
    """The p of a zero difference: (1 + 2 min(#<= 0, #>= 0)) / (draws + 1), at most 1.

    The added one keeps it above 0, since finitely many draws cannot show an impossibility. Draws
    that are NaN do not count.
    """
    defined = deltas[~np.isnan(deltas)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return min(1.0, (1 + 2 * tail) / (len(defined) + 1))
