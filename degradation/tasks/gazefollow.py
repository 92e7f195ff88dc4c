"""GazeFollow, extended: where a person in a photograph looks.

A row is a person. The owners' training file becomes `train` and `val`, since they have no
validation set: a tenth of the pictures, chosen by a hash of their paths, which stays the same
whatever else is in the file. In `test` up to some ten annotators looked at each person; their rows
are one person where path and x of the eyes agree, as in the literature. People whose target lies
outside the picture (inout 0) are rows without a point; nobody can be asked for it.

Read is the extended version (Chong et al., ECCV 2018), which adds head boxes and in/out flags to
the original (Recasens et al., NeurIPS 2015).
"""

import functools
import hashlib
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64
from PIL.Image import Image

from degradation.errors import DataError
from degradation.pixels import open_picture
from degradation.tasks.about import About
from degradation.tasks.disk import Pictures, data_folder
from degradation.tasks.gazefollow_files import FILES, Annotations, annotation_file, annotations
from degradation.tasks.sizes import picture_sizes
from degradation.tasks.task import LeftOut, Rows, Task, TaskSpec

__all__ = ["ABOUT", "gazefollow_task"]

SPLITS = ("train", "val", "test")
VAL_SHARE = 10
"""One picture in so many of the owners' training pictures is in `val`."""
MOST_ANNOTATORS = 20

_log = logging.getLogger(__name__)

ABOUT = About(
    title="GazeFollow (extended)",
    paper="Recasens, Khosla, Vondrick, Torralba: Where are they looking? NeurIPS 2015; head boxes "
    "and in/out flags: Chong et al., ECCV 2018",
    page="https://github.com/ejcgt/attention-target-detection (gazefollow_extended.zip); the "
    "original is at http://gazefollow.csail.mit.edu",
    access="The link in that README; nothing is signed.",
    licence="None is stated; the photographs come from SUN, COCO, Actions 40, PASCAL, ImageNet and "
    "Places, and the terms of these hold.",
    layout={
        FILES["train"]: "a row a person, 17 columns without a header",
        FILES["test"]: "a row an annotation of a person, 16 columns without a header",
        "train/*/*.jpg": "training pictures in numbered folders",
        "test2/*/*.jpg": "test pictures in numbered folders",
    },
    notes=(
        "The original files (train_annotations.txt) lack head boxes and are refused.",
        "There is no official validation set: val is a tenth of the training pictures, by a hash "
        "of their paths.",
        "The test set has 4,782 people; of the training people about 125,557 are valid.",
        "Early copies of the original test labels were wrong and were replaced.",
        "Head boxes are in pixels: pictures that were scaled do not fit them.",
    ),
)


def gazefollow_task(name: str, *, data_root: Path | None = None) -> Task:
    """The task `gazefollow`.

    Raises:
        ConfigError: No data root was given.
        DataError: An annotation file is missing.
    """
    root = data_folder(data_root, name)
    for file in FILES.values():
        annotation_file(root, file)
    spec = TaskSpec(
        name=name,
        kind="gaze",
        social=True,
        label_sets={},
        roles=("head",),
        regions=("head",),
        metrics={"gaze": ("average_l2_error", "minimum_l2_error", "auc_score")},
        cluster="picture",
        source=f"GazeFollow extended; val is 1 in {VAL_SHARE} of the training pictures",
    )
    read = functools.cache(functools.partial(_read, root=root))
    return Task(spec, SPLITS, read, functools.partial(_open, root=root), {"test": 4782})


def _open(reference: str, *, root: Path) -> Image:
    return open_picture(root / reference, root=root)


def _read(split: str, *, root: Path) -> Rows:
    if split not in SPLITS:
        raise DataError(f"Expected one of the splits {', '.join(SPLITS)}, found {split!r}.")
    if split == "test":
        people = _asked_by_many(annotations(annotation_file(root, FILES["test"]), flags=False))
    else:
        given = annotations(annotation_file(root, FILES["train"]), flags=True)
        in_val = np.array([_is_val(path) for path in given.paths], dtype=bool)
        people = _asked_once(given.take(np.flatnonzero(in_val == (split == "val"))))
    return _rows(people, split, root)


def _is_val(path: str) -> bool:
    digest = hashlib.blake2b(path.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % VAL_SHARE == 0


# ------------------------------------------------------------------ annotations to people


@dataclass(frozen=True, slots=True, eq=False)
class _People:
    """The n people of a split.

    Attributes:
        ids: Path and eyes, with a number where they are repeated.
        paths: Pictures.
        heads: Head boxes as given, pixels, xyxy, shape (n, 4).
        points: Where they look, normalised xy, NaN-padded, shape (n, a, 2).
        faults: Why a person is left out, '' otherwise, object array.
    """

    ids: list[str]
    paths: list[str]
    heads: Float64[np.ndarray, "n 4"]
    points: Float64[np.ndarray, "n a 2"]
    faults: np.ndarray


def _asked_once(given: Annotations) -> _People:
    """People with one point each, or with none where they look out of the picture."""
    faults = np.full(len(given), "", dtype=object)
    seen = given.inout == 1
    points = np.where(seen[:, None], given.gaze, np.nan)
    _blame(faults, np.isnan(given.inout), "inout is missing")
    _blame(faults, given.inout == -1, "inout is -1: the annotation is invalid")
    _blame(faults, ~np.isin(given.inout, (-1, 0, 1)), "inout is none of -1, 0 and 1")
    _blame(faults, seen & np.isnan(given.gaze).any(axis=1), "inout is 1, but there is no point")
    _blame(faults, seen & ~_inside(given.gaze), "inout is 1, but the point is outside the picture")
    ids = _ids(given)
    rows = np.concatenate([given.eyes, given.gaze, given.heads, given.inout[:, None]], axis=1)
    earlier: dict[str, set[bytes]] = {}
    repeated = {name for name, count in Counter(ids).items() if count > 1}
    for row, name in enumerate(ids):
        if name in repeated:
            others = earlier.setdefault(name, set())
            if rows[row].tobytes() in others and not faults[row]:
                faults[row] = "the same as an earlier row"
            others.add(rows[row].tobytes())
            ids[row] = f"{name}#{len(others)}"
    return _People(ids, given.paths, given.heads, points[:, None], faults)


def _asked_by_many(given: Annotations) -> _People:
    """People with a point of each annotator; rows are one person's where path and eye x agree."""
    first: dict[tuple[str, float], int] = {}
    member = np.array(
        [
            first.setdefault(key, len(first))
            for key in zip(given.paths, given.eyes[:, 0].tolist(), strict=True)
        ],
        dtype=np.int64,
    )
    _, start = np.unique(member, return_index=True)
    place = _place_in_group(member)
    annotators = int(place.max(initial=-1)) + 1
    if annotators > MOST_ANNOTATORS:
        crowd = given.paths[int(place.argmax())]
        raise DataError(
            f"Expected at most {MOST_ANNOTATORS} annotations of a person in {given.file}, found "
            f"{annotators} in {crowd}. The file may be two in one; unpack it again."
        )
    points = np.full((len(first), annotators, 2), np.nan)
    points[member, place] = np.where(_inside(given.gaze)[:, None], given.gaze, np.nan)
    unused = int((~_inside(given.gaze)).sum())
    differ = int((given.heads != given.heads[start][member]).any(axis=1).sum())
    _warn(given.file, {
        "annotated points outside the picture, not used": unused,
        "head boxes unlike that of the person's first row, not used": differ,
    })  # fmt: skip
    faults = np.full(len(first), "", dtype=object)
    _blame(faults, np.isnan(points).any(axis=2).all(axis=1), "no annotated point in the picture")
    of = given.take(start)
    return _People(_ids(of), of.paths, of.heads, points, faults)


def _place_in_group(member: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    """How many earlier rows have the same group."""
    order = np.argsort(member, kind="stable")
    begin = np.searchsorted(member[order], member[order])
    place = np.empty(len(member), dtype=np.int64)
    place[order] = np.arange(len(member)) - begin
    return place


def _ids(given: Annotations) -> list[str]:
    return [
        f"{path}@{x:.6g},{y:.6g}"
        for path, (x, y) in zip(given.paths, given.eyes.tolist(), strict=True)
    ]


def _inside(points: Float64[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
    return ((points >= 0) & (points <= 1)).all(axis=1)


def _blame(faults: np.ndarray, where: Bool[np.ndarray, " n"], reason: str) -> None:
    """Give a reason to those rows that have none yet."""
    faults[where & (faults == "")] = reason


def _warn(what: str, counts: dict[str, int]) -> None:
    """Log what was found, if anything was."""
    if found := [f"{count} {fact}" for fact, count in counts.items() if count]:
        _log.warning("%s: %s", what, "; ".join(found))


# ------------------------------------------------------------------ people to rows


def _rows(people: _People, split: str, root: Path) -> Rows:
    faults = people.faults
    absent = np.array(Pictures(root).faults(people.paths), dtype=object)
    if len(absent) and (absent != "").all():
        raise DataError(
            f"Expected the pictures of the split {split} below {root}, found none of "
            f"{len(set(people.paths))}; the first is {people.paths[0]} ({absent[0]}). Is the "
            "archive fully unpacked, and is this the folder that holds train and test2?"
        )
    faults = np.where(faults == "", absent, faults)
    sizes = _sizes(root, people.paths, faults == "")
    _blame(faults, (sizes < 0).any(axis=1), "the picture cannot be read")
    heads = _heads(people, sizes, faults, split)
    used, left = np.flatnonzero(faults == ""), np.flatnonzero(faults != "")
    ids, paths = (np.array(column, dtype=object) for column in (people.ids, people.paths))
    return Rows(
        ids=ids[used],
        pictures=paths[used, None],
        boxes={"head": heads[used, None]},
        labels={},
        points=people.points[used].astype(np.float32),
        clusters=paths[used],
        left_out=tuple(map(LeftOut, ids[left].tolist(), faults[left].tolist())),
        sizes=sizes[used],
    )


def _sizes(
    root: Path, paths: Sequence[str], wanted: Bool[np.ndarray, " n"]
) -> Int64[np.ndarray, "n 2"]:
    """Width and height of the pictures wanted, each read once; 1 of the others."""
    place: dict[str, int] = {}
    rows = np.flatnonzero(wanted)
    member = [place.setdefault(paths[row], len(place)) for row in rows]
    sizes = np.ones((len(paths), 2), dtype=np.int64)
    sizes[rows] = picture_sizes(root, list(place))[member]
    return sizes


def _heads(
    people: _People, sizes: Int64[np.ndarray, "n 2"], faults: np.ndarray, split: str
) -> Float32[np.ndarray, "n 4"]:
    """Head boxes in [0, 1], ends swapped and parts beyond the picture cut off where need be."""
    boxes = people.heads / np.tile(sizes, 2)
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    _blame(faults, ~np.isfinite(boxes).all(axis=1), "the head box is missing")
    _blame(faults, (high == low).any(axis=1), "the head box has no area")
    _blame(faults, ((high <= 0) | (low >= 1)).any(axis=1), "the head box is outside the picture")
    used = faults == ""
    swapped = used & (boxes[:, :2] > boxes[:, 2:]).any(axis=1)
    cut = used & ((low < 0) | (high > 1)).any(axis=1)
    _warn(f"gazefollow, {split}", {
        "head boxes with their ends swapped, set right": int(swapped.sum()),
        "head boxes beyond the picture, cut to it": int(cut.sum()),
    })  # fmt: skip
    return np.clip(np.concatenate([low, high], axis=1), 0, 1).astype(np.float32)
