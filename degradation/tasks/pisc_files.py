"""The files of PISC as its owners ship them: boxes, labels, splits; and what they are taken for.

A file that is something else as a whole (labels or people counted from 0, the labels of the other
task, an archive that is still packed) is refused here, since its rows would be wrong one by one
and look right. What is wrong with single rows is the matter of `pisc`.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degradation.errors import DataError
from degradation.tasks.disk import read_bytes, read_json

__all__ = ["Labels", "Pair", "People", "read_labels", "read_people", "read_split", "split_files"]

Pair = tuple[int, int]
"""Two people of a picture, counted from 1."""

Labels = dict[int, list[tuple[Pair, object]]]
"""Pairs with their labels, as listed, by picture."""

Number = int | float
"""As JSON has them; NaN and infinite ones too."""

IMAGES = "image"
PARTS = tuple(f"images-{i:02d}" for i in range(4))

_TOLERATED = 0.05
"""Share of a file that may be out of range before the whole of it is taken for something else."""
_MEANS_DOMAINS = 100
"""So many labels without one above 3 are domains: in the release every fifth is `no relation`."""


@dataclass(frozen=True, slots=True)
class People:
    """The people of one picture.

    Attributes:
        size: Width and height in pixels.
        boxes: xyxy in pixels by person, as listed; NaN where a box is not four numbers.
        fault: Why none of them can be used, empty if they can.
    """

    size: tuple[Number, Number]
    boxes: Sequence[Sequence[Number]]
    fault: str = ""


# ------------------------------------------------------------------ what is there


def split_files(
    folder: Path, question: str, splits: Sequence[str], *, needed: Sequence[str]
) -> dict[str, Path]:
    """The list of pictures of each split, after checking that everything else is there.

    Args:
        folder: Data root.
        question: `relationship` or `domain`.
        splits: `train`, `val` and `test`.
        needed: Further files that must be there.

    Raises:
        DataError: Something is missing, or still packed.
    """
    for name in needed:
        if not (folder / name).is_file():
            raise _missing(folder, name)
    _check_images(folder)
    place = folder / f"{question}_split"
    if not place.is_dir():
        packed = place.with_suffix(".zip")
        if packed.is_file():
            raise DataError(
                f"Expected the folder {place}, found only {packed.name}, which is not unpacked. "
                f"Run `unzip {packed.name}` in {folder}."
            )
        raise _missing(folder, place.name)
    return {split: _split_file(place, split) for split in splits}


def _missing(folder: Path, name: str) -> DataError:
    try:
        inside = [one.parent for one in folder.glob(f"*/{name}")]
    except OSError:
        inside = []
    hint = (
        f"It is in {inside[0]}: give that folder as --data-root."
        if inside
        else "Download it from https://zenodo.org/record/1059155 into this folder."
    )
    return DataError(f"Expected {name} of PISC in {folder}, found no such file there. {hint}")


def _check_images(folder: Path) -> None:
    place = folder / IMAGES
    if place.is_dir() and any(place.glob("*.jpg")):
        return
    state = "an empty one" if place.is_dir() else "none"
    parts = [name for name in PARTS if (folder / name).is_file()]
    if not parts:
        raise DataError(
            f"Expected a folder {IMAGES} with pictures such as 00000.jpg in {folder}, found "
            f"{state}. Download {PARTS[0]} to {PARTS[-1]} from https://zenodo.org/record/1059155, "
            "then join and unpack them."
        )
    absent = [name for name in PARTS if name not in parts]
    first = f"Download {', '.join(absent)} as well, then run" if absent else "Run"
    raise DataError(
        f"Expected a folder {IMAGES} with pictures such as 00000.jpg in {folder}, found {state}, "
        f"but {', '.join(parts)}: pieces of one archive that were not joined. {first} "
        f"`cat {' '.join(PARTS)} | tar xz` in {folder}."
    )


def _split_file(place: Path, split: str) -> Path:
    """The one file of a split; JSON, as the owners ship it, before text made of it."""
    listed = [
        one
        for folder in (place, place / place.name)
        if folder.is_dir()
        for one in sorted(folder.iterdir())
        if one.is_file() and not one.name.startswith(".")
    ]
    for suffix in (".json", ".txt"):
        found = [o for o in listed if o.suffix.lower() == suffix and split in o.stem.lower()]
        if len(found) > 1:
            raise DataError(
                f"Expected one {suffix} file of the split {split} in {place}, found "
                f"{', '.join(one.name for one in found)}. Keep the one that the owners ship."
            )
        if found:
            return found[0]
    raise DataError(
        f"Expected a .json or .txt file with {split!r} in its name in {place}, found "
        f"{', '.join(one.name for one in listed) or 'nothing'}. Unpack {place.name}.zip again."
    )


# ------------------------------------------------------------------ what they hold


def read_people(path: Path) -> dict[int, People]:
    """Sizes and boxes by picture.

    Raises:
        DataError: It is no list of objects with `id`, `imgW`, `imgH` and `bbox`.
    """
    entries = read_json(path)
    if not isinstance(entries, list) or not entries:
        raise _other(path, 'a list of {"id", "imgW", "imgH", "bbox"}', entries)
    found: dict[int, People] = {}
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or not {"id", "imgW", "imgH", "bbox"} <= entry.keys():
            raise _other(path, f'{{"id", "imgW", "imgH", "bbox"}} as entry {place}', entry)
        picture = _number(entry["id"])
        if picture is None:
            raise _other(path, f"a number as id of entry {place}", entry["id"])
        people = _people(entry)
        if picture in found and found[picture] != people:
            people = People((math.nan, math.nan), (), f"two different entries in {path.name}")
        found[picture] = people
    return found


def _people(entry: Mapping[str, Any]) -> People:
    size = (entry["imgW"], entry["imgH"])
    if not all(_is_real(side) and side > 0 for side in size):
        return People((math.nan, math.nan), (), "picture has no width and height")
    if not isinstance(entry["bbox"], list):
        return People(size, (), "picture has no list of boxes")
    return People(size, [_box(box) for box in entry["bbox"]])


def _box(box: object) -> Sequence[Number]:
    usable = isinstance(box, list) and len(box) == 4 and all(map(_is_real, box))
    return box if usable else (math.nan,) * 4  # type: ignore[return-value]


def read_labels(path: Path, n_classes: int) -> Labels:
    """The labelled pairs of each picture; (-1, -1) for a pair that is not two numbers.

    Args:
        path: `relationship.json` or `domain.json`.
        n_classes: Labels go from 1 to this.

    Raises:
        DataError: It has another shape, or as a whole counts labels or people from 0, or holds
            the labels of the other task.
    """
    labels = read_json(path)
    shape = 'an object like {"8408": {"1 2": 4}}'
    if not isinstance(labels, dict) or not labels:
        raise _other(path, shape, labels)
    found: Labels = {}
    for name, pairs in labels.items():
        picture = _number(name)
        if picture is None or not isinstance(pairs, dict):
            raise _other(path, f"{shape} at the key {name!r}", pairs)
        if picture in found:
            raise DataError(
                f"Expected each picture once in {path}, found {picture} under two keys. Unpack "
                "the owners' file again."
            )
        found[picture] = [(_pair(name), label) for name, label in pairs.items()]
    _check_labels(path, Counter(repr(x) for p in found.values() for _, x in p), n_classes)
    _check_people(path, found)
    return found


def _pair(name: str) -> Pair:
    numbers = [_number(word) for word in name.split()]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return (-1, -1)
    return (numbers[0], numbers[1])


def _check_labels(path: Path, labels: Counter[str], n_classes: int) -> None:
    """Refuse labels that are another task's, or counted from 0."""
    known = {str(label) for label in range(1, n_classes + 1)}
    total, inside = labels.total(), sum(labels[label] for label in known)
    seen = ", ".join(sorted(labels)[:8])
    if total - inside > _TOLERATED * total:
        raise DataError(
            f"Expected labels from 1 to {n_classes} in {path}, but {total - inside} of {total} are "
            f"others (found: {seen}). Labels from 0 are those of converted lists, and a file of "
            "the other task may have been renamed: put the owners' file there."
        )
    if n_classes > 3 and total >= _MEANS_DOMAINS and not sum(labels[str(i)] for i in (4, 5, 6)):
        raise DataError(
            f"Expected labels from 1 to {n_classes} in {path}, found only {seen} in {total} pairs: "
            "these are domains. Put the owners' file there."
        )


def _check_people(path: Path, found: Labels) -> None:
    """Refuse people that are counted from 0: every box would be that of somebody else."""
    shifted = [picture for picture, pairs in found.items() if any(0 in pair for pair, _ in pairs)]
    if len(shifted) > _TOLERATED * len(found):
        raise DataError(
            f"Expected people counted from 1 in {path}, but {len(shifted)} of {len(found)} "
            f"pictures, {shifted[0]} for one, have a person 0. Put the owners' file there."
        )


def read_split(path: Path) -> list[int]:
    """The pictures of a split, in order, as often as they are listed.

    A text file has a picture a line, as number or file name; or ten fields, a pair a line, whose
    first is the picture (the form of GRM), and then each picture counts once.

    Raises:
        DataError: It is no list of pictures.
    """
    text = path.suffix.lower() == ".txt"
    names = _lines(path) if text else read_json(path)
    if not isinstance(names, list) or not names:
        raise _other(path, "a list of pictures", names)
    found = []
    for place, name in enumerate(names, start=1):
        picture = _number(name)
        if picture is None:
            raise _other(path, f"the number of a picture as entry {place}", name)
        found.append(picture)
    return found


def _lines(path: Path) -> list[str]:
    try:
        lines = read_bytes(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"Expected text in {path}, found other bytes ({error}).") from error
    fields = {number: line.split() for number, line in enumerate(lines, 1) if line.strip()}
    widths = set(map(len, fields.values()))
    if widths == {10}:
        return list(dict.fromkeys(line[0].removesuffix(".jpg") for line in fields.values()))
    for number, line in fields.items():
        if len(line) != 1:
            raise DataError(
                f"Expected one picture a line in {path}, found {len(line)} fields in line {number}."
                " Put the owners' list of pictures there."
            )
    return [line[0].removesuffix(".jpg") for line in fields.values()]


def _number(name: object) -> int | None:
    """The number of a picture, padded or not; None if it is none."""
    if type(name) is int and name >= 0:
        return name
    if isinstance(name, str) and len(name) < 19 and name.isascii() and name.isdecimal():
        return int(name)
    return None


def _is_real(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _other(path: Path, expected: str, found: object) -> DataError:
    text = repr(found)
    return DataError(
        f"Expected {expected} in {path}, found {text[:60]}{'...' if len(text) > 60 else ''}. "
        "Is it the owners' file, and of PISC?"
    )
