"""HaGRIDv2: one picture, one of 34 targets, the hand that makes the gesture.

Rows are pictures. The label follows the owners' full-frame rule: `no_gesture` in the folder of
that name, otherwise the first hand's label that is not `no_gesture`; never the folder's name. The
box is that hand's, or the united box of both hands where the gesture takes two.

The full-size and the 512-pixel version share their annotations, nearly 2 GB of JSON for 1.09
million pictures, of which the landmarks are the most and are passed over. All splits are read at
once, since what is listed in two of them must be known: such a picture stays in the later split
only, and a subject in two splits is counted and warned of, since the division is by subject.
"""

import functools
import itertools
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from msgspec import UNSET
from PIL.Image import Image

from degradation.errors import DataError
from degradation.pixels import open_picture
from degradation.tasks.about import About
from degradation.tasks.disk import Pictures, data_folder
from degradation.tasks.hagrid_files import (
    NO_GESTURE,
    SPLITS,
    TARGETS,
    TWO_HANDED,
    Annotation,
    Places,
    find_places,
    gesture_name,
    read_annotations,
)
from degradation.tasks.task import Arm, LeftOut, Rows, Task, TaskSpec

__all__ = ["ABOUT", "hagrid_task"]

_KNOWN = {"train": 821_458, "val": 99_200, "test": 165_500}
_SLACK = 1e-6
_NUMBER = {name: number for number, name in enumerate(TARGETS)}
_NO_FOLDER = "the pictures of this class are not there"

_log = logging.getLogger(__name__)

ABOUT = About(
    title="HaGRIDv2 (HAnd Gesture Recognition Image Dataset, 1M)",
    paper="Nuzhdin et al.: HaGRIDv2: 1M Images for Static and Dynamic Hand Gesture Recognition, "
    "arXiv 2412.01508",
    page="https://github.com/hukenovs/hagrid",
    access="Open: links to the archives are on the page; 1.5 TB, or 119.4 GB as hagridv2_512.zip.",
    licence="A variant of CC BY-SA 4.0; see license/en_us.pdf in the repository.",
    layout={
        "*/*/*.jpg": "pictures, such as hagrid_dataset/call/*.jpg or hagridv2_512/call/*.jpg: a "
        "folder for each of the 34 targets, in any folder",
        "*/train/*.json, */val/*.json, */test/*.json": "annotations.zip, such as "
        "hagrid_annotations/train/call.json: a file for each target, in any folder",
    },
    notes=(
        "The annotations are an archive of their own, also for the 512-pixel version.",
        "Sixteen of the archives are those of the previous release, so that releases are easily "
        "mixed: pictures that are not there are counted.",
        "download.py calls one class hands_heart2 and the page hand_heart2; both are read.",
        "The owners' F1 is the accuracy, averaged over batches; accuracy and macro F1 are "
        "reported here.",
        "A part of the targets can be read; what is missing is said.",
    ),
)


def hagrid_task(name: str, *, data_root: Path | None = None) -> Task:
    """The task `hagrid`.

    Raises:
        ConfigError: No data root was given.
        DataError: It holds no annotations, or two copies of something.
    """
    root = data_folder(data_root, name)
    places = find_places(root)
    spec = TaskSpec(
        name=name,
        kind="classes",
        social=True,
        label_sets={"gesture": TARGETS},
        roles=("hand",),
        regions=("hand",),
        metrics={"gesture": ("macro_f1", "accuracy")},
        cluster="subject",
        source="HaGRIDv2, official splits by subject",
        arms=(Arm("image", ("image",)),),
    )
    splits = functools.cache(functools.partial(_read_splits, root, places))
    opener = functools.partial(_open, root=root)
    read = functools.partial(_read, splits=splits, annotations=places.annotations)
    return Task(spec, SPLITS, read, opener, _KNOWN)


def _open(reference: str, *, root: Path) -> Image:
    return open_picture(root / reference, root=root)


def _read(split: str, *, splits: Callable[[], Mapping[str, Rows]], annotations: Path) -> Rows:
    if split not in SPLITS:
        raise DataError(f"Expected one of the splits {', '.join(SPLITS)}, found {split!r}.")
    if split not in splits():
        raise DataError(
            f"Expected annotations of HaGRIDv2 in {annotations / split}, found none. Is the "
            "archive fully unpacked?"
        )
    return splits()[split]


# ------------------------------------------------------------------ one picture


def _gesture(target: str, annotation: Annotation) -> tuple[int, list[float]] | str:
    """Class and box (x, y, width, height) of the gesture, or why there is none.

    Args:
        target: The folder of the picture.
        annotation: What is known of it.
    """
    labels = [gesture_name(label) for label in annotation.labels or ()]
    boxes = annotation.bboxes or []
    if not labels:
        return "no labels"
    if len(labels) != len(boxes):
        return "labels and boxes differ in number"
    first = 0
    if target != NO_GESTURE:
        first = next((i for i, label in enumerate(labels) if label != NO_GESTURE), -1)
        if first < 0:
            return "only idle hands in the folder of a gesture"
    gesture = NO_GESTURE if target == NO_GESTURE else labels[first]
    if gesture not in _NUMBER:
        return "unknown gesture label"
    box = boxes[first]
    if gesture in TWO_HANDED:
        hands = [box for label, box in zip(labels, boxes, strict=True) if label == gesture]
        box = _united(annotation, gesture) or _around(hands)
    return _NUMBER[gesture], box


def _united(annotation: Annotation, gesture: str) -> list[float] | None:
    """The united box of this gesture; the lists may be null, hold nulls, or lack the label."""
    boxes = annotation.united_bbox or ()
    labels = annotation.united_label or ()
    for box, label in itertools.zip_longest(boxes, labels):
        if box is not None and (label is None or gesture_name(label) == gesture):
            return box
    return None


def _around(boxes: list[list[float]]) -> list[float]:
    """The box around several, or the first of them that is malformed."""
    for box in boxes:
        if len(box) != 4:
            return box
    x, y = (min(box[i] for box in boxes) for i in (0, 1))
    right, bottom = (max(box[i] + box[i + 2] for box in boxes) for i in (0, 1))
    return [x, y, right - x, bottom - y]


def _corners(box: list[float]) -> tuple[tuple[float, float, float, float], bool] | str:
    """The box as xyxy in the picture and whether it reached beyond, or what is wrong with it."""
    if len(box) != 4:
        return "the hand box is not four numbers"
    x, y, width, height = box
    if not (width > 0 and height > 0):
        return "the hand box is empty"
    right, bottom = x + width, y + height
    if max(right - 1, bottom - 1, -x, -y) <= _SLACK:
        return (max(x, 0.0), max(y, 0.0), min(right, 1.0), min(bottom, 1.0)), False
    if right <= _SLACK or bottom <= _SLACK or x >= 1 - _SLACK or y >= 1 - _SLACK:
        return "the hand box lies outside the picture"
    return (max(x, 0.0), max(y, 0.0), min(right, 1.0), min(bottom, 1.0)), True


# ------------------------------------------------------------------ columns


@dataclass(slots=True)
class _Columns:
    """What is read of one split, in lists that grow."""

    ids: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)
    hands: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    clipped: int = 0

    def add(self, name: str, picture: str, target: str, annotation: Annotation, fault: str) -> None:
        """Append a picture, or leave it out: for its label first, then for `fault`."""
        found = _gesture(target, annotation)
        placed = found if isinstance(found, str) else fault or _corners(found[1])
        if not isinstance(placed, str) and not annotation.user_id:
            placed = "no user_id"
        if isinstance(found, str) or isinstance(placed, str):
            self.left_out.append(LeftOut(name, str(placed)))
            return
        self.ids.append(name)
        self.pictures.append(picture)
        self.subjects.append(sys.intern(str(annotation.user_id)))  # 66 thousand of a million
        self.labels.append(found[0])
        self.boxes.append(placed[0])
        self.hands.append("one" if len(annotation.bboxes or ()) == 1 else "two")
        self.clipped += placed[1]

    def rows(self) -> Rows:
        """The columns as arrays."""
        boxes = np.array(self.boxes, dtype=np.float32).reshape(-1, 1, 4)
        return Rows(
            ids=_texts(self.ids),
            pictures=_texts(self.pictures)[:, None],
            boxes={"hand": boxes},
            labels={"gesture": np.array(self.labels, dtype=np.int64)},
            points=np.zeros((len(boxes), 0, 2), dtype=np.float32),
            clusters=_texts(self.subjects),
            left_out=tuple(self.left_out),
            attributes={"hands": _texts(self.hands)},
        )


def _texts(column: list[str]) -> np.ndarray:
    return np.array(column, dtype=object)


# ------------------------------------------------------------------ splits


def _read_splits(root: Path, places: Places) -> dict[str, Rows]:
    pictures = Pictures(root)
    listed: set[str] = set()
    rows: dict[str, Rows] = {}
    for split in reversed(SPLITS):  # what is listed in two splits stays in the later one
        if split in places.files:
            rows[split] = _read_split(split, places, pictures, listed)
    _warn_of_strange_files(places)
    _warn_of_shared_subjects(rows)
    return {split: rows[split] for split in SPLITS if split in rows}


def _read_split(split: str, places: Places, pictures: Pictures, listed: set[str]) -> Rows:
    """The rows of one split; adds its pictures to those listed in the splits before."""
    columns = _Columns()
    files = places.files[split]
    older = 0
    for target, file in files.items():
        annotations, broken = read_annotations(file)
        columns.left_out += [LeftOut(f"{target}/{key}", reason) for key, reason in broken.items()]
        older += all(one.united_bbox is UNSET for one in annotations.values())
        folder = places.pictures.get(target, "")
        paths = [f"{folder}/{key}.jpg" for key in annotations]
        faults = pictures.faults(paths) if folder else [_NO_FOLDER] * len(paths)
        for (key, one), path, fault in zip(annotations.items(), paths, faults, strict=True):
            name = f"{target}/{key}"
            if name in listed:
                fault = "listed in a later split too"
            else:
                listed.add(name)
            columns.add(name, path, target, one, fault)
    _warn_of_split(split, columns, older, places)
    return columns.rows()


def _warn_of_split(split: str, columns: _Columns, older: int, places: Places) -> None:
    files = places.files[split]
    absent = [target for target in TARGETS if target not in files]
    if absent:
        _log.warning(
            "HaGRID (%s): no annotations of %d of %d targets: %s.",
            *(split, len(absent), len(TARGETS), ", ".join(absent)),
        )
    if older:
        _log.warning(
            "HaGRID (%s): %d of %d annotation files have no united boxes. They are of a release "
            "before HaGRIDv2, which divides pictures into splits otherwise.",
            *(split, older, len(files)),
        )
    if columns.clipped:
        _log.warning(
            "HaGRID (%s): %d of %d hand boxes reach beyond their picture and were clipped.",
            *(split, columns.clipped, len(columns.ids)),
        )


def _warn_of_strange_files(places: Places) -> None:
    if places.strangers:
        _log.warning(
            "HaGRID: %d annotation files are of no known target and were not read: %s.",
            *(len(places.strangers), ", ".join(places.strangers[:8])),
        )


def _warn_of_shared_subjects(rows: Mapping[str, Rows]) -> None:
    subjects = {split: set(one.clusters.tolist()) for split, one in rows.items()}
    for first, second in itertools.combinations([one for one in SPLITS if one in rows], 2):
        shared = subjects[first] & subjects[second]
        if shared:
            _log.warning(
                "HaGRID: %d subjects are in both %s and %s, with %d and %d pictures, though the "
                "division is by subject; scores on the latter are too good.",
                *(len(shared), first, second),
                *(sum(map(shared.__contains__, rows[s].clusters)) for s in (first, second)),
            )
