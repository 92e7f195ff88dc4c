"""How the corrected cosine of two tasks differs between two models on the same batches.

The difference is paired: batches are left out of both sides at once, so noise that the sides share,
which pictures happen to be in a batch, goes out of it. Its interval is a t interval on the
linearised difference; where a cosine itself has an open interval, so has its difference.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from degradation.errors import PairingError
from probes.conflict.estimates import (
    Estimate,
    PairEstimate,
    bounded,
    estimate,
    pair_slots,
    part_grams,
)
from probes.conflict.leaves import parts_of
from probes.conflict.products import Products
from probes.conflict.unbiased import FEWEST, covariances, cross_mean, kernels, t_quantile

__all__ = ["ChangeEstimate", "changes"]


@dataclass(frozen=True, slots=True)
class ChangeEstimate:
    """The corrected cosine of two tasks, after minus before; negative means more conflict.

    Attributes:
        part: Name of the part.
        first: Name of a task.
        second: Of another.
        cosine: The difference; None where a side is below floor.
    """

    part: str
    first: str
    second: str
    cosine: Estimate | None


def changes(before: Products, after: Products) -> Iterator[ChangeEstimate]:
    """Differences on all parts that both sides have, by part, then pair.

    Raises:
        PairingError: The sides have other tasks or another number of batches.
    """
    if before.tasks != after.tasks or before.batches != after.batches:
        raise PairingError(
            f"Expected the same batches of the same tasks on both sides, found {before.batches} of "
            f"{', '.join(before.tasks)} and {after.batches} of {', '.join(after.tasks)}. Measure "
            "both sides in one run."
        )
    found = [_numbers(side) for side in (before, after)]
    pairs = np.array(
        [(i, j) for i in range(len(before.tasks)) for j in range(i + 1, len(before.tasks))]
    )
    for part in found[0]:
        if part in found[1]:
            yield from _part_changes(found[0][part], found[1][part], pairs, before.batches)


@dataclass(frozen=True, slots=True)
class _Side:
    """One part of one side: its pairs, their U and the sketched products."""

    estimates: tuple[PairEstimate, ...]
    cross: Float64[np.ndarray, "T T"]
    gram: Float64[np.ndarray, "T M T M"]


def _numbers(products: Products) -> dict[str, _Side]:
    """By name of the part."""
    parts = parts_of(products.leaves)
    cross = cross_mean(products.total, products.same)
    pairs = estimate(products, seed=0, draws=0).pairs
    return {
        part.name: _Side(
            tuple(pair for pair in pairs if pair.part == part.name),
            cross[list(part.members)].sum(axis=0),
            gram,
        )
        for part, gram in zip(parts, part_grams(products, parts), strict=True)
    }


def _part_changes(
    before: _Side, after: _Side, pairs: Int64[np.ndarray, "pairs 2"], batches: int
) -> Iterator[ChangeEstimate]:
    """The differences on one part."""
    half = np.full(len(pairs), np.nan)
    if batches >= FEWEST:
        tasks = len(before.cross)
        spread = covariances(np.concatenate([kernels(side.gram) for side in (before, after)]))
        slots = pair_slots(pairs, tasks)
        both = np.concatenate([slots, slots + tasks * (tasks + 1) // 2], axis=1)
        weights = np.concatenate([-_weights(before, pairs), _weights(after, pairs)], axis=1)
        half = t_quantile(batches) * np.sqrt(spread.of(both).variance(weights))
    for row, (old, new) in enumerate(zip(before.estimates, after.estimates, strict=True)):
        change = None
        if old.cosine is not None and new.cosine is not None:
            value = new.cosine.value - old.cosine.value
            ends = (old.cosine.low, old.cosine.high, new.cosine.low, new.cosine.high)
            reach = np.nan if None in ends else float(half[row])
            change = bounded(value, value - reach, value + reach)
        yield ChangeEstimate(old.part, old.first, old.second, change)


def _weights(side: _Side, pairs: Int64[np.ndarray, "pairs 2"]) -> Float64[np.ndarray, "pairs 3"]:
    """Derivatives of the corrected cosine by U_ij, U_ii and U_jj; 0 below floor."""
    i, j = pairs.T
    n, a, b = side.cross[i, j], side.cross[i, i], side.cross[j, j]
    known = (a > 0) & (b > 0)
    a, b = np.where(known, a, 1.0), np.where(known, b, 1.0)
    v = np.sqrt(a * b)
    table = np.stack([1 / v, -n / v / (2 * a), -n / v / (2 * b)], axis=1)
    return np.where(known[:, None], table, 0.0)
