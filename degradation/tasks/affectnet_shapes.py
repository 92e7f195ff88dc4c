"""The three shapes in which AffectNet lies on disks, found and read into the same columns.

    2017 release    Manually_Annotated_Images/<number>/<hash>.<suffix>, whole photographs, with
                    training.csv and validation.csv, which give a face box in pixels
    2021 release    train_set/ and val_set/, each images/<id>.jpg, crops of faces, with
                    annotations/<id>_exp.npy
    class folders   train/<class>/ and val/<class>/, made by others out of the 2021 release; a
                    class is a number from 0 to 7

What the labels mean and which faces can be used is the matter of `affectnet`.
"""

import functools
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from degradation.errors import DataError
from degradation.tasks.affectnet_lists import list_rows, whole_number

__all__ = ["OWNERS_SPLIT", "TRAIN_COUNTS", "Faces", "Shape", "find_shape"]

OWNERS_SPLIT = {"train": "train", "test": "val"}
"""Our splits by the owners' names: their validation set is what the field tests on."""

TRAIN_COUNTS = (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750)
"""Training faces by class in the 2021 release."""

_LISTS = {"train": "training.csv", "test": "validation.csv"}
_PHOTOGRAPHS = "Manually_Annotated_Images"
_SUFFIX = "_exp.npy"
_CLASSES = frozenset(map(str, range(11)))  # 8, 9 and 10 are no expressions, but labels
_LABEL_BYTES = 4096  # a label takes 132 to 140
_THREADS = 16  # more files under way than cores: what takes time is the disk, or the network
_CHUNK = 1000
_CLOSE = 0.005
_RENAME = (
    "rename the folders 0 neutral, 1 happiness, 2 sadness, 3 surprise, 4 fear, 5 disgust, "
    "6 anger, 7 contempt."
)


@dataclass(frozen=True, slots=True)
class Faces:
    """The n annotated faces of one split.

    Attributes:
        ids: What the owners call them; several faces of one photograph share it.
        pictures: Paths relative to the data root.
        labels: Class numbers; -1 where a fault says why there is none.
        faults: Why a face cannot be used, empty if nothing is known against it.
        boxes: x, y, width and height in pixels, NaN where there is none; no box at all in the
            shapes whose pictures are faces.
    """

    ids: list[str]
    pictures: list[str]
    labels: list[int]
    faults: list[str]
    boxes: Float64[np.ndarray, "n 4"] | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """One of the three shapes, as found in a folder.

    Attributes:
        name: For messages and records.
        sign: What in the folder gives it away.
        has_boxes: Whether its faces have boxes.
        known: Number of faces by split in the complete data set.
        read: Split to faces.
    """

    name: str
    sign: str
    has_boxes: bool
    known: Mapping[str, int]
    read: Callable[[str], Faces]


def find_shape(root: Path) -> Shape:
    """Which shape lies in a folder.

    Raises:
        DataError: None, several, a part of one that nothing can be read from, or one that
            somebody has divided anew.
    """
    looks = (_release_2017, _release_2021, _class_folders)
    found = [shape for look in looks if (shape := look(root))]
    if len(found) == 1:
        return found[0]
    if found:
        signs = "; ".join(f"the {one.name} ({one.sign})" for one in found)
        raise DataError(
            f"Expected AffectNet once in {root}, found it in {len(found)} shapes: {signs}. Keep "
            "one of them there, or name a data root that holds only one."
        )
    below = [one.name for one in _folders(root) if any(_signs(one))]
    hint = f" Did you mean --data-root {root / below[0]}?" if len(below) == 1 else ""
    raise DataError(
        f"Expected AffectNet in {root}: training.csv and {_PHOTOGRAPHS}/ (2017), train_set/ and "
        f"val_set/ (2021), or class folders 0 to 7 in train/ and val/; found "
        f"{', '.join(sorted(os.listdir(root))[:8]) or 'an empty folder'}.{hint} "
        "`sdiag doctor --task affectnet` says where it comes from."
    )


def _signs(root: Path) -> Iterator[Path]:
    yield from (root / name for name in _LISTS.values() if (root / name).is_file())
    yield from (root / name for name in ("train_set", "val_set") if (root / name).is_dir())
    yield from (root / name for name in ("train", "val") if _folders(root / name))


def _folders(place: Path) -> list[Path]:
    if not place.is_dir():
        return []
    with os.scandir(place) as entries:
        names = [one.name for one in entries if not one.name.startswith(".")]
    return sorted(place / name for name in names if os.path.isdir(place / name))


def _names(place: Path) -> list[str]:
    """What lies in a folder, sorted, hidden names passed over.

    Raises:
        DataError: There is no such folder, or it cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(place) if not name.startswith("."))
    except OSError as error:
        raise DataError(
            f"Expected the folder {place}, found: {error.strerror}. Is the archive fully unpacked?"
        ) from error


# ------------------------------------------------------------------ 2017: tables and photographs


def _release_2017(root: Path) -> Shape | None:
    lists = {
        split: [*root.glob(name), *sorted(root.glob(f"*/{name}"))] for split, name in _LISTS.items()
    }
    folders = [*root.glob(_PHOTOGRAPHS), *sorted(root.glob(f"*/{_PHOTOGRAPHS}"))]
    for places in (*lists.values(), folders):
        if len(places) > 1:
            first, second = (one.relative_to(root).as_posix() for one in places[:2])
            raise DataError(
                f"Expected {places[0].name} once in {root}, found {first} and {second}. Remove one."
            )
    if not any(lists.values()) and not folders:
        return None
    if not any(lists.values()) or not folders:
        what = f"{_PHOTOGRAPHS}/" if not folders else "training.csv and validation.csv"
        has = f"{_PHOTOGRAPHS}/" if folders else "training.csv or validation.csv"
        raise DataError(
            f"Expected {what} beside {has} in {root} or in a folder of it, found none. Unpack "
            f"{'the parts of Manually_Annotated' if not folders else 'the file lists'} as well."
        )
    files = {split: found[0] if found else root / _LISTS[split] for split, found in lists.items()}
    sign = next(places[0] for places in lists.values() if places)
    return Shape(
        name="2017 release",
        sign=sign.relative_to(root).as_posix(),
        has_boxes=True,
        known={"train": 414_800, "test": 5_500},
        read=functools.partial(
            _read_list, lists=files, folder=folders[0].relative_to(root).as_posix()
        ),
    )


def _read_list(split: str, *, lists: Mapping[str, Path], folder: str) -> Faces:
    paths: list[str] = []
    boxes: list[tuple[float, ...]] = []
    labels: list[int | None] = []
    for path, box, label in list_rows(lists[split]):
        paths.append(path)
        boxes.append(box)
        labels.append(label)
    return Faces(
        ids=paths,
        pictures=[f"{folder}/{path}" for path in paths],
        labels=[-1 if label is None else label for label in labels],
        faults=["label is no whole number" if label is None else "" for label in labels],
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
    )


# ------------------------------------------------------------------ 2021: one file a label


def _release_2021(root: Path) -> Shape | None:
    if not any((root / name).is_dir() for name in ("train_set", "val_set")):
        return None
    _refuse_a_third_split(root, ("train_set", "val_set", "test_set"))
    return Shape(
        name="2021 release",
        sign="train_set/, val_set/",
        has_boxes=False,
        known={"train": sum(TRAIN_COUNTS), "test": 3_999},
        read=functools.partial(_read_set, root=root),
    )


def _read_set(split: str, *, root: Path) -> Faces:
    owners = OWNERS_SPLIT[split]
    place = root / f"{owners}_set"
    images = set(_names(place / "images"))
    files = [name for name in _names(place / "annotations") if name.endswith(_SUFFIX)]
    if not files:
        raise DataError(
            f"Expected labels, <id>{_SUFFIX}, in {place / 'annotations'}, found none. Is the "
            "archive fully unpacked?"
        )
    stems = [name.removesuffix(_SUFFIX) for name in files]
    labels = dict(zip(stems, _labels(place, files), strict=True))
    unlabelled = {name.removesuffix(".jpg") for name in images} - labels.keys()
    ids = sorted([*labels, *unlabelled])
    found = [labels.get(name, "no label file") for name in ids]
    return Faces(
        ids=ids,
        pictures=[f"{owners}_set/images/{name}.jpg" for name in ids],
        labels=[-1 if isinstance(one, str) else one for one in found],
        faults=[one if isinstance(one, str) else "" for one in found],
    )


def _labels(place: Path, files: list[str]) -> list[int | str]:
    """The label in each file, or why there is none. Files are read several at a time."""
    folder = os.path.join(place, "annotations", "")

    def chunk(start: int) -> list[int | str]:
        return [_label(folder + name) for name in files[start : start + _CHUNK]]

    with ThreadPoolExecutor(_THREADS) as pool:
        return [one for part in pool.map(chunk, range(0, len(files), _CHUNK)) for one in part]


def _label(file: str) -> int | str:
    try:
        with open(file, "rb", buffering=0) as opened:
            return _parsed(opened.read(_LABEL_BYTES))
    except OSError:
        return "the label file cannot be read"


@functools.lru_cache(maxsize=1024)  # a handful of different files, a quarter of a million times
def _parsed(data: bytes) -> int | str:
    if not data:
        return "the label file is empty"
    try:
        value = np.load(io.BytesIO(data), allow_pickle=False)
        label = whole_number(value.item())  # a number, or a text with one
    except Exception:  # whatever parsing damaged bytes stumbles over, or a pickle
        return "the label file is no NumPy array of one value"
    return "the label file holds no whole number" if label is None else label


# ------------------------------------------------------------------ class folders


def _class_folders(root: Path) -> Shape | None:
    if not any(_folders(root / name) for name in ("train", "val")):
        return None
    _refuse_a_third_split(root, ("train", "val", "test"))
    for place in (root / "train", root / "val"):
        wrong = [one.name for one in _folders(place) if one.name not in _CLASSES]
        if wrong:
            raise DataError(
                f"Expected class folders with AffectNet's numbers, 0 to 7, in {place}, found "
                f"{', '.join(wrong[:9])}. Numbers given in alphabetical order are wrong labels: "
                f"{_RENAME}"
            )
    return Shape(
        name="class folders",
        sign="train/<class>/, val/<class>/",
        has_boxes=False,
        known={"train": sum(TRAIN_COUNTS), "test": 3_999},
        read=functools.partial(_read_folders, root=root),
    )


def _read_folders(split: str, *, root: Path) -> Faces:
    owners = OWNERS_SPLIT[split]
    faces = Faces([], [], [], [])
    for name in _names(root / owners):
        inside = os.path.isdir(root / owners / name)
        files = _names(root / owners / name) if inside else [""]
        for file in files:
            here = f"{name}/{file}" if inside else name
            faces.ids.append(here)
            faces.pictures.append(f"{owners}/{here}")
            faces.labels.append(int(name) if inside else -1)
            faces.faults.append(_stray(here) if inside else "not in a class folder")
    if split == "train":
        _refuse_another_order(Counter(faces.labels), root / owners)
    return faces


def _stray(path: str) -> str:
    usual = path.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"))
    return "" if usual else "not a picture by its suffix"


def _refuse_another_order(counts: Counter[int], place: Path) -> None:
    """Classes in another order show by their sizes, if the training set is complete."""
    found = np.array([counts[label] for label in range(len(TRAIN_COUNTS))])
    official = np.array(TRAIN_COUNTS)
    same_sizes = np.abs(np.sort(found) / np.sort(official) - 1).max() < _CLOSE
    if same_sizes and np.abs(found / official - 1).max() > _CLOSE:
        largest = int(found.argmax())
        raise DataError(
            f"Expected AffectNet's class order in {place}, found its class sizes in another: "
            f"folder {largest} has {found[largest]:,} pictures, as class 1 (happiness) should: "
            f"{_RENAME}"
        )


def _refuse_a_third_split(root: Path, names: tuple[str, str, str]) -> None:
    train, val, test = names
    if (root / test).is_dir():
        raise DataError(
            f"Expected {train} and {val} in {root}, found {test} beside them. The official test "
            f"set is not distributed, so somebody divided the data anew, and what is in {val} is "
            f"not known. Use the owners' division, or rename {test} if {val} is the official "
            "validation set."
        )
