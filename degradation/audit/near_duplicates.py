"""All pairs of 64-bit hashes that differ in few bits, exactly, without comparing all with all.

Two hashes within `radius` bits of each other agree on at least one of any radius + 1 disjoint
parts of their bits (pigeonhole; Norouzi, Punjani and Fleet, Fast Search in Hamming Space with
Multi-Index Hashing, CVPR 2012). So hashes are sorted by each part in turn, and only those with an
equal part are compared. Parts are dealt from the bits that vary most, and a large bucket is split
again by the bits that its part does not hold, so that hashes which crowd together, by nature or by
intent, cost no more than they must.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Int64, UInt64

__all__ = ["near_pairs"]

_SHORT = 256
"""Buckets up to this size are compared side by side, all of them at once."""

_SMALL = 4096
"""Up to this many hashes are compared all with all: splitting them would take longer."""

_TILE = (128, 4096)  # 4 MB of differences: they stay in the processor's cache

Pairs = tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]


def near_pairs(hashes: UInt64[np.ndarray, " n"], radius: int) -> Iterator[Pairs]:
    """Blocks of pairs of positions whose hashes differ in at most `radius` bits, each pair once.

    There may be far more pairs than hashes: consume the blocks one by one. Memory beside them
    grows with n, not with the number of pairs.

    Args:
        hashes: Distinct hashes.
        radius: Largest number of different bits, 0 to 63.

    Raises:
        ValueError: The hashes are not distinct.
    """
    if len(np.unique(hashes)) != len(hashes):
        raise ValueError("near_pairs expects distinct hashes. Take np.unique of them first.")
    yield from _search(hashes, np.arange(len(hashes)), radius, (1 << 64) - 1, ())


def _search(
    hashes: UInt64[np.ndarray, " n"],
    members: Int64[np.ndarray, " m"],
    radius: int,
    open_bits: int,
    earlier: tuple[int, ...],
) -> Iterator[Pairs]:
    """Pairs among some hashes that agree in all bits but `open_bits`.

    Args:
        hashes: All hashes.
        members: Positions of those to compare.
        radius: As for `near_pairs`.
        open_bits: Mask of the bits that may differ.
        earlier: Masks of parts that were searched before: pairs that agree there are known.
    """
    values = hashes[members]
    parts = _parts(values, radius, open_bits) if len(members) > _SMALL else []
    buckets = [_buckets(values, part) for part in parts]
    effort = sum(float(sizes.astype(float) @ sizes) for _, _, sizes in buckets)
    if not parts or effort > len(members) ** 2:
        yield from _all_with_all(values, members, radius, earlier)
        return
    for part, (order, starts, sizes) in zip(parts, buckets, strict=True):
        short = sizes <= _SHORT
        yield from _side_by_side(
            values[order], members[order], np.where(short, sizes, 1), radius, earlier, starts
        )
        for start, size in zip(starts[~short].tolist(), sizes[~short].tolist(), strict=True):
            bucket = members[order[start : start + size]]
            yield from _search(hashes, bucket, radius, open_bits & ~part, earlier)
        earlier = (*earlier, part)


def _parts(values: UInt64[np.ndarray, " m"], radius: int, open_bits: int) -> list[int]:
    """Masks of radius + 1 parts of the bits that vary, dealt so that all vary much."""
    bits = [bit for bit in range(64) if open_bits >> bit & 1]
    ones = np.array([np.count_nonzero(values & np.uint64(1 << bit)) for bit in bits])
    varied = np.minimum(ones, len(values) - ones)
    ranked = [bits[i] for i in np.argsort(-varied, kind="stable") if varied[i]]
    if len(ranked) <= radius:
        return []
    dealt = [ranked[first :: radius + 1] for first in range(radius + 1)]
    return [sum(1 << bit for bit in part) for part in dealt]


def _buckets(
    values: UInt64[np.ndarray, " m"], part: int
) -> tuple[Int64[np.ndarray, " m"], Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]:
    """Order that puts equal parts together, and start and size of each bucket in it."""
    keys = values & np.uint64(part)
    order = np.argsort(keys)
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return order, starts, np.diff(starts, append=len(keys))


def _side_by_side(
    values: UInt64[np.ndarray, " m"],
    members: Int64[np.ndarray, " m"],
    sizes: Int64[np.ndarray, " k"],
    radius: int,
    earlier: tuple[int, ...],
    starts: Int64[np.ndarray, " k"],
) -> Iterator[Pairs]:
    """Pairs within buckets: each hash with the next of its bucket, the next but one, and so on.

    Args:
        values: Hashes, sorted into buckets.
        members: Their positions.
        sizes: How many hashes at the start of each bucket are compared.
        radius: As for `near_pairs`.
        earlier: As for `_search`.
        starts: Where each bucket starts.
    """
    ordinal = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    after = np.repeat(sizes, sizes) - 1 - ordinal  # how many of the bucket come after each
    first = np.repeat(starts, sizes) + ordinal
    step = 0
    while True:
        step += 1
        keep = after >= step
        first, after = first[keep], after[keep]
        if not len(first):
            return
        differs = values[first] ^ values[first + step]
        hit = first[_near(differs, radius, earlier)]
        if len(hit):
            yield members[hit], members[hit + step]


def _all_with_all(
    values: UInt64[np.ndarray, " m"],
    members: Int64[np.ndarray, " m"],
    radius: int,
    earlier: tuple[int, ...],
) -> Iterator[Pairs]:
    """Pairs by comparing each hash with every later one, in tiles."""
    height, width = _TILE
    for top in range(0, len(values), height):
        for left in range(top, len(values), width):
            differs = values[top : top + height, None] ^ values[None, left : left + width]
            i, j = np.nonzero(_near(differs, radius, earlier))
            i, j = i + top, j + left
            later = j > i
            if later.any():
                yield members[i[later]], members[j[later]]


def _near(
    differs: UInt64[np.ndarray, "*shape"], radius: int, earlier: tuple[int, ...]
) -> Bool[np.ndarray, "*shape"]:
    """Where few bits differ, and in every earlier part at least one."""
    near = np.bitwise_count(differs) <= radius
    if earlier and near.any():
        found = differs[near]
        fresh = np.ones(len(found), dtype=bool)
        for part in earlier:
            fresh &= (found & np.uint64(part)) != 0
        near[near] = fresh
    return near
