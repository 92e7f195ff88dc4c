"""The audit of several tasks together, and the row lists that remove what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Bool

from degradation.audit.implied_labels import ImpliedLabels, find_implied_labels
from degradation.audit.overlaps import (
    KINDS,
    Exposed,
    Overlap,
    Shared,
    find_exposed,
    find_overlaps,
    find_shared,
)
from degradation.audit.splits import EVALUATED, LEARNED, Numbered, number_splits
from degradation.row_lists import row_list_path, write_row_list
from degradation.tasks.task import Task

__all__ = ["RADIUS", "Audit", "RowList", "SplitCount", "audit_tasks", "write_clean_lists"]

RADIUS = 4
"""In how many bits the hashes of near-duplicates differ at most.

Measured: of ten million pairs of a test and a training picture of the six scenes tasks, all of
them different, 39 are this near, most of them portraits (within 2 bits: 3; 6 bits: 254); of 4,950
pairs of faces (LFW) none (the nearest are 12 apart), of 276 pairs of photographs none (6: a stereo
pair). Copies of 24 photographs at half their size and JPEG quality 75 are all this near. So of a
thousand portraits against a thousand, eight pairs may be false: a few rows of train too many that
`--clean` leaves out."""


@dataclass(frozen=True, slots=True)
class SplitCount:
    """What was read of a split: `flat` and `unreadable` count pictures."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # records hold it

    task: str
    split: str
    digest: str
    rows: int
    pictures: int
    flat: int
    unreadable: int


@dataclass(frozen=True, slots=True, eq=False)
class Audit:
    """What was found.

    Attributes:
        splits: What was compared.
        overlaps: For every two splits that are compared and every kind, also where 0.
        exposed: For every split that is evaluated and every task that is learned from before it.
        implied: For every two splits with rows about the same things.
        radius: In how many bits the hashes of pictures that look the same differ at most.
        opened: Whether pictures were opened; if not, they were compared by their names.
    """

    splits: tuple[SplitCount, ...]
    overlaps: tuple[Overlap, ...]
    exposed: tuple[Exposed, ...]
    implied: tuple[ImpliedLabels, ...]
    radius: int
    opened: bool
    _numbered: Numbered
    _shared: tuple[Shared, ...]


@dataclass(frozen=True, slots=True)
class RowList:
    """A list that was written: how many of how many rows of a split it keeps."""

    task: str
    split: str
    path: Path
    kept: int
    rows: int


def audit_tasks(
    tasks: Sequence[tuple[Task, Path | None]],
    *,
    cache: Path,
    radius: int = RADIUS,
    open_pictures: bool = True,
    progress: bool = False,
) -> Audit:
    """Find what splits that are evaluated share with those that are learned from, in all tasks.

    Args:
        tasks: Tasks, each with its data root (None if it has none).
        cache: Root of all caches, where hashes of pictures are kept.
        radius: As for `near_pairs`.
        open_pictures: If False, pictures are the same only if their references and roots are.
        progress: Whether to show bars on stderr.

    Raises:
        ConfigError: Splits that the audit does not know, or too many.
        DataError: Rows that cannot be read.
    """
    numbered = number_splits(tasks, cache=cache, open_pictures=open_pictures, progress=progress)
    shared = find_shared(numbered, radius)
    counts = tuple(
        SplitCount(
            task=split.spec.name,
            split=split.name,
            digest=split.digest,
            rows=len(split.rows),
            pictures=len(np.unique(split.files)),
            flat=split.flat,
            unreadable=split.unreadable,
        )
        for split in numbered.splits
    )
    return Audit(
        splits=counts,
        overlaps=tuple(find_overlaps(numbered, shared, radius)),
        exposed=tuple(find_exposed(numbered, shared)),
        implied=tuple(find_implied_labels(numbered)),
        radius=radius,
        opened=open_pictures,
        _numbered=numbered,
        _shared=tuple(shared),
    )


def write_clean_lists(audit: Audit, name: str, cache: Path) -> list[RowList]:
    """Write, for every split, the list of rows that share nothing with what is evaluated later.

    From train goes what shares a picture, its looks or a cluster with any audited split that is
    val, test or all; from val, with test or all. Test splits, and those that are evaluated by
    folds, keep all their rows.

    Args:
        audit: From `audit_tasks`.
        name: Of the lists; lists of this name are replaced.
        cache: Root of all caches.

    Raises:
        ConfigError: A name that is not plain, or row ids with line breaks.
        CacheError: The disk is full or cannot be written.
    """
    folder = row_list_path(cache, name, "task", "split").parents[1]
    for old in folder.glob("*/*.txt"):  # made for other tests, perhaps
        old.unlink()
    made_from = ", ".join(f"{one.task}/{one.split} {one.digest[:12]}" for one in audit.splits)
    looks = f", or looks the same (hashes within {audit.radius} bits)" if audit.opened else ""
    same = "has the same content" if audit.opened else "has the same name"
    lists = []
    for index, split in enumerate(audit._numbered.splits):
        keep = _clean(audit, index)
        path = row_list_path(cache, name, split.spec.name, split.name)
        header = {
            "sdiag row list": name,
            "task": split.spec.name,
            "split": split.name,
            "rule": f"rows of train whose picture {same}{looks}, or whose cluster is the same, as "
            "one of a val, test or all split below are left out; rows of val, as one of test or "
            "all; others keep all",
            "kept": f"{keep.sum()} of {len(keep)}",
            "made from": made_from,
        }
        write_row_list(path, split.rows.ids[keep].tolist(), rows_digest=split.digest, header=header)
        lists.append(RowList(split.spec.name, split.name, path, int(keep.sum()), len(keep)))
    return lists


def _clean(audit: Audit, index: int) -> Bool[np.ndarray, " n"]:
    """Which rows of a split share nothing with a split that is evaluated later."""
    splits = audit._numbered.splits
    split = splits[index]
    if split.name not in ("train", "val"):
        return np.ones(len(split.rows), dtype=bool)
    later = sum(
        1 << k
        for k, other in enumerate(splits)
        if EVALUATED.get(other.name, 0) > LEARNED[split.name]
    )
    shared = np.zeros(len(split.rows), dtype=np.uint64)
    for kind in KINDS:
        shared |= audit._shared[index][kind]
    return (shared & np.uint64(later)) == 0
