"""The rows of all splits of a task as one table, with the features of both sides of a pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from degradation.axes import Side
from degradation.cache import Features, PairEntry, check_paired, open_features
from degradation.errors import CacheError, PairingError
from degradation.tasks.task import TaskSpec
from probes.records import SplitCard

__all__ = ["Table", "box_features", "open_table"]

ORDER = ("train", "val", "test", "all")
COARSE_GRID = (16, 16)
"""Gaze cells where the sides have no grid in common (other patch sizes, imported features)."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The n rows of all splits, split after split in reading order.

    Attributes:
        spec: What is asked.
        features: By split, the features of both sides.
        pictures: By split, the features without an encoder; empty if there are none.
        splits: Split of each row, shape (n,).
        ids: Shape (n,).
        clusters: Shape (n,).
        labels: By label set, -1 where unknown, shape (n,).
        boxes: By role, the mean over those frames that have one, NaN where none has, shape (n, 4).
        points: Annotated gaze points, NaN-padded, shape (n, a, 2).
    """

    spec: TaskSpec
    features: Mapping[str, Mapping[Side, Features]]
    pictures: Mapping[str, Features]
    splits: np.ndarray
    ids: np.ndarray
    clusters: np.ndarray
    labels: Mapping[str, Int64[np.ndarray, " n"]]
    boxes: Mapping[str, Float32[np.ndarray, "n 4"]]
    points: Float32[np.ndarray, "n a 2"]

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks that every split has on both sides."""
        sets = [set(one.blocks) for sides in self.features.values() for one in sides.values()]
        return tuple(sorted(set.intersection(*sets)))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the gaze cells: the patch grid, if both sides share one."""
        grids = {one.grid for sides in self.features.values() for one in sides.values()}
        return grids.pop() if len(grids) == 1 and (0, 0) not in grids else COARSE_GRID

    def pooled(self, side: Side, block: int) -> Float32[np.ndarray, "n d"]:
        """The regions of the task on one side and block, concatenated."""
        parts = [sides[side].pooled(block, self.spec.regions) for sides in self.features.values()]
        return np.concatenate(parts)

    def reference(self, region: str) -> Float32[np.ndarray, "n d"] | None:
        """`pixels` or `histogram`; None where the pictures were not kept."""
        if not self.pictures:
            return None
        return np.concatenate([one.pooled(0, (region,)) for one in self.pictures.values()])

    def unusable(self, question: str) -> np.ndarray:
        """Why each row cannot be asked the question, empty where it can, shape (n,) of str."""
        reason = np.full(len(self.ids), "", dtype=object)
        if question in self.labels:
            reason[self.labels[question] < 0] = f"{question}: label unknown"
        elif not len(self.points.T):
            reason[:] = f"{question}: no annotated point"
        else:
            seen = np.isfinite(self.points).all(axis=2).any(axis=1)
            reason[~seen] = f"{question}: no target in the picture"
        roles = [role for role in self.spec.roles if role in self.spec.regions]
        if question not in self.labels:
            roles = [self.spec.roles[0], *roles]  # the gaze readout needs the head itself
        for role in roles:
            absent = ~np.isfinite(self.boxes[role]).all(axis=1) & (reason == "")
            reason[absent] = f"{question}: no {role} box"
        return reason

    def cards(self) -> dict[str, SplitCard]:
        """One card a split; rows that a question cannot use are counted as left out too."""
        cards = {}
        for split, sides in self.features.items():
            rows, here = sides["pre"].rows, self.splits == split
            counts = Counter(out.reason for out in rows.left_out)
            for question in self.spec.metrics:
                counts.update(reason for reason in self.unusable(question)[here] if reason)
            cards[split] = SplitCard(
                rows_digest=rows.digest(),
                n=len(rows),
                clusters=len(set(rows.clusters)),
                left_out=dict(sorted(counts.items())),
            )
        return cards


def open_table(root: Path, entries: Mapping[str, PairEntry]) -> Table:
    """The table of a pair whose splits are `entries`.

    Raises:
        CacheError: If features are missing or damaged.
        PairingError: If the sides do not hold the same rows and pixels, or if the splits were
            asked different questions.
    """
    order = sorted(entries, key=lambda split: (ORDER.index(split) if split in ORDER else 99, split))
    features: dict[str, dict[Side, Features]] = {}
    pictures: dict[str, Features] = {}
    for split in order:
        entry = entries[split]
        pre, post = open_features(root, entry.pre), open_features(root, entry.post)
        check_paired(pre, post)
        features[split] = {"pre": pre, "post": post}
        if entry.pictures is not None:
            pictures[split] = open_features(root, entry.pictures)
            if not np.array_equal(pictures[split].rows.ids, pre.rows.ids):
                raise PairingError(
                    f"The reference features {entry.pictures} hold other rows than {entry.pre}. "
                    "Run `sdiag extract` again."
                )
    first = features[order[0]]["pre"]
    for split, sides in features.items():
        for one in sides.values():
            if one.spec != first.spec:
                raise PairingError(
                    f"{one.address} answers other questions than {first.address}. Extract all "
                    f"splits of {first.spec.name} (here: {split}) with the same task."
                )
    if len(pictures) < len(order):
        pictures = {}
    return _assemble(features, pictures)


def _assemble(
    features: Mapping[str, Mapping[Side, Features]], pictures: Mapping[str, Features]
) -> Table:
    rows = [sides["pre"].rows for sides in features.values()]
    if not sum(map(len, rows)):
        raise CacheError("The cached splits hold no rows. Check the task's data and extract again.")
    spec = next(iter(features.values()))["pre"].spec
    splits = [np.full(len(one), split, object) for split, one in zip(features, rows, strict=True)]
    return Table(
        spec=spec,
        features=features,
        pictures=pictures,
        splits=np.concatenate(splits),
        ids=np.concatenate([one.ids for one in rows]),
        clusters=np.concatenate([one.clusters for one in rows]),
        labels={
            name: np.concatenate([one.labels[name] for one in rows]) for name in spec.label_sets
        },
        boxes={
            role: np.concatenate([_mean_box(one.boxes[role]) for one in rows])
            for role in spec.roles
        },
        points=_stack_points([one.points for one in rows]),
    )


def _stack_points(parts: Sequence[Float32[np.ndarray, "_ _ 2"]]) -> Float32[np.ndarray, "n a 2"]:
    """All points, padded with NaN to the largest number of annotators."""
    points = np.full((sum(map(len, parts)), max(one.shape[1] for one in parts), 2), np.nan)
    start = 0
    for one in parts:
        points[start : start + len(one), : one.shape[1]] = one
        start += len(one)
    return points.astype(np.float32)


def _mean_box(boxes: Float[np.ndarray, "n f 4"]) -> Float32[np.ndarray, "n 4"]:
    """Mean over the frames that have a box; NaN where none has."""
    known = np.isfinite(boxes).all(axis=2, keepdims=True)
    count = known.sum(axis=1)
    total = np.where(known, boxes, 0).sum(axis=1, dtype=np.float64)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0).astype(
        np.float32
    )


def box_features(
    boxes: Mapping[str, Float[np.ndarray, "n 4"]],
) -> Float64[np.ndarray, "n d"]:
    """What the boxes alone say: for each role 17 numbers, shape (n, 17 roles).

    x1, y1, x2, y2, width, height, area and width / height, their squares, and whether there is a
    box; 0 where there is none.
    """
    columns = []
    for box in boxes.values():
        here: Bool[np.ndarray, " n"] = np.isfinite(box).all(axis=1)
        x1, y1, x2, y2 = np.where(here[:, None], box, 0).astype(np.float64).T
        w, h = x2 - x1, y2 - y1
        aspect = np.divide(w, h, out=np.zeros_like(w), where=h > 0)
        plain = [x1, y1, x2, y2, w, h, w * h, aspect]
        columns += [*plain, *(one**2 for one in plain), here.astype(np.float64)]
    return np.stack(columns, axis=1)
