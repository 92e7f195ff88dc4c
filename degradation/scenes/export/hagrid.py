"""A miniature HaGRIDv2: half figures of the rendered world, one folder a target, and JSON.

The rendered world has seven gestures, HaGRIDv2 has 34 targets, so a target is one of the seven at
one of five rolls: upright under its own name where the official list has it, otherwise turned,
`peace_inverted` being `peace` upside down. Where a gesture takes two hands, the second is the
mirror image of the first beside it. A picture may list an idle hand at its lower edge, labelled
`no_gesture`.
"""

import dataclasses
import itertools
import json
import math
import shutil
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from degradation.scenes.export.photograph import SHAPES, Photograph, photograph, save
from degradation.scenes.looks import digest, generator
from degradation.scenes.records import GESTURES, Box, Scene
from degradation.scenes.world import compose

__all__ = ["QUIRKS", "write"]

QUIRKS: Mapping[str, str] = {
    "small-version": "folders named as those of the 512-pixel version",
    "misspelt-class": "hands_heart2 for hand_heart2, as in the owners' download script",
    "united-lists": "[null, null] where a gesture takes one hand, in place of null",
    "no-landmarks": "null landmarks",
    "missing-pictures": "some pictures are not there",
    "missing-class": "no pictures of one class",
    "partial": "no annotations of some classes",
    "only-idle-hands": "the label no_gesture alone, in the folder of a gesture",
    "another-label": "a gesture in the folder of another; the label counts",
    "unknown-label": "a label that is no target",
    "lengths-differ": "labels and boxes of different number",
    "garbled-rows": "a picture whose boxes are text, one without labels, one without a subject",
    "boxes-beyond": "boxes that reach beyond the picture, wholly outside, or empty",
    "older-files": "annotations of one class as before HaGRIDv2, and pictures that nobody lists",
    "shared-subject": "a subject in two splits",
    "shared-picture": "a picture listed in two splits",
    "json-empty": "refused: a file of zero bytes",
    "json-twice": "refused: two documents in one file",
    "json-other": "refused: a file of another data set",
    "two-copies": "refused: the pictures of a class in two folders",
    "no-annotations": "refused: pictures only",
}

_TARGETS = (
    "grabbing", "grip", "holy", "point", "call", "three3", "timeout", "xsign", "hand_heart",
    "hand_heart2", "little_finger", "middle_finger", "take_picture", "dislike", "fist", "four",
    "like", "mute", "ok", "one", "palm", "peace", "peace_inverted", "rock", "stop",
    "stop_inverted", "three", "three2", "two_up", "two_up_inverted", "three_gun", "thumb_index",
    "thumb_index2", "no_gesture",
)  # fmt: skip
_TWO_HANDED = (
    "hand_heart", "hand_heart2", "thumb_index2", "timeout", "holy", "take_picture", "xsign",
)  # fmt: skip
_ROLLS = (0.0, math.pi, 0.4 * math.pi, -0.4 * math.pi, 0.8 * math.pi)
_NAMED = {"peace_inverted": ("peace", math.pi), "stop_inverted": ("palm", math.pi)}
_COUNTS = {"train": 6, "val": 2, "test": 3}
_WRIST = 0.35  # how far the roll of a hand varies about that of its target

Annotation = dict[str, Any]


def write(folder: Path, *, seed: int, scale: float, quirks: Collection[str]) -> None:
    """Fill an empty folder; see the module, and `QUIRKS`."""
    small = "small-version" in quirks
    pictures = folder / ("hagridv2_512" if small else "hagrid_dataset")
    annotations = folder / ("annotations" if small else "hagrid_annotations")
    poses = _poses()
    entries: dict[str, dict[str, dict[str, Annotation]]] = {}
    for split, count in _COUNTS.items():
        entries[split] = {}
        for number, target in enumerate(_TARGETS):
            entries[split][target] = {}
            for index in range(max(1, round(count * scale))):
                rng = generator(seed, "hagrid", split, target, index)
                scene = compose("gesture", split, number * 1000 + index, seed=seed)
                taken, made = _taken(scene, target, poses[target], rng)
                key = str(uuid.UUID(int=digest(seed, "hagrid", split, target, index)))
                save(taken, pictures / target / f"{key}.jpg")
                entries[split][target][key] = made
    _spoil(entries, pictures, quirks)
    if "misspelt-class" in quirks:
        (pictures / "hand_heart2").rename(pictures / "hands_heart2")
    if "no-annotations" not in quirks:
        _write_annotations(entries, annotations, quirks)
    if "two-copies" in quirks:
        shutil.copytree(pictures / "call", folder / "unpacked" / "call")


def _poses() -> dict[str, tuple[str, float]]:
    """The rendered gesture and the roll that stand for each target."""
    own = {target: (target, 0.0) for target in _TARGETS if target in GESTURES} | _NAMED
    taken = set(own.values())
    free = [pose for pose in itertools.product(GESTURES, _ROLLS) if pose not in taken]
    others = [target for target in _TARGETS if target not in own]
    return own | dict(zip(others, free, strict=False))


# ------------------------------------------------------------------ one picture


def _taken(
    scene: Scene, target: str, pose: tuple[str, float], rng: np.random.Generator
) -> tuple[Image.Image, Annotation]:
    """The picture of a target, and what the owners would say of it."""
    gesture, roll = pose
    turn = roll + float(rng.uniform(-_WRIST, _WRIST))
    hand = dataclasses.replace(scene.hand, gesture=gesture, roll=turn)
    scene = dataclasses.replace(scene, hand=hand)
    shape = float(rng.choice(SHAPES))
    taken = photograph(scene, side=int(rng.choice((128, 160))), shape=shape, rng=rng)
    first = taken.pixels(scene.boxes()["hand"])
    boxes, labels = [first], [target]
    united = None
    if target in _TWO_HANDED:
        boxes, labels = _mirrored(taken, first), [target] * 2
        united = _around(boxes)
    elif rng.random() < 0.2:
        x, y = scene.persons[0].x, 0.9
        idle = taken.pixels((max(x - 0.1, 0), y, min(x + 0.1, 1), 1.0))
        boxes, labels = [idle, first], ["no_gesture", target]
    return taken.image, {
        "bboxes": [_xywh(box, taken.image) for box in boxes],
        "labels": labels,
        "united_bbox": united and [_xywh(united, taken.image)],
        "united_label": united and [target],
        "user_id": f"{digest(scene.cluster):032x}",
        "hand_landmarks": [_landmarks(_xywh(box, taken.image), rng) for box in boxes],
        "meta": {"age": [24.41], "gender": ["female"], "race": ["White"]},
    }


def _mirrored(taken: Photograph, box: Box) -> list[Box]:
    """Paint the mirror image of a hand beside it; the boxes of both, in whole pixels."""
    x1, y1, x2, y2 = map(round, box)
    width = x2 - x1
    middle = taken.left + taken.side / 2
    left = x1 - width if (x1 + x2) / 2 > middle else x2
    left = min(max(left, 0), taken.image.width - width)
    taken.image.paste(ImageOps.mirror(taken.image.crop((x1, y1, x2, y2))), (left, y1))
    spans = ((x1, x2), (left, left + width))
    return [(float(first), float(y1), float(last), float(y2)) for first, last in spans]


def _around(boxes: list[Box]) -> Box:
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return (min(x1), min(y1), max(x2), max(y2))


def _xywh(box: Box, image: Image.Image) -> list[float]:
    x1, y1, x2, y2 = box
    sides = (image.width, image.height, image.width, image.height)
    return [round(v / side, 10) for v, side in zip((x1, y1, x2 - x1, y2 - y1), sides, strict=True)]


def _landmarks(box: list[float], rng: np.random.Generator) -> list[list[float]]:
    return (rng.random((21, 2)) * box[2:] + box[:2]).tolist()


# ------------------------------------------------------------------ quirks


def _spoil(
    entries: dict[str, dict[str, dict[str, Annotation]]], pictures: Path, quirks: Collection[str]
) -> None:
    """Add the faults asked for, each to a class of its own in the training split."""
    train = {target: list(found.items()) for target, found in entries["train"].items()}
    if "missing-pictures" in quirks:
        (pictures / "call" / f"{train['call'][0][0]}.jpg").unlink()
    if "missing-class" in quirks:
        shutil.rmtree(pictures / "grip")
    if "only-idle-hands" in quirks:
        train["fist"][0][1]["labels"] = ["no_gesture"] * len(train["fist"][0][1]["labels"])
    if "another-label" in quirks:
        made = train["mute"][0][1]
        made["labels"] = ["rock" if one == "mute" else one for one in made["labels"]]
    if "unknown-label" in quirks:
        made = train["four"][0][1]
        made["labels"] = ["five" if one == "four" else one for one in made["labels"]]
    if "lengths-differ" in quirks:
        train["like"][0][1]["labels"].append("like")
    if "garbled-rows" in quirks:
        key, made = train["palm"][0]
        entries["train"]["palm"][f"{key}-garbled"] = {**made, "bboxes": "none"}
        train["peace"][0][1]["labels"] = []
        train["ok"][0][1]["user_id"] = None
    if "boxes-beyond" in quirks:
        for target, box in (
            ("one", [-0.1, -0.05, 0.4, 0.5]),
            ("rock", [1.2, 0.3, 0.2, 0.2]),
            ("stop", [0.3, 0.3, 0.0, 0.2]),
        ):
            made = train[target][0][1]
            made["bboxes"][made["labels"].index(target)] = box
    if "shared-subject" in quirks:
        other = next(iter(entries["test"]["dislike"].values()))
        train["dislike"][0][1]["user_id"] = other["user_id"]
    if "shared-picture" in quirks:
        key, made = train["three"][0]
        entries["test"]["three"][key] = made
    if "older-files" in quirks:
        for split in entries.values():
            for made in split["two_up"].values():
                for name in ("united_bbox", "united_label", "hand_landmarks", "meta"):
                    del made[name]
        shutil.copy(next((pictures / "two_up").iterdir()), pictures / "two_up" / "unlisted.jpg")


def _write_annotations(
    entries: dict[str, dict[str, dict[str, Annotation]]], place: Path, quirks: Collection[str]
) -> None:
    for split, targets in entries.items():
        for target, found in targets.items():
            if "partial" in quirks and target in ("thumb_index", "xsign"):
                continue
            for made in found.values():
                if "united-lists" in quirks and made.get("united_bbox", 0) is None:
                    made["united_bbox"] = made["united_label"] = [None] * len(made["labels"])
                if "no-landmarks" in quirks:
                    made["hand_landmarks"] = None
            misspelt = target == "hand_heart2" and "misspelt-class" in quirks
            file = place / split / f"{'hands_heart2' if misspelt else target}.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(found, indent=4))
    damaged = place / "train" / "call.json"
    if "json-empty" in quirks:
        damaged.write_text("")
    if "json-twice" in quirks:
        damaged.write_text(damaged.read_text() * 2)
    if "json-other" in quirks:
        damaged.write_text(json.dumps({"8408": {"1 2": 3}}))
