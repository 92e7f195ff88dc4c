"""The rows behind each question: which are trained on, looked at on the way, and tested.

Rows, boxes and labels come from the feature cache, so that a model is trained on exactly the rows
that the probes read; tokens from the cache too, or from the pictures (`socialfusion.online`).
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64

from degradation.axes import Side
from degradation.cache import Features, PairEntry
from degradation.errors import DataError
from probes.table import Table
from socialfusion.batch import Batch
from socialfusion.boxes import box_cells
from socialfusion.questions import Question
from socialfusion.tokens import Boxes, Points, Tokens

__all__ = ["QuestionSamples", "TaskSamples", "divide", "frame_boxes", "question_samples"]

HELD_OUT = 0.1
"""Share of the training clusters that is looked at on the way where there is no split for it."""
TESTED = 0.2
"""Share of the clusters that is tested where there are no splits at all."""

Places = Int64[np.ndarray, " _"]
"""Positions in the table of a task."""


@dataclass(frozen=True, slots=True, eq=False)
class TaskSamples:
    """All rows of a task, and where their tokens come from.

    Attributes:
        table: The n rows of all splits.
        entry: One of the cached splits of the pair.
        side: The side of the pair that is read.
        block: The block that is read.
        boxes: By role, one box a frame, NaN where there is none, shape (n, f, 4).
        tokens: Their source.
    """

    table: Table
    entry: PairEntry
    side: Side
    block: int
    boxes: Mapping[str, Float32[np.ndarray, "n f 4"]]
    tokens: Tokens

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.table.spec.name

    @property
    def features(self) -> Features:
        """The cached features of the first split."""
        return next(iter(self.table.features.values()))[self.side]

    @property
    def frames(self) -> int:
        """Frames of a sample, 1 for stills."""
        return self.features.rows.pictures.shape[1]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the token map of a frame."""
        return self.features.grid


@dataclass(frozen=True, slots=True, eq=False)
class QuestionSamples:
    """One question and its rows.

    Attributes:
        question: What is asked.
        task: Of whom.
        train: Rows trained on.
        validation: Rows looked at on the way; may be none.
        test: Rows tested.
        splits: Where the three come from: a split, or the part of one.
    """

    question: Question
    task: TaskSamples
    train: Places
    validation: Places
    test: Places
    splits: tuple[str, str, str]

    @property
    def label(self) -> str:
        """`task/question`."""
        return self.question.label

    def batch(self, rows: Places, rng: np.random.Generator | None = None) -> Batch:
        """The question put to some rows.

        Args:
            rows: Positions in the table, shape (b,).
            rng: Decides how pictures are changed where they are; None to take them as they are.
        """
        boxes = {role: column[rows] for role, column in self.task.boxes.items()}
        seen = self.task.tokens.see(rows, boxes, self.task.table.points[rows], rng)
        labels, points = self.targets(rows, seen.points)
        masks = self.masks(seen.boxes, *seen.tokens.shape[:2])
        return Batch(self.question, seen.tokens, masks, labels, points)

    def masks(self, boxes: Boxes, b: int, v: int) -> Bool[torch.Tensor, "b v r"]:
        """Which of the v visual tokens the box of each role covers.

        Args:
            boxes: Of the rows by role, in what the encoder sees, shape (b, f, 4) each.
            b: Number of rows.
            v: Visual tokens of a row.
        """
        cells = [box_cells(boxes[role], self.task.grid) for role in self.question.roles]
        none = np.zeros((b, v, 0), dtype=bool)
        return torch.from_numpy(np.stack(cells, axis=2) if cells else none)

    def targets(
        self, rows: Places, points: Points
    ) -> tuple[Int64[torch.Tensor, " b"] | None, Float32[torch.Tensor, "b a 2"] | None]:
        """What is right: labels of a class question, or points of gaze; None for the other.

        Args:
            rows: Positions in the table, shape (b,).
            points: Of these rows, in what the encoder sees, shape (b, a, 2).
        """
        if self.question.kind == "gaze":
            return None, torch.from_numpy(points)
        return torch.from_numpy(self.task.table.labels[self.question.name][rows]), None

    def rows_digest(self) -> str:
        """SHA-256 over the ids of the rows trained on, looked at and tested, in hexadecimal."""
        sha = hashlib.sha256()
        for rows in (self.train, self.validation, self.test):
            sha.update("\x00".join(self.task.table.ids[rows].astype(str).tolist()).encode())
            sha.update(b"\x01")
        return sha.hexdigest()


def frame_boxes(table: Table) -> dict[str, Float32[np.ndarray, "n f 4"]]:
    """The boxes of all rows of a table, frame by frame (the table has their means).

    Raises:
        DataError: A box has no area.
    """
    rows = [table.rows(split) for split in table.features]
    boxes = {
        role: np.concatenate([one.boxes[role] for one in rows]).astype(np.float32)
        for role in table.spec.roles
    }
    for role, column in boxes.items():
        here = np.isfinite(column).all(axis=2)
        flat = here & ((column[..., 2:] - column[..., :2]) <= 0).any(axis=2)
        if flat.any():
            row = int(flat.any(axis=1).argmax())
            raise DataError(
                f"Expected boxes with an area, but the {role} box of row {table.ids[row]!r} of "
                f"{table.spec.name} is {column[row][flat[row]][0].tolist()}, and "
                f"{int(flat.any(axis=1).sum())} rows have such boxes. Mend the annotations, or "
                "give them no box (NaN), and extract again."
            )
    return boxes


def question_samples(task: TaskSamples, question: Question) -> QuestionSamples:
    """A question with the rows that can answer it, the same ones that a probe of it reads.

    Raises:
        DataError: It has no rows to train on, or fewer than two clusters to test.
    """
    table = task.table
    usable = table.unusable(question.name, table.spec.regions) == ""
    (train, validation, test), splits = divide(table.splits, usable, table.clusters)
    if not len(train):
        raise DataError(
            f"Expected rows to train {question.label} on, found none that can be used in the "
            f"split {splits[0]} of {len(table.ids)} rows. Extract the train split with labels "
            "and boxes, or leave the task out."
        )
    if len(set(table.clusters[test])) < 2:
        raise DataError(
            f"Expected rows of at least two clusters to test {question.label} on, found "
            f"{len(test)} rows in the split {splits[2]}. Extract the test split, or use more rows."
        )
    return QuestionSamples(question, task, train, validation, test, splits)


def divide(
    splits: np.ndarray, usable: Bool[np.ndarray, " n"], clusters: np.ndarray
) -> tuple[tuple[Places, Places, Places], tuple[str, str, str]]:
    """Rows to train on, to look at on the way and to test, and in words where they come from.

    The official splits where there are any. Without a validation split a tenth of the training
    clusters takes its place, and without any split a fifth of the clusters is tested: those whose
    names have the lowest hash, so that every seed and every set of tasks holds out the same.

    Args:
        splits: Split of each row: `train`, `test` and perhaps `val`; or `all`.
        usable: Rows that take part.
        clusters: Never divided.
    """
    train, test = usable & (splits == "train"), usable & (splits == "test")
    validation = usable & (splits == "val")
    names = ["train", "val", "test"]
    if (splits == "all").any():
        train = usable & (splits == "all")
        test = _lowest(clusters, train, TESTED)
        train = train & ~test
        names = ["80 % of all", "", "20 % of all"]
    if not validation.any():
        validation = _lowest(clusters, train, HELD_OUT)
        train = train & ~validation
        names = [f"90 % of {names[0]}", f"10 % of {names[0]}", names[2]]
    parts = tuple(np.nonzero(part)[0] for part in (train, validation, test))
    return parts, tuple(names)


def _lowest(
    clusters: np.ndarray, among: Bool[np.ndarray, " n"], share: float
) -> Bool[np.ndarray, " n"]:
    """Rows of a share of the clusters, those whose names have the lowest hash."""
    names = sorted(
        {str(one) for one in clusters[among]},
        key=lambda name: hashlib.sha256(name.encode()).hexdigest(),
    )
    # One cluster cannot be divided: it is trained on.
    chosen = names[: math.ceil(share * len(names))] if len(names) > 1 else []
    return among & np.isin(clusters.astype(str), chosen)
