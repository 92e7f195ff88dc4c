"""Which rows belong to which slice: by class, by the size of a box, by the attributes of the task.

Slices are cut by what was known before any probe was fitted, never by predictions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from probes.table import Table

__all__ = ["CLASS", "Cut", "cuts"]

CLASS = "class"
"""Attribute of the slices by true class."""
SIZES = ("small", "middle", "large")
NO_BOX = "no box"


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """The rows of one value of one attribute.

    Attributes:
        attribute: `class`, `<role> area` or an attribute of the task.
        value: As people read it.
        rows: Whether each of the k rows belongs to it, shape (k,).
        bounds: Least and largest area of the boxes in it; None for other attributes and where it is
            empty.
    """

    attribute: str
    value: str
    rows: Bool[np.ndarray, " k"]
    bounds: tuple[float, float] | None = None


def cuts(
    table: Table, question: str, rows: Int64[np.ndarray, " k"]
) -> tuple[list[Cut], Mapping[str, int]]:
    """The slices of some rows of a table, attribute by attribute, empty ones included.

    The classes are those of the question; gaze has none. The area of the box of each role is cut at
    the terciles of these rows, equal areas staying together; rows without the box are a slice of
    their own where there are any. Values of an attribute come in sorted order; rows where it is not
    known belong to none of its slices.

    Args:
        table: The rows of all splits.
        question: A label set, or `gaze`.
        rows: Positions in the table, as predicted.

    Returns:
        The slices, and the number of rows whose value is not known, by attribute.
    """
    found: list[Cut] = []
    if question in table.labels:
        labels = table.labels[question][rows]
        names = table.spec.label_sets[question]
        found += [Cut(CLASS, name, labels == k) for k, name in enumerate(names)]
    for role, boxes in table.boxes.items():
        found += _by_area(f"{role} area", boxes[rows])
    unknown = {}
    for attribute, column in table.attributes.items():
        values = column[rows].astype(str)
        name = attribute if all(attribute != cut.attribute for cut in found) else f"{attribute} *"
        unknown[name] = int((values == "").sum())
        found += [Cut(name, value, values == value) for value in np.unique(values) if value]
    return found, unknown


def _by_area(attribute: str, boxes: Float[np.ndarray, "k 4"]) -> Iterator[Cut]:
    """Terciles of the area of boxes, and the rows without one if there are any."""
    x1, y1, x2, y2 = boxes.astype(np.float64).T
    area = (x2 - x1) * (y2 - y1)
    known = np.isfinite(area)
    edges = np.quantile(area[known], (1 / 3, 2 / 3)) if known.any() else (0.0, 0.0)
    place = np.where(known, np.searchsorted(edges, area), -1)
    for k, value in enumerate(SIZES):
        here = place == k
        bounds = (float(area[here].min()), float(area[here].max())) if here.any() else None
        yield Cut(attribute, value, here, bounds)
    if not known.all():
        yield Cut(attribute, NO_BOX, ~known)
