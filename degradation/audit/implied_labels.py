"""What the labels of one split say about those of another: rows about the same thing, matched.

Two rows are about the same thing if they show the same picture and have the same boxes up to
rounding, the two people of a pair in either order. Matching says how many test rows were met in
training; the best map from one label to the other, by majority, says what was learned there:

    agreement   of the matched rows, the share whose label the seen label implies
    majority    the same without looking at the seen label, by the most common one
    backward    the share whose label implies the seen one: near 1 where the seen labels are
                coarser, which gives away the group but not the class

Maps are read off the matched rows themselves, so with few rows and many classes agreement is high
by construction; `rows` says how few.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Int64

from degradation.audit.overlaps import compared
from degradation.audit.splits import AuditedSplit, Numbered

__all__ = ["ImpliedLabels", "find_implied_labels", "same_things"]

_ROUNDING = 0.002  # a pixel of a picture 500 pixels wide
_DERIVED = "union"  # of person_a and person_b
_MOST_PAIRS = 2**20  # of rows that are compared at a time


@dataclass(frozen=True, slots=True)
class ImpliedLabels:
    """What the labels of a split that is learned from say about those of an evaluated one.

    Attributes:
        evaluated: Task, split and label set that is evaluated.
        seen: Task, split and label set that is learned from.
        rows: How many labelled evaluated rows are about something that was seen with its label.
        of_rows: How many labelled rows the evaluated split has.
        agreement: See the head of this file.
        majority: Likewise.
        backward: Likewise.
        implied: rows x agreement / of_rows: the share of evaluated labels that are known already.
        mapping: The best map, seen class to evaluated class; classes that were met.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}  # records hold it

    evaluated: tuple[str, str, str]
    seen: tuple[str, str, str]
    rows: int
    of_rows: int
    agreement: float
    majority: float
    backward: float
    implied: float
    mapping: Mapping[str, str]


def find_implied_labels(numbered: Numbered) -> list[ImpliedLabels]:
    """For every two splits that are compared and have rows about the same things."""
    found = []
    for evaluated in numbered.splits:
        for seen in numbered.splits:
            if evaluated is seen or not compared(evaluated, seen):
                continue
            pairs = same_things(evaluated, seen)
            if not len(pairs[0]):
                continue
            found += [
                one
                for label_set in evaluated.spec.label_sets
                for seen_set in seen.spec.label_sets
                if (one := _implied(evaluated, label_set, seen, seen_set, pairs))
            ]
    return found


def same_things(
    one: AuditedSplit, other: AuditedSplit
) -> tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]:
    """Positions in both splits of all pairs of rows that are about the same thing."""
    roles = set(one.spec.roles) - {_DERIVED}
    none = np.zeros(0, dtype=np.int64)
    if roles != set(other.spec.roles) - {_DERIVED}:
        return none, none
    swapped = {"person_a": "person_b", "person_b": "person_a"}
    firsts, seconds = [none], [none]
    for i, j in _same_files(one.files, other.files):
        same = _same_boxes(one, other, i, j, {role: role for role in roles})
        if swapped.keys() <= roles:
            turned = {role: swapped.get(role, role) for role in roles}
            same |= _same_boxes(one, other, i, j, turned)
        firsts.append(i[same])
        seconds.append(j[same])
    return np.concatenate(firsts), np.concatenate(seconds)


def _same_files(
    one: Int64[np.ndarray, " n"], other: Int64[np.ndarray, " m"]
) -> Iterator[tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]]]:
    """Blocks of pairs of rows with the same file."""
    order = np.argsort(other, kind="stable")
    start = np.searchsorted(other[order], one, side="left")
    count = np.searchsorted(other[order], one, side="right") - start
    ends = np.cumsum(count)
    first = 0
    while first < len(one):
        before = ends[first] - count[first]
        last = max(first + 1, int(np.searchsorted(ends, before + _MOST_PAIRS, side="right")))
        counts = count[first:last]
        i = np.repeat(np.arange(first, last), counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield i, order[start[i] + within]
        first = last


def _same_boxes(
    one: AuditedSplit,
    other: AuditedSplit,
    i: Int64[np.ndarray, " p"],
    j: Int64[np.ndarray, " p"],
    roles: Mapping[str, str],
) -> np.ndarray:
    same = np.ones(len(i), dtype=bool)
    for role, its in roles.items():
        a, b = _boxes(one, role)[i], _boxes(other, its)[j]
        same &= np.isclose(a, b, rtol=0, atol=_ROUNDING, equal_nan=True).all(axis=1)
    return same


def _boxes(split: AuditedSplit, role: str) -> Float32[np.ndarray, "n 4"]:
    """Of the middle frame, as `AuditedSplit.files`."""
    boxes = split.rows.boxes[role]
    return boxes[:, boxes.shape[1] // 2]


def _implied(
    evaluated: AuditedSplit,
    label_set: str,
    seen: AuditedSplit,
    seen_set: str,
    pairs: tuple[Int64[np.ndarray, " p"], Int64[np.ndarray, " p"]],
) -> ImpliedLabels | None:
    """What one label set says about another; None if no row has both."""
    i, j = pairs
    labels, its = evaluated.rows.labels[label_set], seen.rows.labels[seen_set]
    both = (labels[i] >= 0) & (its[j] >= 0)
    i, first = np.unique(i[both], return_index=True)  # one seen row for each evaluated one
    j = j[both][first]
    if not len(i):
        return None
    classes, its_classes = evaluated.spec.label_sets[label_set], seen.spec.label_sets[seen_set]
    counts = np.zeros((len(its_classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (its[j], labels[i]), 1)
    n, of_rows = len(i), int((labels >= 0).sum())
    right = int(counts.max(axis=1).sum())
    return ImpliedLabels(
        evaluated=(evaluated.spec.name, evaluated.name, label_set),
        seen=(seen.spec.name, seen.name, seen_set),
        rows=n,
        of_rows=of_rows,
        agreement=right / n,
        majority=float(counts.sum(axis=0).max() / n),
        backward=float(counts.max(axis=0).sum() / n),
        implied=right / of_rows,
        mapping={
            its_classes[row]: classes[int(counts[row].argmax())]
            for row in np.flatnonzero(counts.sum(axis=1)).tolist()
        },
    )
