"""A miniature AffectNet: portraits of the rendered world in one of the three shapes.

Without a quirk it is the 2017 release: photographs of several sizes and aspect ratios, lists with
face boxes in pixels. The quirks `release-2021` and `class-folders` write one of the other shapes
in its place (the latter wins), whose pictures are crops of faces.

The rendered world has six of the eight expressions. Fear is a surprise of less than half its
strength, and contempt a disgust of less than half its strength; both are weaker in the world
than any real surprise or disgust is. Training classes are skewed, the classes of the
validation set are of one size.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from degradation.scenes.export.photograph import SHAPES, Photograph, photograph, save
from degradation.scenes.looks import balanced, generator
from degradation.scenes.records import EXPRESSIONS, Scene
from degradation.scenes.world import compose

__all__ = ["QUIRKS", "write"]

QUIRKS: Mapping[str, str] = {
    "release-2021": "the 2021 release in place of that of 2017",
    "class-folders": "class folders in place of one of the releases",
    "fewer-contempt": "one picture of contempt less in the validation set",
    "missing-pictures": "some pictures are not there (releases)",
    "no-expression": "labels 8, 9 and 10",
    "wrong-labels": "labels beyond 10, and some that are no number (releases)",
    "no-face-box": "negative widths, and NULL for numbers (2017)",
    "several-faces": "one photograph with two faces, under one name (2017)",
    "repeated-faces": "a face listed twice, and one with two labels (2017)",
    "boxes-beyond": "boxes that reach beyond the picture, and one wholly outside (2017)",
    "bare-lists": "validation.csv without a header, lists with a mark of byte order and Windows "
    "line ends (2017)",
    "unreadable-pictures": "a file that is no picture, although its name says so (2017)",
    "damaged-labels": "label files that are empty, pickled, of several numbers or missing (2021)",
    "strays": "files that are no pictures, or in no class folder (2021, class folders)",
    "two-shapes": "refused: class folders beside a release",
    "named-folders": "refused: class folders with names, in alphabetical order",
    "third-split": "refused: a test set, so somebody divided the data anew",
    "empty-list": "refused: a list of zero bytes (2017)",
    "cut-list": "refused: a list that ends in the middle of a line (2017)",
}

_TRAIN = (30, 46, 20, 16, 12, 12, 20, 12)
_TEST = 12
_BASE = ("neutral", "happy", "sad", "surprised", "surprised", "disgusted", "angry", "disgusted")
_WEAK = {4: 0.45, 7: 0.4}  # a rendered expression has a strength of at least 0.65
_SPLITS = {"train": "training.csv", "val": "validation.csv"}
_NAMES = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
_HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
)
_CROP = 128


@dataclass(slots=True)
class _Face:
    """One face: its number in the split, its label as it is to be written, and its scene."""

    number: int
    label: str
    scene: Scene


def write(folder: Path, *, seed: int, scale: float, quirks: Collection[str]) -> None:
    """Fill an empty folder; see the module, and `QUIRKS`."""
    if "class-folders" in quirks or "named-folders" in quirks:
        _write_folders(folder, seed, scale, quirks)
    elif "release-2021" in quirks:
        _write_2021(folder, seed, scale, quirks)
    else:
        _write_2017(folder, seed, scale, quirks)
    if "two-shapes" in quirks:
        _write_folders(folder, seed, min(scale, 0.1), ())


def _faces(split: str, seed: int, scale: float, quirks: Collection[str]) -> Iterator[_Face]:
    """The faces of one split, classes in turn, in a seeded order."""
    counts = _TRAIN if split == "train" else (_TEST,) * 8
    labels = [label for label, n in enumerate(counts) for _ in range(max(2, round(n * scale)))]
    if "fewer-contempt" in quirks and split == "val":
        labels.remove(7)
    found = generator(seed, "affectnet", split).permutation(labels).tolist()
    texts = list(map(str, found))
    if "no-expression" in quirks:
        found, texts = [*found, 0, 0, 0], [*texts, "8", "9", "10"]
    if "wrong-labels" in quirks and "class-folders" not in quirks:
        found, texts = [*found, 0, 0], [*texts, "11", "unknown"]
    pool = "train" if split == "train" else "test"
    indices = {name: _indices(name, pool, seed) for name in EXPRESSIONS}
    for number, (label, text) in enumerate(zip(found, texts, strict=True)):
        scene = compose("expression", pool, next(indices[_BASE[label]]), seed=seed)
        yield _Face(number, text, _with_strength(scene, _WEAK.get(label)))


def _indices(expression: str, pool: str, seed: int) -> Iterator[int]:
    """Numbers of the portraits with this expression."""
    for index in itertools.count():
        if balanced(EXPRESSIONS, index, seed, "expression", pool) == expression:
            yield index


def _with_strength(scene: Scene, strength: float | None) -> Scene:
    if strength is None:
        return scene
    main, *others = scene.persons
    face = dataclasses.replace(main.face, strength=strength)
    return dataclasses.replace(scene, persons=(dataclasses.replace(main, face=face), *others))


# ------------------------------------------------------------------ 2017


def _write_2017(folder: Path, seed: int, scale: float, quirks: Collection[str]) -> None:
    for split, name in _SPLITS.items():
        rng = generator(seed, "affectnet photographs", split)
        lines = []
        for face in _faces(split, seed, scale, quirks):
            side = int(rng.choice((112, 144, 176)))
            taken = photograph(face.scene, side=side, shape=float(rng.choice(SHAPES)), rng=rng)
            path = f"{face.number % 7 + 1}/{_hash(seed, split, face.number)}.jpg"
            save(taken.image, folder / "Manually_Annotated_Images" / path)
            lines.append(_line(path, _pixel_box(taken, face), face.label, rng))
        lines = _with_list_quirks(lines, folder / "Manually_Annotated_Images", quirks)
        bare = "bare-lists" in quirks
        header = [] if bare and split == "val" else [_HEADER]
        end = "\r\n" if bare else "\n"
        text = end.join([*header, *lines, ""])
        if split == "train" and "cut-list" in quirks:
            text = text[:-40]
        if split == "train" and "empty-list" in quirks:
            text = ""
        (folder / name).write_bytes(text.encode("utf-8-sig" if bare and text else "utf-8"))


def _pixel_box(taken: Photograph, face: _Face) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = map(round, taken.pixels(face.scene.boxes()["face"]))
    return x1, y1, x2 - x1, y2 - y1


def _line(path: str, box: tuple[int, int, int, int], label: str, rng: np.random.Generator) -> str:
    x, y, width, height = box
    marks = np.round(rng.random((68, 2)) * (width, height) + (x, y), 2)
    landmarks = ";".join(f"{value:g}" for value in marks.ravel())
    valence, arousal = (-2, -2) if label in ("8", "9", "10") else np.round(rng.uniform(-1, 1, 2), 6)
    return f"{path},{x},{y},{width},{height},{landmarks},{label},{valence},{arousal}"


def _with_list_quirks(lines: list[str], pictures: Path, quirks: Collection[str]) -> list[str]:
    """The lines of a list with the faults asked for, each on lines of its own."""
    rows = [line.split(",") for line in lines]
    more: list[list[str]] = []
    if "no-face-box" in quirks:
        rows[0][1:5] = ["-3", "-3", "-6", "-6"]
        rows[1][1:5] = ["NULL"] * 4
    if "missing-pictures" in quirks:
        for row in rows[2:4]:
            (pictures / row[0]).unlink()
    if "unreadable-pictures" in quirks:
        (pictures / rows[4][0]).write_bytes(b"no picture")
    if "several-faces" in quirks:
        x, y, width, height = map(int, rows[5][1:5])
        other = [str(value) for value in (x + 2, y + 2, width - 4, height - 4)]
        more.append([rows[5][0], *other, *rows[5][5:]])
    if "repeated-faces" in quirks:
        more.append(list(rows[6]))
        more.append([*rows[7][:6], str((int(rows[7][6]) + 1) % 8), *rows[7][7:]])
    if "boxes-beyond" in quirks:
        rows[8][1:5] = ["-5", "-8", str(int(rows[8][3]) + 20), str(int(rows[8][4]) + 20)]
        rows[9][1:5] = ["5000", "40", "60", "60"]
    return [",".join(row) for row in [*rows, *more]]


def _hash(*parts: object) -> str:
    return hashlib.sha224("/".join(map(str, parts)).encode()).hexdigest()


# ------------------------------------------------------------------ 2021 and class folders


def _crop(face: _Face, seed: int, split: str) -> Image.Image:
    """The face, cut out with a margin and scaled to one size."""
    rng = generator(seed, "affectnet crops", split, face.number)
    taken = photograph(face.scene, side=int(rng.choice((128, 160))), shape=1.0, rng=rng)
    x1, y1, x2, y2 = taken.pixels(face.scene.boxes()["face"])
    half = 0.55 * max(x2 - x1, y2 - y1)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    cut = taken.image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return cut.resize((_CROP, _CROP))


def _write_2021(folder: Path, seed: int, scale: float, quirks: Collection[str]) -> None:
    for split in _SPLITS:
        images, labels = folder / f"{split}_set/images", folder / f"{split}_set/annotations"
        labels.mkdir(parents=True)
        for face in _faces(split, seed, scale, quirks):
            save(_crop(face, seed, split), images / f"{face.number}.jpg")
            value = {"exp": face.label, "val": "0.1", "aro": "-0.2"}
            for kind, text in value.items():
                np.save(labels / f"{face.number}_{kind}.npy", np.array(text))
        if "missing-pictures" in quirks:
            for number in (2, 3):
                (images / f"{number}.jpg").unlink()
        if "damaged-labels" in quirks:
            (labels / "4_exp.npy").write_bytes(b"")
            np.save(labels / "5_exp.npy", np.array({"label": 1}, dtype=object), allow_pickle=True)
            np.save(labels / "6_exp.npy", np.array([1, 2]))
            (labels / "7_exp.npy").unlink()
        if "strays" in quirks:
            (images / "Thumbs.db").write_bytes(b"thumbnails")
    if "third-split" in quirks:
        (folder / "test_set/images").mkdir(parents=True)


def _write_folders(folder: Path, seed: int, scale: float, quirks: Collection[str]) -> None:
    alphabetical = sorted(_NAMES)
    for split in _SPLITS:
        for face in _faces(split, seed, scale, quirks):
            name = face.label
            if "named-folders" in quirks:
                name = alphabetical[int(face.label) % 8]
            file = folder / split / name / f"image{face.number:07}.jpg"
            save(_crop(face, seed, split), file)
        if "strays" in quirks:
            (folder / split / "desktop.ini").write_text("[ViewState]\r\n")
            (folder / split / "0" / "Thumbs.db").write_bytes(b"thumbnails")
    if "third-split" in quirks:
        (folder / "test/0").mkdir(parents=True)
