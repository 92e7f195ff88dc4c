"""What a split that is evaluated shares with one that is learned from.

Kinds of overlap:

    file      a picture whose file has the same content (or, unopened, the same reference)
    near      another picture that looks the same: perceptual hashes within a few bits
    cluster   a cluster (subject, clip ...) that occurs on both sides
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from degradation.audit.near_duplicates import near_pairs
from degradation.audit.splits import EVALUATED, LEARNED, AuditedSplit, Numbered

__all__ = [
    "KINDS",
    "Exposed",
    "Kind",
    "Overlap",
    "Shared",
    "compared",
    "find_exposed",
    "find_overlaps",
    "find_shared",
]

Kind = Literal["file", "near", "cluster"]
KINDS: tuple[Kind, ...] = ("file", "near", "cluster")

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Overlap:
    """What one evaluated split shares with one that is learned from, in one way.

    Attributes:
        evaluated: Task and split that is evaluated.
        seen: Task and split that is learned from; for a split that is evaluated by folds, itself.
        kind: How they overlap.
        units: How many pictures (clusters, for that kind) of the evaluated split are shared.
        of_units: How many it has.
        rows: How many of its rows these are.
        of_rows: How many rows it has.
        examples: Ids of an evaluated row and of a row that was seen.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # records hold it

    evaluated: tuple[str, str]
    seen: tuple[str, str]
    kind: Kind
    units: int
    of_units: int
    rows: int
    of_rows: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Exposed:
    """How many rows of an evaluated split whoever learns from a task has seen, in any way.

    Attributes:
        evaluated: Task and split that is evaluated.
        seen: Task that is learned from, all its splits that come before.
        rows: How many rows share a picture, its looks or a cluster with one of those.
        of_rows: How many rows the split has.
        ways: How many of them by kind; a row may be shared in several ways.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # records hold it

    evaluated: tuple[str, str]
    seen: str
    rows: int
    of_rows: int
    ways: Mapping[Kind, int]


Shared = Mapping[Kind, UInt64[np.ndarray, " _"]]
"""By row of a split, the splits with which it shares something: bit k stands for the k-th."""


def compared(evaluated: AuditedSplit, seen: AuditedSplit) -> bool:
    """Whether learning from `seen` and then evaluating on `evaluated` is what one does."""
    later = EVALUATED.get(evaluated.name, 0) > LEARNED.get(seen.name, len(EVALUATED))
    return later or (evaluated is seen and seen.name == "all")


def find_shared(numbered: Numbered, radius: int) -> list[Shared]:
    """For every split, what each of its rows shares with which splits.

    A row of a split that is evaluated by folds shares with its own split what lies in another
    cluster; otherwise, a row's own split does not count.

    Args:
        numbered: The splits.
        radius: In how many bits the hashes of pictures that look the same differ at most.
    """
    splits = numbered.splits
    in_files = _bits([split.files for split in splits])
    in_clusters = _bits([split.clusters for split in splits])
    in_looks = _bits([split.looks for split in splits], len(numbered.hashes))
    near = in_looks.copy()
    for i, j in near_pairs(numbered.hashes, radius):
        np.bitwise_or.at(near, i, in_looks[j])
        np.bitwise_or.at(near, j, in_looks[i])
    shared = []
    for k, split in enumerate(splits):
        others = ~np.uint64(1 << k)
        own = np.uint64(1 << k)
        files = in_files[split.files] & others
        looks = np.where(split.looks >= 0, _at(near, split.looks), 0).astype(np.uint64) & others
        clusters = in_clusters[split.clusters] & others
        if split.name == "all":
            files |= own * _elsewhere(split.files, split.clusters)
            looks |= own * _looks_elsewhere(split, numbered.hashes, radius)
        if split.spec.cluster == "picture":  # would count the same pictures twice
            clusters = np.zeros_like(clusters)
        shared.append({"file": files, "near": looks & ~files, "cluster": clusters})
    return shared


def _bits(
    columns: list[Int64[np.ndarray, " _"]], size: int | None = None
) -> UInt64[np.ndarray, " k"]:
    """For every number, in which of the columns it occurs; -1 is no number."""
    size = (
        1 + max((int(one.max()) for one in columns if len(one)), default=-1)
        if size is None
        else size
    )
    bits = np.zeros(size, dtype=np.uint64)
    for k, column in enumerate(columns):
        bits[column[column >= 0]] |= np.uint64(1 << k)
    return bits


def _at(
    values: UInt64[np.ndarray, " k"], index: Int64[np.ndarray, " n"]
) -> UInt64[np.ndarray, " n"]:
    """Values at positions, 0 at position -1."""
    return np.append(values, np.uint64(0))[index]


def _elsewhere(
    numbers: Int64[np.ndarray, " n"],
    clusters: Int64[np.ndarray, " n"],
    near: Iterable[tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]] = (),
) -> Bool[np.ndarray, " n"]:
    """Which rows have a number that also occurs, or is near one that occurs, in another cluster."""
    size = numbers.max(initial=-1) + 1
    first = np.full(size, np.iinfo(np.int64).max)
    last = np.full(size, -1)
    np.minimum.at(first, numbers, clusters)
    np.maximum.at(last, numbers, clusters)
    near_first, near_last = first.copy(), last.copy()
    for i, j in near:
        for one, other in ((i, j), (j, i)):
            np.minimum.at(near_first, one, first[other])
            np.maximum.at(near_last, one, last[other])
    return (near_first[numbers] < clusters) | (near_last[numbers] > clusters)


def _looks_elsewhere(
    split: AuditedSplit, hashes: UInt64[np.ndarray, " k"], radius: int
) -> Bool[np.ndarray, " n"]:
    has = split.looks >= 0
    own, numbers = np.unique(split.looks[has], return_inverse=True)
    found = np.zeros(len(has), dtype=bool)
    found[has] = _elsewhere(numbers, split.clusters[has], near_pairs(hashes[own], radius))
    return found


# ------------------------------------------------------------------ counts


def find_overlaps(numbered: Numbered, shared: list[Shared], radius: int) -> list[Overlap]:
    """Counts and examples for every two splits that are compared, also where they are 0.

    Args:
        numbered: The splits.
        shared: From `find_shared`.
        radius: As given to it.
    """
    overlaps = []
    for evaluated, its_shared in zip(numbered.splits, shared, strict=True):
        for k, seen in enumerate(numbered.splits):
            if not compared(evaluated, seen):
                continue
            for kind in KINDS:
                if kind == "near" and not numbered.opened:
                    continue
                if kind == "cluster" and not _clusters_compare(evaluated, seen):
                    continue
                rows = (its_shared[kind] >> np.uint64(k) & np.uint64(1)).astype(bool)
                units = evaluated.clusters if kind == "cluster" else evaluated.files
                overlaps.append(
                    Overlap(
                        evaluated=(evaluated.spec.name, evaluated.name),
                        seen=(seen.spec.name, seen.name),
                        kind=kind,
                        units=len(np.unique(units[rows])),
                        of_units=len(np.unique(units)),
                        rows=int(rows.sum()),
                        of_rows=len(rows),
                        examples=_examples(evaluated, seen, kind, rows, numbered.hashes, radius),
                    )
                )
    return overlaps


def find_exposed(numbered: Numbered, shared: list[Shared]) -> list[Exposed]:
    """For every evaluated split and every task with a split that is learned from before it.

    Args:
        numbered: The splits.
        shared: From `find_shared`.
    """
    exposed = []
    for evaluated, its_shared in zip(numbered.splits, shared, strict=True):
        before: dict[str, int] = {}
        for k, seen in enumerate(numbered.splits):
            if compared(evaluated, seen):
                before[seen.spec.name] = before.get(seen.spec.name, 0) | 1 << k
        for task, bits in before.items():
            hit = {kind: (its_shared[kind] & np.uint64(bits)) != 0 for kind in KINDS}
            exposed.append(
                Exposed(
                    evaluated=(evaluated.spec.name, evaluated.name),
                    seen=task,
                    rows=int(np.logical_or.reduce(list(hit.values())).sum()),
                    of_rows=len(evaluated.rows),
                    ways={kind: int(rows.sum()) for kind, rows in hit.items()},
                )
            )
    return exposed


def _clusters_compare(evaluated: AuditedSplit, seen: AuditedSplit) -> bool:
    """Whether clusters say more than pictures do, and can be the same on both sides at all."""
    same_kind = evaluated.spec.cluster == seen.spec.cluster != "picture"
    within = evaluated.spec.name == seen.spec.name
    return same_kind and evaluated is not seen and (within or _share_clusters(evaluated, seen))


def _share_clusters(one: AuditedSplit, other: AuditedSplit) -> bool:
    return bool(np.isin(one.clusters, other.clusters).any())


def _examples(
    evaluated: AuditedSplit,
    seen: AuditedSplit,
    kind: Kind,
    rows: Bool[np.ndarray, " n"],
    hashes: UInt64[np.ndarray, " k"],
    radius: int,
) -> tuple[tuple[str, str], ...]:
    """A few pairs of ids, of different pictures or clusters."""
    shared = np.flatnonzero(rows)
    units = evaluated.clusters if kind == "cluster" else evaluated.files
    _, first = np.unique(units[shared], return_index=True)
    pairs = []
    for row in shared[np.sort(first)[:_EXAMPLES]]:
        if kind == "near":
            away = np.bitwise_count(_at(hashes, seen.looks) ^ hashes[evaluated.looks[row]])
            match = (away <= radius) & (seen.looks >= 0)
        else:
            its = seen.clusters if kind == "cluster" else seen.files
            match = its == units[row]
        if evaluated is seen:
            match &= seen.clusters != seen.clusters[row]
        pairs.append((str(evaluated.rows.ids[row]), str(seen.rows.ids[np.flatnonzero(match)[0]])))
    return tuple(pairs)
