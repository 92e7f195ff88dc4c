"""What a task is, and the table of samples it reads.

A data set is one file in this package that builds a `Task`. A task names its classes, roles of
boxes, splits and metrics and knows how to read its rows and how to open a picture; it never
downloads. Rows are held as columns, since the largest data sets have more than a million.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64
from PIL.Image import Image

from degradation.errors import DataError

__all__ = ["Arm", "Kind", "LeftOut", "Rows", "Task", "TaskSpec"]

Kind = Literal["classes", "pair-classes", "gaze", "track"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that was not used, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """The n samples of one split, as columns in a fixed order.

    Attributes:
        ids: Stable unique names, object array of str, shape (n,).
        pictures: References that the task's `open` understands, object array of str, shape
            (n, f); f = 1 for stills, the frames of the track otherwise.
        boxes: By role, normalised xyxy, shape (n, f, 4); a NaN box means that the sample has
            none of that role.
        labels: By label set, class index, shape (n,); -1 means unknown, never a class of its own.
        points: Gaze targets by annotator, normalised xy, shape (n, a, 2), NaN-padded; a = 0
            where the task has none.
        clusters: The unit that is resampled (subject, picture, clip), object array of str,
            shape (n,).
        left_out: Rows of this split that were not used.
        sizes: Width and height of the (first) picture in pixels, upright, shape (n, 2); 0 where
            they are not known, as everywhere if none are given.
        attributes: Further facts by name, that nothing is fitted on but results can be split by
            (`probes.slices`), object arrays of str, shape (n,); empty where not known.
    """

    ids: np.ndarray
    pictures: np.ndarray
    boxes: Mapping[str, Float32[np.ndarray, "n f 4"]]
    labels: Mapping[str, Int64[np.ndarray, " n"]]
    points: Float32[np.ndarray, "n a 2"]
    clusters: np.ndarray
    left_out: tuple[LeftOut, ...] = ()
    sizes: Int64[np.ndarray, "_ 2"] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    attributes: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that all columns have n entries and that ids are unique.

        Raises:
            DataError: Naming the column, or the first repeated id.
        """
        n = len(self.ids)
        if not len(self.sizes):
            object.__setattr__(self, "sizes", np.zeros((n, 2), dtype=np.int64))
        columns = {"pictures": self.pictures, "points": self.points, "clusters": self.clusters}
        columns["sizes"] = self.sizes
        columns |= {f"boxes[{role}]": column for role, column in self.boxes.items()}
        columns |= {f"labels[{name}]": column for name, column in self.labels.items()}
        columns |= {f"attributes[{name}]": column for name, column in self.attributes.items()}
        for name, column in columns.items():
            if len(column) != n:
                raise DataError(f"Expected {n} rows in {name}, found {len(column)}.")
        names, counts = np.unique(self.ids.astype(str), return_counts=True)
        if n and counts.max() > 1:
            raise DataError(
                f"Row ids must be unique, but {names[counts.argmax()]!r} occurs "
                f"{counts.max()} times. Give each row its own id."
            )

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.ids)

    def take(self, index: np.ndarray) -> "Rows":
        """The rows at `index` (positions or a mask), in that order; `left_out` is kept."""
        return Rows(
            ids=self.ids[index],
            pictures=self.pictures[index],
            boxes={role: column[index] for role, column in self.boxes.items()},
            labels={name: column[index] for name, column in self.labels.items()},
            points=self.points[index],
            clusters=self.clusters[index],
            left_out=self.left_out,
            sizes=self.sizes[index],
            attributes={name: column[index] for name, column in self.attributes.items()},
        )

    def digest(self) -> str:
        """SHA-256 over every column, in hexadecimal: equal digests mean equal rows and order.

        Sizes and attributes, which came later, count where they say something.
        """
        sha = hashlib.sha256()
        texts = {"ids": self.ids, "pictures": self.pictures, "clusters": self.clusters}
        texts |= {
            f"attributes/{name}": self.attributes[name]
            for name in sorted(self.attributes)
            if self.attributes[name].astype(bool).any()
        }
        for name, column in texts.items():
            sha.update(f"{name}{column.shape}".encode())
            sha.update("\x00".join(column.ravel().astype(str).tolist()).encode())
        arrays = {f"boxes/{role}": column for role, column in self.boxes.items()}
        arrays |= {f"labels/{name}": column for name, column in self.labels.items()}
        arrays["points"] = self.points
        if self.sizes.any():
            arrays["sizes"] = self.sizes
        for name in sorted(arrays):
            sha.update(f"{name}{arrays[name].shape}".encode())
            sha.update(np.ascontiguousarray(arrays[name]).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True)
class Arm:
    """A second way to probe a task, beside the confirmatory one of its `TaskSpec`.

    Attributes:
        name: For reports: `image`, `unweighted`.
        regions: The pooled regions that the probe reads, concatenated in this order.
        balanced: Whether every class has the same weight in the fit.
    """

    name: str
    regions: tuple[str, ...]
    balanced: bool = False


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """What is asked of the rows of a data set: the part of a task that travels with its features.

    Attributes:
        name: As typed on the command line, for example `scenes-gaze`.
        kind: `classes`, `pair-classes` (two people), `gaze` (a point) or `track` (frames).
        social: False for the control tasks, which should not degrade if the damage is social.
        label_sets: Class names by label set, in the official order; empty for gaze.
        roles: Roles of the boxes in the rows; features are pooled inside each of them and over
            the whole `image`.
        regions: The pooled regions that the linear probe reads, concatenated in this order.
        metrics: Metric names by question (a label set, or `gaze`); the first is confirmatory.
        cluster: What a cluster is: `subject`, `picture`, `clip` ...
        source: Where the rows come from, with the version or seed that decides them.
        balanced: Whether every class has the same weight in the fit, as where the training rows
            are skewed and the test rows are not.
        arms: Further ways to probe the same features, never confirmatory.
        crop: Role of the box to which pictures are cut unless another geometry is asked for; empty
            for the whole picture.
    """

    name: str
    kind: Kind
    social: bool
    label_sets: Mapping[str, tuple[str, ...]]
    roles: tuple[str, ...]
    regions: tuple[str, ...]
    metrics: Mapping[str, tuple[str, ...]]
    cluster: str
    source: str
    balanced: bool = False
    arms: tuple[Arm, ...] = ()
    crop: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """One data set, ready to be read.

    Attributes:
        spec: What is asked of the rows.
        splits: Names of the splits, in reading order; ("all",) where the data have none.
        read: Split name to rows.
        open: Picture reference to a picture in any mode; `degradation.pixels` makes it RGB.
        known: By split, how many samples the owners' release has, those that are left out
            included; only splits whose number is known.
    """

    spec: TaskSpec
    splits: tuple[str, ...]
    read: Callable[[str], Rows] = field(repr=False)
    open: Callable[[str], Image] = field(repr=False)
    known: Mapping[str, int] = field(default_factory=dict)
