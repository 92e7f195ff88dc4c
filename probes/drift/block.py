"""All measures at one block, with intervals, null values and what to hold them against."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from probes.drift.cka import BANDWIDTH
from probes.drift.found import Found
from probes.drift.jackknife import GROUPS
from probes.drift.neighbours import NEIGHBOURS, chance
from probes.drift.records import Curve, Missing, Shape, Similarity
from probes.drift.row_space import RowSpace
from probes.drift.sides import (
    Key,
    Sides,
    Values,
    class_variance_null,
    moment_values,
    pair_values,
    shuffled_values,
    subspace_angles,
)
from probes.drift.sums import PairSums, pair_sums
from probes.statistics.bootstrap import stream

__all__ = ["BlockDrift", "Settings", "measure_block"]

SPLITS = 4
"""Random halves of the features over which a ceiling is averaged."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How drift is measured.

    Attributes:
        row_cap: Most rows for measures that compare every row with every other.
        shuffles: Shuffles behind null values.
        neighbours: k of the nearest neighbours.
        bandwidth: Of the RBF kernel, over the median distance.
        groups: Groups of the jackknife, if there are as many clusters.
        seed: Decides subsets, shuffles, halves and groups.
    """

    row_cap: int = 2000
    shuffles: int = 19
    neighbours: int = NEIGHBOURS
    bandwidth: float = BANDWIDTH
    groups: int = GROUPS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class BlockDrift:
    """What was found at one block."""

    identical: bool
    similarities: tuple[Similarity, ...]
    shapes: tuple[Shape, ...]
    curves: tuple[Curve, ...]
    missing: tuple[Missing, ...]


def measure_block(
    block: int,
    x: Float32[np.ndarray, "n d"],
    y: Float32[np.ndarray, "n e"],
    labels: Mapping[str, Int64[np.ndarray, " n"]],
    clusters: np.ndarray,
    groups: Int64[np.ndarray, " n"],
    capped: Int64[np.ndarray, " m"],
    settings: Settings,
) -> BlockDrift:
    """Measure one block.

    Sums over rows are made once for all rows and once more group by group: the values without a
    group come from their difference.

    Args:
        block: Its number.
        x: Features of pre, shape (n, d).
        y: Features of post, shape (n, e).
        labels: By question, the class of each row, -1 where unknown, shape (n,).
        clusters: Shape (n,).
        groups: Jackknife group of each row, from 0, shape (n,).
        capped: Positions of the rows for measures that compare every row with every other.
        settings: How to measure.

    Raises:
        DataError: If a feature is not finite.
    """
    sides = Sides.of(x, y, labels, clusters)
    components = _curve_components(sides)
    total = sides.sums()
    whole, parts = _by_groups(sides, total, groups, components)
    near, near_parts, space = _row_space(sides.take(capped), groups[capped], settings)
    found = Found(
        block=block,
        n={key: len(x) for key in whole.found} | {key: len(capped) for key in near.found},
        whole=whole.found | near.found,
        without=[one | two for one, two in zip(parts, near_parts, strict=True)],
        missing=whole.missing | near.missing,
        shuffles=_shuffles(sides, total, space, settings, block),
        feature_halves=_feature_halves(x, sides, capped, settings, block),
        row_halves=_row_halves(sides, groups),
        label_null=class_variance_null(
            sides,
            total,
            shuffles=settings.shuffles,
            rng=stream(settings.seed, f"drift/labels/{block}"),
        ),
        chances={"mutual_knn": chance(len(capped), settings.neighbours)},
        angles=subspace_angles(sides, total),
    )
    return BlockDrift(
        identical=sides.identical,
        similarities=found.similarities(),
        shapes=found.shapes(),
        curves=found.curves(components),
        missing=found.reasons(),
    )


def _curve_components(sides: Sides) -> tuple[int, ...]:
    """1, 2, 4, ... up to the number of principal components that either side can have."""
    most = min(len(sides.x) - 1, sides.x.shape[1], sides.y.shape[1])
    return tuple(2**i for i in range(max(1, most).bit_length()))


def _by_groups(
    sides: Sides, total: PairSums, groups: Int64[np.ndarray, " n"], components: Sequence[int]
) -> tuple[Values, list[dict[Key, float]]]:
    """Values of all rows, and without each group."""
    whole = moment_values(sides, total, components)
    parts = []
    for group in range(int(groups.max()) + 1):
        out = sides.take(groups == group)
        left = total - pair_sums(out.x, out.y, (total.x, total.y))
        parts.append(moment_values(sides.take(groups != group), left, components).found)
    return whole, parts


def _row_space(
    sides: Sides, groups: Int64[np.ndarray, " m"], settings: Settings
) -> tuple[Values, list[dict[Key, float]], RowSpace]:
    """The same for measures that compare every row with every other."""
    count = int(groups.max(initial=0)) + 1
    space = RowSpace.of(
        sides,
        k=settings.neighbours,
        bandwidth=settings.bandwidth,
        spare=int(np.bincount(groups).max(initial=0)),
    )
    whole = space.values(np.ones(len(groups), dtype=bool))
    return whole, [space.values(groups != group).found for group in range(count)], space


def _shuffles(
    sides: Sides, total: PairSums, space: RowSpace, settings: Settings, block: int
) -> list[dict[Key, float]]:
    """Values under shuffles of the rows of post."""
    rng, own = (stream(settings.seed, f"drift/shuffle/{block}/{name}") for name in ("all", "cap"))
    found = []
    for _ in range(settings.shuffles):
        one = shuffled_values(sides, total, rng.permutation(len(sides.x)))
        found.append(one | space.shuffled(own.permutation(space.n)))
    return found


def _feature_halves(
    x: Float32[np.ndarray, "n d"],
    sides: Sides,
    capped: Int64[np.ndarray, " m"],
    settings: Settings,
    block: int,
) -> list[dict[Key, float]]:
    """Values between random halves of the features of pre, as they come from the encoder."""
    rng = stream(settings.seed, f"drift/halves/{block}")
    width = x.shape[1]
    if width < 2:
        return []
    found = []
    for _ in range(SPLITS):
        order = rng.permutation(width)
        first, second = x[:, order[: width // 2]], x[:, order[width // 2 :]]
        halves = Sides.of(first, second, sides.labels, sides.clusters)
        own = halves.take(capped)
        space = RowSpace.of(
            own, k=settings.neighbours, bandwidth=settings.bandwidth, spare=0
        ).values(np.ones(len(capped), dtype=bool))
        found.append(pair_values(halves, halves.sums()).found | space.found)
    return found


def _row_halves(sides: Sides, groups: Int64[np.ndarray, " n"]) -> list[dict[Key, float]]:
    """Values on each half of the groups of clusters."""
    halves = [sides.take(groups % 2 == half) for half in (0, 1)]
    return [moment_values(one, one.sums(), ()).found for one in halves]
