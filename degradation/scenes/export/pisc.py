"""A miniature of PISC, in the layout and formats of its owners, out of rendered scenes.

The six relations of the rendered world are those of PISC. A photograph is one scene of two people
or two scenes side by side; people of different scenes have no relation, and most such pairs have no
label, as in the release. Classes are as skewed as there, milder for the rare ones, so that every
split has all of them.

The two splits overlap as those of the release do, by default since that is no fault of a copy:
80 % of the pictures of the domain test split are in the relationship training split, 60 % of those
of the relationship test split in the domain training split, a tenth of the pairs have only one of
the two labels, and of the pairs in both domain test and relationship training about one in fifty
has a domain that its relationship does not imply.
"""

import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from degradation.scenes.looks import balanced, generator
from degradation.scenes.records import DOMAIN_OF, DOMAINS, RELATIONS, Box, Scene
from degradation.scenes.render import render
from degradation.scenes.world import compose

__all__ = ["QUIRKS", "write"]

QUIRKS: Mapping[str, str] = {
    "box-outside": "some boxes reach outside their picture, down to -150",
    "box-missing": "pictures with one box less than people",
    "entry-missing": "pictures without size and boxes",
    "both-orders": "some pairs are listed as 1 2 and as 2 1, half of them with different labels",
    "label-out-of-range": "a few labels are 0 or 9",
    "picture-missing": "a few photographs are not there",
    "split-unknown": "splits list pictures that have no labels",
    "split-overlap": "a picture is in both train and test of each split",
    "split-padded": "splits list numbers as file names have them, 00042",
    "split-text": "the domain split is of text files with Windows line ends",
    "labels-from-0": "refused: labels are counted from 0, as in converted lists",
    "people-from-0": "refused: people are counted from 0",
    "labels-swapped": "refused: relationship.json and domain.json have changed places",
    "json-empty": "refused: annotation_image_info.json has zero bytes",
    "json-twice": "refused: annotation_image_info.json was appended to itself",
    "splits-packed": "refused: the split archives are not unpacked",
    "images-in-parts": "refused: the image archive is in four pieces",
}

_PICTURES = {
    ("train", "train"): 46, ("train", "val"): 16, ("train", "test"): 24, ("train", ""): 10,
    ("val", "train"): 10, ("val", "val"): 1, ("val", "test"): 1, ("val", ""): 4,
    ("test", "train"): 18, ("test", "val"): 3, ("test", "test"): 5, ("test", ""): 4,
    ("", "train"): 18,
}  # fmt: skip
"""Pictures by relationship split and domain split, at scale 1."""
_SHARES = {
    "train": (0.26, 0.18, 0.10, 0.34, 0.08, 0.04),
    "rest": (0.22, 0.18, 0.14, 0.22, 0.16, 0.08),
}
"""Of scenes, by relation; `none` is mostly between scenes."""
_SIDES = (112, 136, 160)
_NONE = RELATIONS.index("none") + 1
_SPLITS = ("train", "val", "test")
_FILES = {
    "relationship": ("relation_trainidx", "relation_validx", "relation_testidx"),
    "domain": ("domain_trainidx", "domain_validx", "domain_testidx"),
}
_TEXT_FILES = ("domain_trainidx", "domain_valididx", "domain_testidx")

Pairs = dict[str, int]


@dataclass(slots=True)
class _Release:
    """What the files will say; quirks change it before it is written.

    Attributes:
        info: Entries of annotation_image_info.json.
        labels: By question and picture, labels by pair.
        splits: By question and split, pictures.
    """

    info: list[dict] = field(default_factory=list)
    labels: dict[str, dict[str, Pairs]] = field(
        default_factory=lambda: {"relationship": {}, "domain": {}}
    )
    splits: dict[str, dict[str, list[int]]] = field(
        default_factory=lambda: {q: {s: [] for s in _SPLITS} for q in _FILES}
    )


def write(folder: Path, *, seed: int, scale: float, quirks: Collection[str]) -> None:
    """Fill an empty folder.

    Args:
        folder: Where to.
        seed: Of the rendered world.
        scale: Factor on the 160 pictures.
        quirks: Names out of `QUIRKS`.
    """
    rng = generator(seed, "export", "pisc")
    (folder / "image").mkdir()
    release = _Release()
    counts = {cell: max(1, round(scale * count)) for cell, count in _PICTURES.items()}
    cells = [cell for cell, count in counts.items() for _ in range(count)]
    numbers = rng.choice(23_311, len(cells), replace=False).tolist()
    scenes = {split: _scenes(seed, split, counts) for split in (*_SPLITS, "")}
    for place in rng.permutation(len(cells)).tolist():
        number, (relation_split, domain_split) = numbers[place], cells[place]
        count = 1 + (rng.random() < 0.45)
        picture, boxes, pairs = _photograph(
            rng, [next(scenes[relation_split]) for _ in range(count)],
            cut="box-outside" not in quirks,
        )  # fmt: skip
        picture.save(folder / "image" / f"{number:05d}.jpg", quality=90)
        release.info.append(
            {"id": number, "imgW": picture.width, "imgH": picture.height, "bbox": boxes}
        )
        _label(rng, release, str(number), pairs, (relation_split, domain_split))
        for question, split in zip(_FILES, (relation_split, domain_split), strict=True):
            if split:
                release.splits[question][split].append(number)
    _disagree(release)
    for quirk in QUIRKS:
        if quirk in quirks and quirk in _CHANGES:
            _CHANGES[quirk](release)
    _write_files(folder, release, quirks)


# ------------------------------------------------------------------ pictures and labels


def _scenes(seed: int, split: str, counts: Mapping[tuple[str, str], int]) -> Iterator[Scene]:
    """Scenes of two people of a relationship split, their relations in the shares of the split."""
    n = sum(count for (relation_split, _), count in counts.items() if relation_split == split)
    shares = np.array(_SHARES["train" if split in ("train", "") else "rest"])
    rng = generator(seed, "export", "pisc", "scenes", split or "neither")
    relations = list(range(len(RELATIONS)))  # one of each first, so that none is absent
    while len(relations) < 2 * n:
        owed = shares * (len(relations) + 1) - np.bincount(relations, minlength=len(RELATIONS))
        relations.append(int(owed.argmax()))
    taken = [0] * len(RELATIONS)
    for relation in [*rng.permutation(relations[:n]), *relations[n:]]:
        block = len(RELATIONS) * taken[relation]
        taken[relation] += 1
        pool = split or "train"
        first = 0 if split else 60_000  # subjects of train, but other scenes
        index = next(
            index
            for index in range(first + block, first + block + len(RELATIONS))
            if balanced(RELATIONS, index, seed, "relation", pool) == RELATIONS[relation]
        )
        yield compose("relation", pool, index, seed=seed)


def _photograph(
    rng: np.random.Generator, scenes: Sequence[Scene], *, cut: bool
) -> tuple[Image.Image, list[list[int]], list[tuple[int, int, int]]]:
    """A picture of scenes side by side, its boxes in pixels, and its labelled pairs.

    Returns:
        The picture; boxes xyxy of its people; and (person, person, relation), all from 1.
    """
    side = int(rng.choice(_SIDES))
    wide = int(rng.choice((0, side // 4, side // 2))) if len(scenes) == 1 else 0
    high = int(rng.choice((0, side // 5, side // 3)))
    size = (side * len(scenes) + wide, side + high)
    picture = Image.new("RGB", size, scenes[0].backdrop.rgb)
    left = int(rng.integers(wide + 1))
    people: list[tuple[int, list[int]]] = []
    for place, scene in enumerate(scenes):
        corner = (left + place * side, high)  # at the bottom: bodies end there
        picture.paste(render(scene, side), corner)
        people += [(place, _pixels(one.body_box, side, corner, cut)) for one in scene.persons]
    people = [people[i] for i in rng.permutation(len(people))]
    pairs: list[tuple[int, int, int]] = []
    across: list[tuple[int, int, int]] = []
    for second in range(len(people)):
        for first in range(second):
            a, b = people[first][0], people[second][0]
            relation = RELATIONS.index(scenes[a].relation or "none") + 1 if a == b else _NONE
            (pairs if a == b else across).append((first + 1, second + 1, relation))
    shown = int(rng.integers(1, 3)) if across else 0
    pairs += [across[i] for i in rng.permutation(len(across))[:shown]]
    beyond = -int(rng.integers(1, 151))  # drawn in any case: a quirk changes nothing else
    if not cut:
        people[0][1][0] = beyond
    return picture, [box for _, box in people], sorted(pairs)


def _pixels(box: Box, side: int, corner: tuple[int, int], cut: bool) -> list[int]:
    x0, y0, x1, y1 = (min(1.0, max(0.0, value)) if cut else value for value in box)
    left, top = corner
    return [
        left + round(x0 * side), top + round(y0 * side),
        left + round(x1 * side), top + round(y1 * side),
    ]  # fmt: skip


def _label(
    rng: np.random.Generator,
    release: _Release,
    number: str,
    pairs: Sequence[tuple[int, int, int]],
    splits: tuple[str, str],
) -> None:
    """Enter the labels of a picture; of several pairs, some have only one of the two labels."""
    relations = {f"{a} {b}": relation for a, b, relation in pairs}
    domains = {
        pair: DOMAINS.index(DOMAIN_OF[RELATIONS[relation - 1]]) + 1
        for pair, relation in relations.items()
    }
    for question, labels, split in (
        ("relationship", relations, splits[0]),
        ("domain", domains, splits[1]),
    ):
        hidden = [p for p in labels if len(pairs) > 1 and rng.random() < 0.1][: len(pairs) - 1]
        if split:
            release.labels[question][number] = {
                pair: label for pair, label in labels.items() if pair not in hidden
            }


def _disagree(release: _Release) -> None:
    """Give one in fifty of the pairs that leak another domain than their relationship implies."""
    learned = set(release.splits["relationship"]["train"])
    leaked = [
        (str(number), pair)
        for number in release.splits["domain"]["test"]
        if number in learned
        for pair in release.labels["domain"][str(number)]
        if pair in release.labels["relationship"][str(number)]
    ]
    wanted = max(1, round(len(leaked) / 50))
    for number, pair in leaked[:: len(leaked) // wanted or 1][:wanted]:
        labels = release.labels["domain"][number]
        labels[pair] = labels[pair] % len(DOMAINS) + 1


# ------------------------------------------------------------------ quirks


def _some(release: _Release, question: str, split: str, *, skip: int) -> list[str]:
    """A few pictures of a split, others for another `skip`."""
    return [str(number) for number in release.splits[question][split][skip::20]]


def _box_missing(release: _Release) -> None:
    for entry in release.info[3::40]:
        entry["bbox"].pop()


def _entry_missing(release: _Release) -> None:
    del release.info[5::40]


def _both_orders(release: _Release) -> None:
    for question, labels in release.labels.items():
        classes = max(label for pairs in labels.values() for label in pairs.values())
        chosen = [n for split in _SPLITS for n in _some(release, question, split, skip=1)]
        for place, number in enumerate(chosen):
            pair, label = next(iter(labels[number].items()))
            turned = " ".join(reversed(pair.split()))
            labels[number][turned] = label if place % 2 == 0 else label % classes + 1


def _label_out_of_range(release: _Release) -> None:
    for question, labels in release.labels.items():
        for number, label in zip(_some(release, question, "train", skip=2)[:2], (0, 9)):  # noqa: B905
            labels[number][next(iter(labels[number]))] = label


def _split_unknown(release: _Release) -> None:
    for splits in release.splits.values():
        for place, split in enumerate(_SPLITS):
            splits[split].append(23_400 + place)


def _split_overlap(release: _Release) -> None:
    for splits in release.splits.values():
        splits["train"].append(splits["test"][0])


def _labels_from_0(release: _Release) -> None:
    for labels in release.labels.values():
        for pairs in labels.values():
            pairs.update({pair: label - 1 for pair, label in pairs.items()})


def _people_from_0(release: _Release) -> None:
    for labels in release.labels.values():
        for number, pairs in labels.items():
            labels[number] = {
                " ".join(str(int(person) - 1) for person in pair.split()): label
                for pair, label in pairs.items()
            }


def _labels_swapped(release: _Release) -> None:
    relationship, domain = release.labels["relationship"], release.labels["domain"]
    release.labels = {"relationship": domain, "domain": relationship}


_CHANGES = {
    "box-missing": _box_missing,
    "entry-missing": _entry_missing,
    "both-orders": _both_orders,
    "label-out-of-range": _label_out_of_range,
    "split-unknown": _split_unknown,
    "split-overlap": _split_overlap,
    "labels-from-0": _labels_from_0,
    "people-from-0": _people_from_0,
    "labels-swapped": _labels_swapped,
}


# ------------------------------------------------------------------ files


def _write_files(folder: Path, release: _Release, quirks: Collection[str]) -> None:
    people = json.dumps(release.info).encode()
    if "json-empty" in quirks:
        people = b""
    elif "json-twice" in quirks:
        people *= 2
    (folder / "annotation_image_info.json").write_bytes(people)
    waiters = [{"id": one["id"], "occupation": {"1": "waiter"}} for one in release.info[::10]]
    (folder / "occupation.json").write_text(json.dumps(waiters))
    for question, labels in release.labels.items():
        (folder / f"{question}.json").write_text(json.dumps(labels))
        _write_splits(folder, question, release.splits[question], quirks)
    if "picture-missing" in quirks:
        for picture in sorted((folder / "image").iterdir())[9::40]:
            picture.unlink()
    if "images-in-parts" in quirks:
        _pack_images(folder)


def _write_splits(
    folder: Path, question: str, splits: Mapping[str, list[int]], quirks: Collection[str]
) -> None:
    name, text = f"{question}_split", question == "domain" and "split-text" in quirks
    files = {}
    for split, stem in zip(_SPLITS, _TEXT_FILES if text else _FILES[question], strict=True):
        numbers = [f"{one:05d}" if "split-padded" in quirks else str(one) for one in splits[split]]
        lines = "".join(f"{number}\r\n" for number in numbers)
        files[f"{name}/{stem}.{'txt' if text else 'json'}"] = lines if text else json.dumps(numbers)
    if "splits-packed" in quirks:
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path, contents in files.items():
                archive.writestr(path, contents)
        return
    (folder / name).mkdir()
    for path, contents in files.items():
        (folder / path).write_bytes(contents.encode())


def _pack_images(folder: Path) -> None:
    """Replace the folder of pictures by one archive in four pieces."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder / "image", "image")
    data = packed.getvalue()
    shutil.rmtree(folder / "image")
    step = -(-len(data) // 4)
    for part in range(4):
        (folder / f"images-{part:02d}").write_bytes(data[part * step : (part + 1) * step])
