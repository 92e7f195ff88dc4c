"""Paired cluster bootstrap: how much a number would move with other subjects, pictures or clips.

A draw takes as many clusters as there are, with replacement; a cluster drawn twice counts twice,
with all its rows. Every outcome of one call, both sides included, sees the same draws, so the
difference of two sides is paired. The intervals here are the percentile and the BCa interval (Efron
1987). They describe test sampling only, not the variation from fitting the probe on other training
rows. With few clusters both are too narrow (docs/calibration.md): the interval of a record is
that of `probes.statistics.student`, and these stand beside it.

Where all metrics are decided by sums over rows, clusters with the same sums are the same to every
number. How often each *kind* of cluster is drawn is then multinomial, and with 0/1 outcomes there
are few kinds, whatever the number of clusters.
"""

import hashlib
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import numpy as np
from jaxtyping import Float32, Float64, Int64
from scipy.sparse import csr_array, hstack
from scipy.stats import norm

from degradation.errors import DataError
from probes.metrics import Metric, Outcome
from probes.statistics.clusters import Slot, finished, group_rows, ranked_slots, row_sums

__all__ = ["bca", "interval", "resample", "stream"]

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
    shortcut: bool = True,
) -> dict[Key, Float64[np.ndarray, " draws"]]:
    """Values of each metric under the same cluster draws, as fractions, shape (draws,).

    Args:
        clusters: Cluster of each row, shape (n,).
        outcomes: By any key, a metric and an outcome with n rows.
        draws: Number of draws.
        rng: Source of the draws.
        shortcut: Whether to draw kinds of clusters where at most half as many kinds as clusters
            differ in any sum. The values have the same joint distribution either way.

    Returns:
        By the same keys; NaN in draws for which a metric is undefined.

    Raises:
        DataError: If there are fewer than two clusters.
    """
    grouped = group_rows(clusters)
    sums, rankings = row_sums(grouped, outcomes), ranked_slots(outcomes)
    g, n = grouped.count, len(grouped.member)
    counted = None
    if shortcut and sums and not rankings:
        counted = _kinds(sums)
    if counted is not None:
        first, times = counted
        sums = {slot: each[first] for slot, each in sums.items()}
        parts = _kind_counts(times, draws, max(1, CHUNK // len(times)), rng)
    else:
        parts = _counts(g, draws, max(1, CHUNK // max(g, n)), rng)
    values = {key: np.empty(draws) for key in outcomes}
    for part, counts in parts:
        wide = counts.astype(np.float64)
        drawn = {slot: wide @ each for slot, each in sums.items()}
        if rankings:
            rows = counts[:, grouped.member]
            drawn |= {slot: ranking(rows) for slot, ranking in rankings.items()}
        for key, found in finished(outcomes, drawn):
            values[key][part] = found
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


def _kind_counts(
    times: Int64[np.ndarray, " q"], draws: int, chunk: int, rng: np.random.Generator
) -> Iterator[tuple[slice, Int64[np.ndarray, "m q"]]]:
    """How often each draw takes a cluster of each kind, some draws at a time."""
    g = int(times.sum())
    for start in range(0, draws, chunk):
        m = min(chunk, draws - start)
        yield slice(start, start + m), rng.multinomial(g, times / g, size=m)


def _kinds(
    sums: Mapping[Slot, np.ndarray | csr_array],
) -> tuple[Int64[np.ndarray, " q"], Int64[np.ndarray, " q"]] | None:
    """One cluster of each kind, and how many are of it; None where kinds are not few.

    Clusters are of one kind if all their sums are equal. They are sorted by one random combination
    of the sums and compared in full afterwards, which is quicker than sorting the sums.
    """
    parts = list(sums.values())
    every = (
        csr_array(hstack([csr_array(each) for each in parts]))
        if any(isinstance(each, csr_array) for each in parts)
        else np.concatenate(parts, axis=1)
    )
    # Fixed, since which clusters are equal is no matter of chance; whole numbers add exactly.
    mix = np.random.default_rng(0).integers(1, 2**32, every.shape[1]).astype(np.float64)
    _, first, kind, times = np.unique(
        every @ mix, return_index=True, return_inverse=True, return_counts=True
    )
    if 2 * len(times) > len(kind):
        return None
    if abs(every - every[first[kind]]).max() > 0:
        return None
    # By their first cluster: an order that swapping the sides does not change.
    order = np.argsort(first)
    return first[order], times[order].astype(np.int64)


def interval(values: Float64[np.ndarray, " draws"], level: float) -> tuple[float, float]:
    """Percentile interval of the draws for which the number is defined, for example level 0.95.

    Raises:
        DataError: If it is defined in none.
    """
    low, high = np.quantile(_defined(values), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca(
    value: float,
    values: Float64[np.ndarray, " draws"],
    influence: Float64[np.ndarray, " g"],
    level: float,
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987, as in scipy.stats.bootstrap).

    With z0 the normal quantile of the share of draws below the value and a the acceleration
    sum u^3 / (6 (sum u^2)^1.5), its ends are the quantiles of the draws at
    Phi(z0 + (z0 + z) / (1 - a (z0 + z))) for the two z of the level.

    Args:
        value: The number itself.
        values: Its draws.
        influence: Of each cluster on it (`probes.statistics.jackknife`).
        level: For example 0.95.

    Raises:
        DataError: If the number is defined in no draw.
    """
    defined = _defined(values)
    if defined.min() == defined.max():
        return float(defined[0]), float(defined[0])
    # Draws that equal the value but for rounding count half, as in scipy those that equal it do.
    slack = 1e-9 * max(1.0, abs(value))
    below = ((defined < value - slack).mean() + (defined <= value + slack).mean()) / 2
    # All draws on one side of the value say only that the share is beyond the last draw.
    z0 = norm.ppf(np.clip(below, 1 / (len(defined) + 1), 1 - 1 / (len(defined) + 1)))
    squares = float((influence**2).sum())
    acceleration = float((influence**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    z = z0 + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(defined, norm.cdf(z0 + z / (1 - acceleration * z)))
    return float(low), float(high)


def _defined(values: Float64[np.ndarray, " draws"]) -> Float64[np.ndarray, " some"]:
    """The draws for which the number is defined."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        raise DataError(
            "The metric is undefined in every bootstrap draw. A class may lie in too few clusters: "
            "use more rows or another metric."
        )
    return defined
