"""AffectNet: one face, one of eight expressions; or of seven, without contempt.

Rows are faces. The owners' test set is not distributed, so that the field tests on their
validation set, and so does this task: `train` is theirs, `test` is their validation set, and there
is no `val`. Training classes differ in size by a factor of 36 and those of the test do not, hence
the fit gives every class the same weight; the arm `unweighted` does not.

In the 2017 release, whole photographs, the face is cut out by its box; one photograph may have
several faces. In the other shapes the pictures are faces. See `affectnet_shapes`.
"""

import functools
import logging
from collections import Counter
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from PIL.Image import Image

from degradation.errors import DataError
from degradation.pixels import open_picture
from degradation.tasks.about import About
from degradation.tasks.affectnet_shapes import OWNERS_SPLIT, Faces, Shape, find_shape
from degradation.tasks.disk import Pictures, data_folder
from degradation.tasks.sizes import picture_sizes
from degradation.tasks.task import Arm, LeftOut, Rows, Task, TaskSpec

__all__ = ["ABOUT", "EXPRESSIONS", "affectnet_task"]

EXPRESSIONS = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
)  # fmt: skip
"""In the official order, which is the number in the annotations."""

_NO_EXPRESSIONS = {8: "none", 9: "uncertain", 10: "no face"}
_SLACK = 1e-6

_log = logging.getLogger(__name__)

ABOUT = About(
    title="AffectNet",
    paper="Mollahosseini, Hasani, Mahoor: AffectNet: A Database for Facial Expression, Valence, "
    "and Arousal Computing in the Wild. IEEE Transactions on Affective Computing, 2017; "
    "arXiv 1708.03985",
    page="http://mohammadmahoor.com/pages/databases/affectnet/",
    access="A laboratory's manager or a professor signs the licence agreement and sends the "
    "request form; students ask through their supervisor.",
    licence="Research only, by the signed agreement; the pictures must not be passed on.",
    layout={
        "training.csv, validation.csv, */training.csv, */validation.csv": "2017: lists of the "
        "faces, as they are or in Manually_Annotated_file_lists/",
        "Manually_Annotated_Images/*/*, */Manually_Annotated_Images/*/*": "2017: photographs, as "
        "they are or in Manually_Annotated/",
        "train_set/images/*.jpg, val_set/images/*.jpg": "2021: crops of faces",
        "train_set/annotations/*_exp.npy, val_set/annotations/*_exp.npy": "2021: their labels",
        "train/*/*, val/*/*": "class folders 0 to 7, as DAN and others use them",
    },
    notes=(
        "One of the three shapes, found by itself; two at once are refused.",
        "The test split is the official validation set, as everywhere: the test set is not "
        "distributed.",
        "2017: 414,800 and 5,500 faces with those that have no expression; 2021: 287,651 and "
        "3,999, of which 499 contempt.",
        "Class folders must have AffectNet's numbers: copies in alphabetical order are refused "
        "by their names or, if complete, by their class sizes.",
        "The automatically annotated part of the 2017 release is not read.",
    ),
)


def affectnet_task(name: str, *, data_root: Path | None = None) -> Task:
    """The task `affectnet`, or `affectnet-7`, which leaves contempt out.

    Raises:
        ConfigError: No data root was given.
        DataError: It holds none of the three shapes, or several.
    """
    root = data_folder(data_root, name)
    shape = find_shape(root)
    classes = EXPRESSIONS[:7] if name == "affectnet-7" else EXPRESSIONS
    cut = "face" if shape.has_boxes else ""
    spec = TaskSpec(
        name=name,
        kind="classes",
        social=True,
        label_sets={"expression": classes},
        roles=("face",) if shape.has_boxes else (),
        regions=("image",),
        metrics={"expression": ("accuracy", "macro_f1")},
        cluster="picture",
        source=f"AffectNet, {shape.name}; test is the official validation set",
        balanced=True,
        arms=(Arm("unweighted", ("image",)),),
        crop=cut,
    )
    read = functools.partial(_read, shape=shape, root=root, classes=classes)
    opener = functools.partial(_open, root=root)
    return Task(spec, tuple(OWNERS_SPLIT), functools.cache(read), opener, shape.known)


def _open(reference: str, *, root: Path) -> Image:
    return open_picture(root / reference, root=root)


def _read(split: str, *, shape: Shape, root: Path, classes: tuple[str, ...]) -> Rows:
    if split not in OWNERS_SPLIT:
        raise DataError(f"Expected one of the splits {', '.join(OWNERS_SPLIT)}, found {split!r}.")
    faces = shape.read(split)
    faults = np.array(faces.faults, dtype=object)
    if faces.boxes is not None:
        _blame(faults, _repeated_faults(faces, faces.boxes))
    _blame(faults, np.array([_label_fault(one, len(classes)) for one in faces.labels], object))
    if faces.boxes is not None:
        _blame(faults, _pixel_box_faults(faces.boxes))
    rows = np.flatnonzero(faults == "")
    faults[rows] = Pictures(root).faults(faces.pictures[row] for row in rows)
    boxes = {}
    if faces.boxes is not None:
        where = f"{shape.name}, {split}"
        boxes["face"] = _normalised(faults, faces.pictures, faces.boxes, root, where)[:, None]
    used = np.flatnonzero(faults == "")
    ids = np.array(_ids(faces, OWNERS_SPLIT[split]), dtype=object)
    pictures = np.array(faces.pictures, dtype=object)[used]
    left = np.flatnonzero(faults != "")
    return Rows(
        ids=ids[used],
        pictures=pictures[:, None],
        boxes={role: box[used] for role, box in boxes.items()},
        labels={"expression": np.array(faces.labels, dtype=np.int64)[used]},
        points=np.zeros((len(used), 0, 2), dtype=np.float32),
        clusters=pictures,
        left_out=tuple(map(LeftOut, ids[left].tolist(), faults[left].tolist())),
    )


def _ids(faces: Faces, owners_split: str) -> list[str]:
    """The owners' names; with the box where a photograph has several faces."""
    counts = Counter(faces.ids)
    ids = [f"{owners_split}/{name}" for name in faces.ids]
    if faces.boxes is not None:
        for row, name in enumerate(faces.ids):
            if counts[name] > 1:
                ids[row] += "@" + ",".join(f"{value:g}" for value in faces.boxes[row])
    return ids


# ------------------------------------------------------------------ faults


def _label_fault(label: int, n_classes: int) -> str:
    if 0 <= label < n_classes:
        return ""
    if 0 <= label < len(EXPRESSIONS):
        return f"label {label} ({EXPRESSIONS[label]}) is none of the {n_classes} classes"
    if label in _NO_EXPRESSIONS:
        return f"label {label} ({_NO_EXPRESSIONS[label]}) is no expression"
    return "label outside 0 to 10"


def _blame(faults: np.ndarray, found: np.ndarray) -> None:
    """Faults of rows that have none yet; both shape (n,)."""
    fresh = faults == ""
    faults[fresh] = found[fresh]


def _pixel_box_faults(boxes: Float64[np.ndarray, "n 4"]) -> np.ndarray:
    faults = np.full(len(boxes), "", dtype=object)
    faults[(boxes[:, 2:] == 0).any(axis=1)] = "the face box is empty"
    faults[(boxes[:, 2:] < 0).any(axis=1)] = "no face box (negative width or height)"
    faults[~np.isfinite(boxes).all(axis=1)] = "no face box"
    return faults


def _repeated_faults(faces: Faces, boxes: Float64[np.ndarray, "n 4"]) -> np.ndarray:
    """The same face twice counts once, and not at all if its labels differ."""
    faults = np.full(len(faces.ids), "", dtype=object)
    rows: dict[tuple[str, bytes], list[int]] = {}
    for row in np.flatnonzero(_pixel_box_faults(boxes) == "").tolist():
        rows.setdefault((faces.ids[row], boxes[row].tobytes()), []).append(row)
    for same in rows.values():
        if len({faces.labels[row] for row in same}) > 1:
            faults[same] = "the same face with several labels"
        elif len(same) > 1:
            faults[same[1:]] = "the same face again"
    return faults


def _normalised(
    faults: np.ndarray,
    pictures: list[str],
    pixel_boxes: Float64[np.ndarray, "n 4"],
    root: Path,
    where: str,
) -> Float32[np.ndarray, "n 4"]:
    """Boxes in [0, 1], xyxy; NaN where there is a fault. Adds faults of sizes and boxes."""
    boxes = np.full((len(faults), 4), np.nan, dtype=np.float32)
    rows = np.flatnonzero(faults == "")
    sizes = picture_sizes(root, [pictures[row] for row in rows])
    faults[rows[(sizes <= 0).any(axis=1)]] = "the picture cannot be read"
    rows, sizes = rows[(sizes > 0).all(axis=1)], sizes[(sizes > 0).all(axis=1)]
    x, y, width, height = pixel_boxes[rows].T
    corners = np.stack([x, y, x + width, y + height], axis=1) / np.tile(sizes, 2)
    clipped = np.clip(corners, 0, 1)
    empty = (clipped[:, 2:] - clipped[:, :2] <= _SLACK).any(axis=1)
    faults[rows[empty]] = "the face box lies outside the picture"
    beyond = (np.abs(clipped - corners) > _SLACK).any(axis=1) & ~empty
    if beyond.any():
        _log.warning(
            "AffectNet (%s): %d of %d face boxes reach beyond their picture and were clipped.",
            where, beyond.sum(), len(rows),
        )  # fmt: skip
    boxes[rows[~empty]] = clipped[~empty]
    return boxes
