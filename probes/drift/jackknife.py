"""Intervals by leaving out one group of clusters at a time.

The delete-group jackknife: clusters (subjects, pictures, clips) are dealt to about twenty groups,
a number is computed again without each group, and

    variance = (g - 1) / g * sum (value without a group - their mean)^2.

The interval is value +- t(g - 1) standard errors, cut to the range of the measure. Unlike a
bootstrap it never sees a row twice, whose copy would be its nearest neighbour and add nothing to a
rank; and sums over rows give each of its values by one subtraction.

Simulated at 240 rows with and without strong clustering, the intervals of the smooth measures cover
92 to 98 % (mean 95 %). Two are not smooth: neighbours change by jumps, and their intervals are half
as wide again as they need be (99 %); where a number of components parts two of about the same size,
the class signal in so many components jumps, and its interval covers 83 to 93 % only.
"""

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import TypeVar

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import t as student

from degradation.errors import DataError
from probes.drift.records import Number
from probes.selection import clustered_folds

__all__ = ["GROUPS", "interval", "intervals", "jackknife_groups", "quantile"]

GROUPS = 20
FEWEST = 5
"""Fewer groups than this give no interval worth the name."""

Key = TypeVar("Key", bound=Hashable)


def jackknife_groups(
    clusters: np.ndarray, *, rng: np.random.Generator, groups: int = GROUPS
) -> Int64[np.ndarray, " n"]:
    """Group of each row, from 0: no cluster is divided, and groups are of about the same size.

    Classes are not dealt evenly: groups that are more alike than chance makes them would hide how
    much another sample could differ (the change of anisotropy was covered in 88 % of simulated
    samples with groups alike in classes, and in 96 % without).

    Args:
        clusters: Shape (n,).
        rng: Source of the deal.
        groups: How many, or as many as there are clusters.

    Raises:
        DataError: If there are fewer than five clusters.
    """
    found = len(set(np.asarray(clusters).astype(str).tolist()))
    if found < FEWEST:
        raise DataError(
            f"Expected at least {FEWEST} clusters for an interval, found {found} in "
            f"{len(clusters)} rows. Use more pictures, or give rows the clusters they belong to."
        )
    return clustered_folds(clusters, np.zeros(len(clusters), dtype=np.int64), groups, rng=rng)


def intervals(
    whole: Mapping[Key, float],
    without: Sequence[Mapping[Key, float]],
    ranges: Mapping[Key, tuple[float, float]],
) -> dict[Key, Number]:
    """A number for each key that has a value in the whole and without every group.

    Args:
        whole: Values of all rows.
        without: Values without each group.
        ranges: Lowest and highest value possible; keys that are absent have none.
    """
    numbers = {}
    for key, value in whole.items():
        parts = np.array([one.get(key, np.nan) for one in without], dtype=np.float64)
        if np.isfinite(value) and np.isfinite(parts).all():
            low, high = ranges.get(key, (-np.inf, np.inf))
            numbers[key] = interval(value, parts, low=low, high=high)
    return numbers


def interval(
    value: float, parts: Float64[np.ndarray, " g"], *, low: float = -np.inf, high: float = np.inf
) -> Number:
    """A value with its 95 % interval from the values without each group, cut to [low, high].

    Example:
        >>> interval(0.5, np.full(20, 0.5))
        Number(value=0.5, low=0.5, high=0.5)
    """
    g = len(parts)
    reach = quantile(g - 1) * float(np.sqrt((g - 1) * parts.var()))
    return Number(
        value=float(value), low=max(low, float(value) - reach), high=min(high, float(value) + reach)
    )


@cache
def quantile(degrees: int) -> float:
    """Upper 2.5 % point of Student's t."""
    return float(student.ppf(0.975, degrees))
