"""A miniature GazeFollow (extended): wide scenes of the rendered world in the owners' two files.

Every person of a scene is annotated. Who looks at the viewer is a person whose target is outside
the picture (inout 0) in the training file and does not occur in the test file, where several
annotators scatter about the target of each of the others.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from degradation.scenes.export.photograph import SHAPES, Photograph, photograph, save
from degradation.scenes.looks import generator
from degradation.scenes.records import Box, Person, Point
from degradation.scenes.world import compose

__all__ = ["QUIRKS", "write"]

QUIRKS: Mapping[str, str] = {
    "bom": "a byte order mark before the first path",
    "windows-lines": "Windows line ends",
    "quotes": "quotation marks in the column meta",
    "inverted-heads": "head boxes whose ends are swapped",
    "heads-beyond": "head boxes that leave the picture, and one wholly outside",
    "heads-empty": "head boxes without area, and one without numbers",
    "invalid": "inout -1, missing, and 7",
    "points-beyond": "points outside the picture, in both files",
    "repeated": "a training row twice, and a person with two points",
    "lone-annotators": "test people that one annotator alone has looked at",
    "heads-differ": "a test person whose annotators have different head boxes",
    "missing-pictures": "some pictures are not there",
    "damaged-picture": "a picture of zero bytes",
    "outside-root": "a path that leaves the data root",
    "link-loop": "a folder that is a link to itself",
    "original": "refused: the original files, without head boxes, under their own names",
    "original-columns": "refused: the original columns under the extended names",
    "exchanged": "refused: each file under the name of the other",
    "test-with-inout": "refused: a test file with the columns of the training file",
    "header": "refused: a header line",
    "cut-off": "refused: a file that ends within a line",
    "appended": "refused: the training file appended to itself",
    "crowd": "refused: more annotators of a person than there can be",
    "empty-file": "refused: a training file of zero bytes",
    "json": "refused: a file of another data set",
    "no-pictures": "refused: annotations alone",
    "nested": "refused: everything in a folder of its own",
}

_TRAIN, _TEST = "train_annotations_release.txt", "test_annotations_release.txt"
_COUNTS = {"train": 220, "test": 60}
_FOLDERS = {"train": "train", "test": "test2"}
_PER_FOLDER = 40
_SPREAD = 0.03
"""Deviation of the annotators from the target."""


@dataclass(slots=True)
class _Line:
    """One line of a file; `inout` is None in the test file."""

    path: str
    idx: int
    body: Box
    eye: Point
    gaze: Point
    head: tuple[str, ...]
    inout: str | None
    meta: str = ""

    def text(self) -> str:
        numbers = [f"{value:.6f}" for value in (*self.body, *self.eye, *self.gaze)]
        flags = [] if self.inout is None else [self.inout]
        cells = [self.path, str(self.idx), *numbers, *self.head, *flags, "scenes", self.meta]
        return ",".join(cells)


def write(folder: Path, *, seed: int, scale: float, quirks: Collection[str]) -> None:
    """Fill an empty folder; see the module, and `QUIRKS`."""
    root = folder / "gazefollow_extended" if "nested" in quirks else folder
    lines: dict[str, list[_Line]] = {"train": [], "test": []}
    for split, count in _COUNTS.items():
        for index in range(max(8, round(count * scale))):
            rng = generator(seed, "gazefollow", split, index)
            scene = compose("gaze", split, index, seed=seed)
            side, shape = int(rng.choice((128, 160))), float(rng.choice(SHAPES))
            taken = photograph(scene, side=side, shape=shape, rng=rng)
            path = f"{_FOLDERS[split]}/{index // _PER_FOLDER:08d}/{index:08d}.jpg"
            for person in scene.persons:
                lines[split] += _lines(person, taken, path, len(lines[split]), split, rng)
            if "no-pictures" not in quirks:
                save(taken.image, root / path)
    root.mkdir(exist_ok=True)
    _spoil_train(lines["train"], root, quirks)
    _spoil_test(lines["test"], quirks)
    _write_files(lines, root, quirks)


def _lines(
    person: Person, taken: Photograph, path: str, start: int, split: str, rng: np.random.Generator
) -> list[_Line]:
    """A training line of a person, or a test line by each of some annotators."""
    width, height = taken.image.size
    x, y, *_ = taken.normalised((person.x, person.y, person.x, person.y))
    x1, y1, x2, y2 = taken.normalised(person.body_box)
    box = np.clip(taken.pixels(person.head_box), 0, (width, height, width, height))
    head = tuple(f"{value:.1f}" for value in box)
    body = (x1, y1, x2 - x1, y2 - y1)
    if person.target is None:
        if split == "test":
            return []
        return [_Line(path, start, body, (x, y), (-1.0, -1.0), head, "0")]
    gaze = taken.normalised((*person.target, *person.target))[:2]
    if split == "train":
        return [_Line(path, start, body, (x, y), _clipped(gaze), head, "1")]
    points = rng.normal(gaze, _SPREAD, (int(rng.integers(6, 11)), 2)).tolist()
    return [
        _Line(path, start + k, body, (x, y), _clipped(point), head, None)
        for k, point in enumerate(points)
    ]


def _clipped(point: Collection[float]) -> Point:
    x, y = (min(max(value, 0.0), 1.0) for value in point)
    return (x, y)


# ------------------------------------------------------------------ quirks


def _spoil_train(lines: list[_Line], root: Path, quirks: Collection[str]) -> None:
    """Add faults to the training lines, each to lines of its own, taken from the end."""
    free = [line for line in lines if line.inout == "1"]
    if "inverted-heads" in quirks:
        for line in (free.pop(), free.pop()):
            x1, y1, x2, y2 = line.head
            line.head = (x2, y1, x1, y2)
    if "heads-beyond" in quirks:
        line = free.pop()
        line.head = ("-12.5", "-3", *line.head[2:])
        free.pop().head = ("-40", "-40", "-5", "-5")
    if "heads-empty" in quirks:
        line = free.pop()
        line.head = (line.head[0], line.head[1], line.head[0], line.head[3])
        free.pop().head = ("", "", "", "")
    if "invalid" in quirks:
        for flag in ("-1", "-1", "", "7"):
            free.pop().inout = flag
    if "points-beyond" in quirks:
        free.pop().gaze = (1.2, 0.5)
    if "missing-pictures" in quirks:
        for _ in range(2):
            (root / free.pop().path).unlink(missing_ok=True)
    if "damaged-picture" in quirks:
        (root / free.pop().path).write_bytes(b"")
    if "outside-root" in quirks:
        free.pop().path = "../elsewhere/00000000/00000000.jpg"
    if "link-loop" in quirks:
        loop = root / "train" / "99999999"
        loop.symlink_to(loop)
        free.pop().path = "train/99999999/00000001.jpg"
    if "quotes" in quirks:
        free.pop().meta = 'the "left" one'
    if "repeated" in quirks:
        again, other = free.pop(), free.pop()
        lines += [again, replace(other, gaze=(0.5, 0.5))]


def _spoil_test(lines: list[_Line], quirks: Collection[str]) -> None:
    """Add faults to the test lines, by person, taken from the end."""
    people = list(dict.fromkeys((line.path, line.eye) for line in lines))

    def of_next() -> list[_Line]:
        person = people.pop()
        return [line for line in lines if (line.path, line.eye) == person]

    if "lone-annotators" in quirks:
        for _ in range(2):
            for line in of_next()[1:]:
                lines.remove(line)
    if "points-beyond" in quirks:
        of_next()[0].gaze = (0.5, -0.1)
        for line in of_next():
            line.gaze = (1.5, 1.5)
    if "heads-differ" in quirks:
        of_next()[1].head = ("0", "0", "20", "20")
    if "crowd" in quirks:
        lines += 4 * of_next()


def _write_files(lines: dict[str, list[_Line]], root: Path, quirks: Collection[str]) -> None:
    if "test-with-inout" in quirks:
        for line in lines["test"]:
            line.inout = "1"
    ends = "\r\n" if "windows-lines" in quirks else "\n"
    mark = b"\xef\xbb\xbf" if "bom" in quirks else b""
    for split, name in (("train", _TRAIN), ("test", _TEST)):
        text = [line.text() for line in lines[split]]
        if "header" in quirks:
            columns = "path,idx,bx,by,bw,bh,ex,ey,gx,gy,x1,y1,x2,y2"
            text.insert(0, f"{columns},{'inout,' if split == 'train' else ''}source,meta")
        if {"original", "original-columns"} & set(quirks):
            text = [",".join([*line.split(",")[:10], "meta"]) for line in text]
        data = mark + "".join(line + ends for line in text).encode()
        (root / name).write_bytes(data)
    train, test = root / _TRAIN, root / _TEST
    if "original" in quirks:
        for file in (train, test):
            file.rename(file.with_name(file.name.replace("_release", "")))
    if "exchanged" in quirks:
        os.replace(train, root / "third")
        os.replace(test, train)
        os.replace(root / "third", test)
    if "cut-off" in quirks:
        train.write_bytes(train.read_bytes()[:-60])
    if "appended" in quirks:
        train.write_bytes(train.read_bytes() * 2)
    if "empty-file" in quirks:
        train.write_bytes(b"")
    if "json" in quirks:
        train.write_text('[{"id": 8408, "imgW": 640, "imgH": 480,\n"bbox": [[1, 2, 3, 4]]}]\n')
    if "no-pictures" in quirks:
        shutil.rmtree(root / "train", ignore_errors=True)
