"""PISC: how two people in a photograph stand to each other, in six classes or in three.

The owners ship pixel boxes by picture, labels by pair of people, and two splits that were drawn
apart: most pictures of the domain test split lie in the relationship training split, so a model
that saw one must be judged with care on the other (`sdiag audit`).

A row is a labelled pair; a pair without a label is unknown and no row. Rows of one picture follow
one another, and a pair is named with its lower number first, whichever way round it is listed.
`pisc_files` reads the files.
"""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from PIL.Image import Image

from degradation.errors import DataError
from degradation.pixels import open_picture
from degradation.tasks.about import About
from degradation.tasks.disk import Pictures, data_folder
from degradation.tasks.pisc_files import (
    Pair,
    People,
    read_labels,
    read_people,
    read_split,
    split_files,
)
from degradation.tasks.task import Arm, LeftOut, Rows, Task, TaskSpec

__all__ = ["ABOUT", "DOMAINS", "DOMAIN_OF", "RELATIONSHIPS", "pisc_task"]

RELATIONSHIPS = ("friends", "family", "couple", "professional", "commercial", "no relation")
DOMAINS = ("intimate", "non-intimate", "no relation")
DOMAIN_OF: Mapping[str, str] = {
    **dict.fromkeys(("friends", "family", "couple"), "intimate"),
    **dict.fromkeys(("professional", "commercial"), "non-intimate"),
    "no relation": "no relation",
}
"""The domain that a relationship implies; true of 99.7 % of the pairs that have both."""

SPLITS = ("train", "val", "test")
PEOPLE = "annotation_image_info.json"

ABOUT = About(
    title="PISC, People in Social Context",
    paper="Li et al., Dual-glance model for deciphering social relationships, ICCV 2017, "
    "arXiv 1708.00634; the release is that of the longer arXiv 1812.05917",
    page="https://zenodo.org/record/1059155",
    access="Downloaded from Zenodo.",
    licence="As the Zenodo record states; read it there, and mind that the photographs show "
    "people and belong to those who took them.",
    layout={
        PEOPLE: "size of each picture and boxes of its people, in pixels",
        "relationship.json": "labels 1 to 6 by picture and pair",
        "domain.json": "labels 1 to 3 by picture and pair",
        "relationship_split/relation_*idx.json": "pictures of each split, out of "
        "relationship_split.zip; the validation file is spelled relation_validx.json",
        "domain_split/domain_*": "the same for the domains, out of domain_split.zip",
        "image/*.jpg": "the photographs, 00000.jpg and so on, out of images-00 to images-03",
    },
    notes=(
        "The four image parts are one archive cut in pieces: "
        "cat images-00 images-01 images-02 images-03 | tar xz",
        "Four in five pictures of the domain test split are in the relationship training split, "
        "and the relationship implies the domain: see sdiag audit.",
        "Commercial pairs are 0.9 % of the relationship training split and 9.2 % of its test "
        "split: look at recalls by class too.",
        "Lists in the form of GRM, GR2N and GRIT leave out pictures with many people and count "
        "labels from 0; only their picture names can be used here.",
    ),
)


@dataclass(frozen=True, slots=True)
class _Question:
    """What distinguishes the two tasks."""

    name: str
    classes: tuple[str, ...]
    metrics: tuple[str, ...]
    known: Mapping[str, int]


_METRICS = ("mean_average_precision", "macro_recall", "accuracy", "macro_f1")
_QUESTIONS = {
    "pisc-relationship": _Question(
        "relationship",
        RELATIONSHIPS,
        (*_METRICS, "recall:couple", "recall:commercial"),  # rare in train, not in test
        {"train": 55_400, "val": 1_505, "test": 3_961},
    ),
    "pisc-domain": _Question(
        "domain", DOMAINS, _METRICS, {"train": 49_017, "val": 14_536, "test": 15_497}
    ),
}

_log = logging.getLogger(__name__)


def pisc_task(name: str, *, data_root: Path | None = None) -> Task:
    """The task `pisc-relationship` or `pisc-domain`, in the owners' splits.

    Files are looked for here and read when the first split is asked for.

    Args:
        name: The task.
        data_root: The folder with the files of the release, unpacked.

    Raises:
        ConfigError: No data root was given.
        DataError: A file or folder of the release is missing, or still packed.
    """
    question = _QUESTIONS[name]
    folder = data_folder(data_root, name)
    paths = split_files(folder, question.name, SPLITS, needed=(PEOPLE, f"{question.name}.json"))
    load = functools.cache(functools.partial(_load, folder, question, paths))
    spec = TaskSpec(
        name=name,
        kind="pair-classes",
        social=True,
        label_sets={question.name: question.classes},
        roles=("person_a", "person_b", "union"),
        regions=("person_a", "person_b", "union", "image"),
        metrics={question.name: question.metrics},
        cluster="picture",
        source=f"PISC (Zenodo 1059155), the owners' {question.name} splits",
        arms=(Arm("people", ("person_a", "person_b")), Arm("image", ("image",))),
    )
    return Task(
        spec,
        SPLITS,
        read=functools.partial(_read, load=load),
        open=functools.partial(_open, root=folder),
        known=question.known,
    )


def _open(reference: str, *, root: Path) -> Image:
    return open_picture(root / reference, root=root)


def _read(split: str, *, load: Callable[[], Mapping[str, Rows]]) -> Rows:
    if split not in SPLITS:
        raise DataError(f"Expected one of the splits {', '.join(SPLITS)}, found {split!r}.")
    return load()[split]


# ------------------------------------------------------------------ from files to rows


@dataclass(frozen=True, slots=True)
class _Pair:
    """A labelled pair of one split: its picture, its people, and why it is left out, if it is."""

    picture: int
    listed: Pair
    label: int
    fault: str = ""

    @property
    def people(self) -> Pair:
        """The two people, the lower number first."""
        return (min(self.listed), max(self.listed))

    def id(self, pair: Pair) -> str:
        """The name of the row, with its people as listed or in order."""
        return f"{self.picture}:{pair[0]}-{pair[1]}"


def _load(folder: Path, question: _Question, paths: Mapping[str, Path]) -> dict[str, Rows]:
    people = read_people(folder / PEOPLE)
    labels = read_labels(folder / f"{question.name}.json", len(question.classes))
    listed = {split: read_split(path) for split, path in paths.items()}
    last = {picture: split for split in SPLITS for picture in listed[split]}
    files = Pictures(folder)
    rows = {}
    for split in SPLITS:
        pairs: list[_Pair] = []
        left_out: list[LeftOut] = []
        for picture, times in Counter(listed[split]).items():
            left_out += [LeftOut(str(picture), "listed again in the same split")] * (times - 1)
            if not labels.get(picture):
                left_out.append(LeftOut(str(picture), "no pair of the picture has a label"))
                continue
            (missing,) = files.faults([_reference(picture)])
            elsewhere = last[picture]
            fault = f"also in the split {elsewhere}" if elsewhere != split else missing
            pairs += _pairs(picture, labels[picture], people.get(picture), question, fault)
        rows[split] = _rows(pairs, people, question, left_out)
        if reasons := Counter(one.reason for one in rows[split].left_out):
            tally = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
            _log.warning("PISC %s %s: left out: %s", question.name, split, tally)
    return rows


def _reference(picture: int) -> str:
    return f"image/{picture:05d}.jpg"


def _pairs(
    picture: int,
    labels: Sequence[tuple[Pair, object]],
    people: People | None,
    question: _Question,
    fault: str,
) -> list[_Pair]:
    """The labelled pairs of one picture; `fault` is what all of them have, if anything."""
    found = []
    for pair, label in labels:
        number = label if type(label) is int else 0  # True is no label
        usable = 1 <= number <= len(question.classes)
        problem = fault or _pair_fault(pair, people)
        if not problem and not usable:
            problem = f"label is none of 1 to {len(question.classes)}"
        found.append(_Pair(picture, pair, number - 1 if usable else -1, problem))
    if any(0 in pair.listed for pair in found):  # whoever counts from 0 shifts every box
        zero = "people of the picture are counted from 0"
        found = [_Pair(picture, one.listed, one.label, one.fault or zero) for one in found]
    return _once(found)


def _pair_fault(pair: Pair, people: People | None) -> str:
    if min(pair) < 0:
        return "pair is not two numbers of people"
    if pair[0] == pair[1]:
        return "a person paired with itself"
    if people is None:
        return f"no entry in {PEOPLE}"
    if people.fault:
        return people.fault
    return "no box for a person of the pair" if max(pair) > len(people.boxes) else ""


def _once(pairs: list[_Pair]) -> list[_Pair]:
    """The pairs of a picture by number; of one listed twice the first stays, if labels agree."""
    seen: dict[Pair, set[int]] = {}
    for pair in pairs:
        if not pair.fault:
            seen.setdefault(pair.people, set()).add(pair.label)
    kept, result = set(), []
    for pair in sorted(pairs, key=lambda one: one.people):  # stable: as listed among equals
        fault = pair.fault
        if not fault and len(seen[pair.people]) > 1:
            fault = "pair is listed twice, with different labels"
        elif not fault and pair.people in kept:
            fault = "pair is listed twice"
        if not fault:
            kept.add(pair.people)
        result.append(_Pair(pair.picture, pair.listed, pair.label, fault))
    return result


def _rows(
    pairs: list[_Pair], people: Mapping[int, People], question: _Question, left_out: list[LeftOut]
) -> Rows:
    left_out = left_out + [LeftOut(one.id(one.listed), one.fault) for one in pairs if one.fault]
    pairs = [one for one in pairs if not one.fault]
    pixels = np.array(
        [
            [people[one.picture].boxes[number - 1] for number in one.people]
            for one in pairs
        ],
        dtype=np.float64,
    ).reshape(-1, 2, 4)  # fmt: skip
    sizes = np.array([people[one.picture].size for one in pairs], dtype=np.float64)
    boxes, faults = _normalised(pixels, sizes.reshape(-1, 2))
    good = np.array([not fault for fault in faults], dtype=bool)
    used = [pair for pair, fault in zip(pairs, faults, strict=True) if not fault]
    left_out += [
        LeftOut(pair.id(pair.listed), fault)
        for pair, fault in zip(pairs, faults, strict=True)
        if fault
    ]
    first, second = boxes[good, 0], boxes[good, 1]
    union = np.hstack(
        [np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])]
    )
    references = {picture: _reference(picture) for picture in {one.picture for one in used}}
    pictures = np.array([references[one.picture] for one in used], dtype=object)
    return Rows(
        ids=np.array([one.id(one.people) for one in used], dtype=object),
        pictures=pictures.reshape(-1, 1),
        boxes={
            "person_a": first[:, None],
            "person_b": second[:, None],
            "union": union[:, None],
        },
        labels={question.name: np.array([one.label for one in used], dtype=np.int64)},
        points=np.zeros((len(used), 0, 2), dtype=np.float32),
        clusters=pictures,
        left_out=tuple(left_out),
    )


def _normalised(
    pixels: Float64[np.ndarray, "n 2 4"], sizes: Float64[np.ndarray, "n 2"]
) -> tuple[Float32[np.ndarray, "n 2 4"], list[str]]:
    """The boxes of both people, normalised and clipped, and why a pair is left out, '' if not.

    Many boxes reach outside their picture: what is outside is cut off.
    """
    scaled = pixels / np.tile(sizes, 2)[:, None]
    clipped = np.clip(scaled, 0, 1).astype(np.float32)
    faults = np.full(len(pixels), "", dtype=object)
    empty = (clipped[..., 2:] <= clipped[..., :2]).any(axis=(1, 2))
    faults[empty] = "box of a person is empty or outside the picture"
    faults[(pixels[..., 2:] < pixels[..., :2]).any(axis=(1, 2))] = "box of a person is inverted"
    faults[~np.isfinite(pixels).all(axis=(1, 2))] = "box of a person is not four numbers"
    cut = ((scaled < 0) | (scaled > 1)).any(axis=(1, 2))
    _log.info("Cut boxes at the border of the picture in %d of %d pairs", cut.sum(), len(cut))
    return clipped, faults.tolist()
