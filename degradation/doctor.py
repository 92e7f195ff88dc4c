"""Is this folder the data set that it should be? What is there, what is left out, and why.

`examine` never raises for what is wrong with the data: what it finds is its result.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Int64

from degradation.errors import DataError, SdiagError
from degradation.pixels import to_rgb
from degradation.tasks.about import About
from degradation.tasks.registry import about_task, get_task, on_disk_tasks
from degradation.tasks.task import Rows, Task

__all__ = ["Examination", "Fault", "Labels", "Part", "Pictures", "Points", "Split", "examine"]

_SEVERAL = re.compile(r", | \.\.\. ")  # a layout names several patterns as one part
_LISTED = 1000  # files of one pattern are counted up to this: some folders hold a million

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Part:
    """One path of the expected layout: its pattern, what it is, how many match (at most 1,000)."""

    pattern: str
    what: str
    found: int
    more: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with some rows or pictures: how many, and the name of one."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of one label set.

    Attributes:
        counts: Rows by class, in the official order, also where 0.
        unknown: Rows without a label.
        majority: The commonest class of the split that is learned from.
        baseline: Accuracy of always saying so, in [0, 1]; None without labels.
    """

    counts: dict[str, int]
    unknown: int
    majority: str
    baseline: float | None


@dataclass(frozen=True, slots=True)
class Points:
    """Gaze targets.

    Attributes:
        annotators: Fewest, median and most a row.
        rows: Rows that have any.
        centre: Mean distance of the picture's centre from the mean target, normalised; None
            without targets.
    """

    annotators: tuple[int, float, int]
    rows: int
    centre: float | None


@dataclass(frozen=True, slots=True)
class Split:
    """One split.

    Attributes:
        name: Of the split.
        rows: How many can be used.
        clusters: Of how many clusters they are.
        left_out: How many cannot be used.
        known: How many there are in the release, those that cannot be used included; None if not
            known.
        state: `ok`, `partial` or `more than known`; `` if not known.
        labels: By label set.
        points: For gaze.
        faults: Why rows are left out, most frequent first.
    """

    name: str
    rows: int
    clusters: int
    left_out: int
    known: int | None
    state: str
    labels: dict[str, Labels]
    points: Points | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Pictures:
    """A sample of pictures that were opened.

    Attributes:
        opened: How many were tried.
        of: How many distinct ones there are.
        faults: Why some could not be opened.
    """

    opened: int
    of: int
    faults: tuple[Fault, ...]


@dataclass(slots=True)
class Examination:
    """What was found of one task.

    Attributes:
        task: Its name.
        folder: The data root; None if none was given.
        about: The data set as its owners ship it; None for tasks of our own.
        layout: Which of its parts are there; empty without a folder.
        source: Where the rows come from.
        unit: What a cluster is.
        splits: What was read.
        pictures: What was opened.
        warnings: What may be meant, but should be looked at.
        errors: Why it cannot be used; empty if it can.
        exit_code: Of the first error; 0 if it can be used.
    """

    task: str
    folder: Path | None
    about: About | None = None
    layout: tuple[Part, ...] = ()
    source: str = ""
    unit: str = ""
    splits: list[Split] = field(default_factory=list)
    pictures: Pictures | None = None
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    exit_code: int = 0

    def fail(self, error: Exception) -> None:
        """Note that the task cannot be used."""
        if str(error) not in self.errors:
            self.errors.append(str(error))
        code = error.exit_code if isinstance(error, SdiagError) else 1
        self.exit_code = self.exit_code or code


def examine(name: str, folder: Path | None, *, sample: int, seed: int) -> Examination:
    """Read all of a task that can be read, and open a sample of its pictures.

    Args:
        name: Of the task.
        folder: Its data root.
        sample: How many pictures to open.
        seed: Decides which.
    """
    found = Examination(task=name, folder=folder)
    if name in on_disk_tasks():
        found.about = _tried(found, lambda: about_task(name))
        if found.about and folder is not None:
            found.layout = tuple(
                _part(folder, pattern, what) for pattern, what in found.about.layout.items()
            )
    task = _tried(found, lambda: get_task(name, data_root=folder))
    if task is None:
        return found
    found.source, found.unit = task.spec.source, task.spec.cluster
    rows = {split: _tried(found, lambda split=split: task.read(split)) for split in task.splits}
    rows = {split: one for split, one in rows.items() if one is not None}
    learned = rows.get("train") or next(iter(rows.values()), None)
    for split, one in rows.items():
        found.splits.append(_split(task, split, one, learned))
        if not len(one):
            found.fail(DataError(_no_rows(split, found.splits[-1])))
    found.warnings += _warnings(found.splits)
    if any(map(len, rows.values())):
        found.pictures = _pictures(task, list(rows.values()), sample, seed)
        bad = sum(fault.count for fault in found.pictures.faults)
        if bad and bad == found.pictures.opened:
            first = found.pictures.faults[0]
            found.fail(
                DataError(
                    f"None of {bad} pictures can be opened, such as {first.example}: {first.reason}"
                )
            )
    return found


def _tried(found: Examination, work: Callable[[], _T]) -> _T | None:
    """What the work returns; None, and its error noted, if there was one."""
    try:
        return work()
    except SdiagError as error:
        found.fail(error)
    except Exception as error:  # the doctor reports on other people's files, whatever they hold
        _log.info("while examining %s", found.task, exc_info=True)
        what = f"{type(error).__name__}: {error}"
        found.fail(
            RuntimeError(f"Reading stopped at {what}. This should have been a message: tell us.")
        )
    return None


def _part(folder: Path, pattern: str, what: str) -> Part:
    """How much of the layout is there; nothing where it cannot be listed."""
    matches = (folder.glob(one.strip("/")) for one in _SEVERAL.split(pattern))
    try:
        count = sum(1 for _ in islice(chain.from_iterable(matches), _LISTED + 1))
    except (OSError, ValueError, NotImplementedError):
        count = 0
    return Part(pattern, what, min(count, _LISTED), more=count > _LISTED)


# ------------------------------------------------------------------ rows


def _split(task: Task, split: str, rows: Rows, learned: Rows) -> Split:
    total, known = len(rows) + len(rows.left_out), task.known.get(split)
    state = ""
    if known is not None:
        state = "ok" if total == known else "partial" if total < known else "more than known"
    return Split(
        name=split,
        rows=len(rows),
        clusters=len(set(rows.clusters.tolist())),
        left_out=len(rows.left_out),
        known=known,
        state=state,
        labels={
            name: _labels(rows.labels[name], learned.labels[name], classes)
            for name, classes in task.spec.label_sets.items()
        },
        points=_points(rows) if task.spec.kind == "gaze" else None,
        faults=_faults((one.reason, one.id) for one in rows.left_out),
    )


def _labels(
    labels: Int64[np.ndarray, " n"], learned: Int64[np.ndarray, " m"], classes: tuple[str, ...]
) -> Labels:
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    commonest = int(np.bincount(learned[learned >= 0], minlength=len(classes)).argmax())
    return Labels(
        counts=dict(zip(classes, counts.tolist(), strict=True)),
        unknown=int((labels < 0).sum()),
        majority=classes[commonest],
        baseline=float(counts[commonest] / counts.sum()) if counts.sum() else None,
    )


def _points(rows: Rows) -> Points:
    annotated = np.isfinite(rows.points).all(axis=2)
    per_row = annotated.sum(axis=1)
    some = per_row > 0
    if not some.any():
        return Points((0, 0.0, 0), 0, None)
    sums = np.where(annotated[..., None], rows.points, 0).sum(axis=1)[some]
    mean = sums / per_row[some, None]
    return Points(
        annotators=(int(per_row.min()), float(np.median(per_row)), int(per_row.max())),
        rows=int(some.sum()),
        centre=float(np.linalg.norm(mean - 0.5, axis=1).mean()),
    )


def _faults(found: Iterable[tuple[str, str]]) -> tuple[Fault, ...]:
    """Reasons with counts and the first example, most frequent first."""
    found = list(found)
    examples = dict(reversed(found))
    counts = Counter(reason for reason, _ in found)
    return tuple(Fault(reason, n, examples[reason]) for reason, n in counts.most_common())


def _no_rows(split: str, found: Split) -> str:
    why = "; ".join(f"{one.count} x {one.reason}" for one in found.faults[:3])
    return (
        f"Expected rows in the split {split}, found none that can be used"
        f"{f': {why}' if why else ''}. Is the data root right, and the archive fully unpacked?"
    )


def _warnings(splits: list[Split]) -> list[str]:
    warnings = [
        f"{split.name} has {split.rows + split.left_out:,} samples; the release has "
        f"{split.known:,}."
        for split in splits
        if split.state in ("partial", "more than known")
    ]
    train = next((one for one in splits if one.name == "train"), None)
    for split in splits:
        for name, labels in split.labels.items():
            unlearned = [
                one
                for one, count in labels.counts.items()
                if train and count and not train.labels[name].counts[one]
            ]
            if unlearned:
                warnings.append(
                    f"{split.name} has rows of {', '.join(unlearned)} ({name}), train has none."
                )
    return warnings


# ------------------------------------------------------------------ pictures


def _pictures(task: Task, rows: list[Rows], sample: int, seed: int) -> Pictures:
    references = list(dict.fromkeys(one for part in rows for one in part.pictures.ravel().tolist()))
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(references), min(sample, len(references)), replace=False)
    faults = []
    for index in np.sort(chosen).tolist():
        reference = references[index]
        try:
            to_rgb(task.open(reference))
        except DataError as error:
            faults.append((str(error).replace(reference, "<picture>"), reference))
        except Exception as error:  # as in `_tried`
            faults.append((f"{type(error).__name__}: {error}", reference))
    return Pictures(len(chosen), len(references), _faults(faults))
