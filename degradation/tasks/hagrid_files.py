"""The files of HaGRIDv2: which folder holds what, and the annotations that a file holds.

The owners' archives unpack into folders of several names, and the pictures of sixteen classes come
from another place than the rest, so folders are known by what is in them: pictures by folders
with the names of the targets, annotations by train, val and test with files of these names.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import UNSET, UnsetType

from degradation.errors import DataError
from degradation.tasks.disk import read_bytes, refused_json

__all__ = [
    "NO_GESTURE",
    "SPLITS",
    "TARGETS",
    "TWO_HANDED",
    "Annotation",
    "Places",
    "find_places",
    "gesture_name",
    "read_annotations",
]

SPLITS = ("train", "val", "test")
NO_GESTURE = "no_gesture"
TARGETS = (
    "grabbing", "grip", "holy", "point", "call", "three3", "timeout", "xsign", "hand_heart",
    "hand_heart2", "little_finger", "middle_finger", "take_picture", "dislike", "fist", "four",
    "like", "mute", "ok", "one", "palm", "peace", "peace_inverted", "rock", "stop",
    "stop_inverted", "three", "three2", "two_up", "two_up_inverted", "three_gun", "thumb_index",
    "thumb_index2", NO_GESTURE,
)  # fmt: skip
"""In the official order."""

TWO_HANDED = frozenset(
    ("hand_heart", "hand_heart2", "thumb_index2", "timeout", "holy", "take_picture", "xsign")
)

_SPELLINGS = {"hands_heart2": "hand_heart2"}  # of the owners' download script
_DEPTH = 2


class Annotation(msgspec.Struct, gc=False, frozen=True):
    """One picture, as the owners annotate it; landmarks and guesses of age are passed over.

    Attributes:
        bboxes: x, y, width and height of each hand, normalised.
        labels: Gesture of each hand.
        united_bbox: Box of both hands, in a list that may be null or hold nulls; unset before
            HaGRIDv2.
        united_label: Its gesture, likewise.
        user_id: The subject.
    """

    bboxes: list[list[float]] | None
    labels: list[str] | None
    united_bbox: list[list[float] | None] | UnsetType | None = UNSET
    united_label: list[str | None] | None = None
    user_id: str | None = None


_FILE = msgspec.json.Decoder(dict[str, Annotation])
_ENTRIES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENTRY = msgspec.json.Decoder(Annotation)


def gesture_name(name: str) -> str:
    """The official spelling of a class."""
    return _SPELLINGS.get(name, name)


def read_annotations(file: Path) -> tuple[dict[str, Annotation], dict[str, str]]:
    """What a file says, by picture, and the pictures of which it says nothing, with the reason.

    Raises:
        DataError: It is missing, empty, no JSON, two JSON documents, or of another data set.
    """
    data = read_bytes(file)
    try:
        return _FILE.decode(data), {}
    except msgspec.ValidationError:
        return _read_singly(file, data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise refused_json(file, data, str(error)) from error


def _read_singly(file: Path, data: bytes) -> tuple[dict[str, Annotation], dict[str, str]]:
    found: dict[str, Annotation] = {}
    broken: dict[str, str] = {}
    first = ""
    try:
        for key, entry in _ENTRIES.decode(data).items():
            try:
                found[key] = _ENTRY.decode(entry)
            except msgspec.ValidationError as error:
                first = first or f"{error} in {key!r}"
                broken[key] = "the annotation lacks a field or has one of another type"
    except msgspec.ValidationError as error:
        first = str(error)
    if found:
        return found, broken
    raise DataError(
        f"Expected annotations of HaGRID by picture in {file}, found none: "
        f"{first.rstrip('.')}. Is this another data set's file?"
    )


# ------------------------------------------------------------------ places


@dataclass(frozen=True, slots=True)
class Places:
    """Where things lie in a data root.

    Attributes:
        annotations: The folder that holds the splits.
        files: By split and target, the file of annotations.
        pictures: By target, the folder of its pictures, relative to the root, with `/`.
        strangers: Annotation files of no known target.
    """

    annotations: Path
    files: Mapping[str, Mapping[str, Path]]
    pictures: Mapping[str, str]
    strangers: list[str] = field(default_factory=list)


def find_places(root: Path) -> Places:
    """Finds annotations and class folders in a data root, at most two folders deep.

    Raises:
        DataError: There are no annotations or no class folders, or two of the same.
    """
    pictures: dict[str, str] = {}
    found: list[Places] = []
    for place, inside in _walk(root, _DEPTH):
        for name in inside:
            target = gesture_name(name)
            if target not in TARGETS:
                continue
            folder = (place / name).relative_to(root).as_posix()
            if target in pictures:
                raise _twice(f"the pictures of {target}", pictures[target], folder, root)
            pictures[target] = folder
        annotated = _annotated(place, [split for split in SPLITS if split in inside])
        if annotated.files:
            found.append(annotated)
    if len(found) > 1:
        first, second = (one.annotations.relative_to(root).as_posix() for one in found[:2])
        raise _twice("annotations", first, second, root)
    if not found or not pictures:
        what = "folders with the names of gestures" if found else "train/, val/, test/ with JSON"
        has = "annotations" if found else "pictures" if pictures else "neither"
        raise DataError(
            f"Expected HaGRIDv2 in {root}: {what} in it or up to two folders below; found {has}. "
            "Annotations and pictures are separate archives; unpack both there."
        )
    one = found[0]
    return Places(one.annotations, one.files, pictures, one.strangers)


def _walk(place: Path, depth: int) -> Iterator[tuple[Path, list[str]]]:
    """Folders and the names of folders in them; not below targets, which have too many files."""
    try:
        with os.scandir(place) as entries:
            names = sorted(one.name for one in entries if os.path.isdir(one.path))
    except OSError as error:
        raise DataError(f"Expected a readable folder, found {error}: {place}.") from error
    yield place, names
    for name in names if depth else ():
        if gesture_name(name) not in TARGETS and name not in SPLITS and name[0] != ".":
            yield from _walk(place / name, depth - 1)


def _annotated(place: Path, splits: list[str]) -> Places:
    files: dict[str, dict[str, Path]] = {}
    strangers: list[str] = []
    for split in splits:
        here: dict[str, Path] = {}
        for file in sorted((place / split).glob("*.json")):
            target = gesture_name(file.stem)
            if target not in TARGETS:
                strangers.append(f"{split}/{file.name}")
            elif target in here:
                raise _twice(f"annotations of {target}", here[target].name, file.name, place)
            else:
                here[target] = file
        if here:
            files[split] = {target: here[target] for target in TARGETS if target in here}
    return Places(place, files, {}, strangers)


def _twice(what: str, first: str, second: str, root: Path) -> DataError:
    return DataError(
        f"Expected {what} once in {root}, found them in {first or '.'} and in {second}. Keep one, "
        "or name a data root that holds only one."
    )
