"""Your own pictures: a table with one row a sample, or a folder with one sub-folder a class.

A table (CSV or Parquet) has the columns

    path       the picture, relative to the data root (default: the folder of the table)
    label      the class
    split      optional: train, val or test; without it, one split `all`
    cluster    optional: what is resampled as one, such as a subject; default: the picture
    id         optional: a unique name of the row; default: the path
    R_x1 R_y1 R_x2 R_y2    optional: a box of role R, normalised xyxy of the picture as displayed
    attribute_A            optional: attribute A, by which `sdiag slices` splits results

A folder has class folders, or `train`, `val` and `test` with class folders inside each. Pictures
lie directly in their class folder; hidden names are passed over.

With boxes the probe reads inside the boxes, otherwise the whole picture. Single rows that cannot
be used are left out, counted and listed; what is wrong with the whole stops with a `DataError`.
"""

import hashlib
import logging
import os
import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from PIL.Image import Image

from degradation.errors import DataError
from degradation.pixels import inside_root, open_picture
from degradation.tasks.listing import Listing, read_listing
from degradation.tasks.task import LeftOut, Rows, Task, TaskSpec

__all__ = ["manifest_task"]

_ROUNDING = 1e-6  # x + w may come out as 1.0000000000000002
_OUTSIDE_ROOT = "path leaves the data root"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Samples:
    """All rows as columns; `faults` says why a row is left out, '' if it is used."""

    ids: list[str]
    paths: list[str]
    labels: list[str]
    splits: list[str]
    clusters: list[str]
    boxes: dict[str, Float32[np.ndarray, "n 4"]]
    faults: list[str]

    def used(self) -> list[int]:
        return [row for row, fault in enumerate(self.faults) if not fault]


def manifest_task(target: str, *, data_root: Path | None = None) -> Task:
    """The task `manifest:TARGET` of kind `classes`, with one label set, `label`.

    Every row is checked here, as far as names and sizes of files tell; pictures are decoded later.
    Classes are in sorted order. Whether the task is social is not known; it counts as social.

    Args:
        target: A CSV or Parquet table, or a folder.
        data_root: The folder that the paths of a table are relative to, and that no picture may
            leave, not even by a link. Default: the folder of the table, or the folder itself.

    Raises:
        DataError: The table cannot be read, lacks columns or rows, has boxes in pixels, unknown or
            empty splits, repeated ids, or a class that cannot be both learned and tested.
    """
    place = Path(target).expanduser().absolute()
    listing = read_listing(place)
    if place.is_dir():
        base, source = place, f"folder {place.name}, {len(listing.columns['path'])} pictures"
    else:
        base = (data_root or place.parent).absolute()
        with place.open("rb") as file:
            source = f"{place.name}, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
    root = (data_root or base).absolute()
    samples = _samples(listing, base, root, place)
    _check_counts(samples, listing, base, place)
    _check_ids(samples, place, "id" in listing.columns)
    rows = {split: _rows(samples, listing, split) for split in listing.splits}
    left_out = [left.reason for part in rows.values() for left in part.left_out]
    if left_out:
        _log.warning("%s: %d left out: %s", place.name, len(left_out), _tally(left_out))
    spec = TaskSpec(
        name=f"manifest:{target}",
        kind="classes",
        social=True,
        label_sets={"label": listing.classes},
        roles=listing.roles,
        regions=listing.roles or ("image",),
        metrics={"label": ("accuracy", "macro_f1")},
        cluster="cluster" if "cluster" in listing.columns else "picture",
        source=source,
    )
    opener = partial(_open, base=base, root=root)
    return Task(spec, listing.splits, read=partial(_read, rows=rows), open=opener)


def _open(reference: str, *, base: Path, root: Path) -> Image:
    return open_picture(base / reference, root=root)


def _read(split: str, *, rows: Mapping[str, Rows]) -> Rows:
    if split not in rows:
        raise DataError(f"Expected one of the splits {', '.join(rows)}, found {split!r}.")
    return rows[split]


def _tally(reasons: Iterable[str]) -> str:
    return ", ".join(f"{count} x {reason}" for reason, count in Counter(reasons).most_common())


# ------------------------------------------------------------------ faults of single rows


def _samples(listing: Listing, base: Path, root: Path, place: Path) -> _Samples:
    columns = listing.columns
    paths, labels = columns["path"], columns["label"]
    pictures = [os.path.normpath(path) for path in paths]
    clusters = columns.get("cluster", pictures)
    names = columns.get("id", paths)
    boxes = {role: _boxes(columns, role, place) for role in listing.roles}
    faults = _first(
        _file_faults(paths, base, root),
        ["" if label else "no label" for label in labels],
        ["" if cluster else "no cluster" for cluster in clusters],
        ["" if name else "no id" for name in names],
        *(_box_faults(role, box) for role, box in boxes.items()),
    )
    seen = set()
    for i, fault in enumerate(faults):
        row = (pictures[i], labels[i], *(box[i].tobytes() for box in boxes.values()))
        if not fault and row in seen:
            faults[i] = "duplicate of an earlier row"
        elif not fault:
            seen.add(row)
    return _Samples(
        ids=[name or f"row {i + 1}" for i, name in enumerate(names)],
        paths=paths,
        labels=labels,
        splits=columns["split"],
        clusters=clusters,
        boxes={role: np.clip(box, 0, 1) for role, box in boxes.items()},
        faults=faults,
    )


def _first(*checks: Sequence[str]) -> list[str]:
    return [next(filter(None, found), "") for found in zip(*checks, strict=True)]


def _file_faults(paths: list[str], base: Path, root: Path) -> list[str]:
    @cache  # links are followed once a folder, not once a row
    def real_folder(folder: str) -> Path | None:
        try:
            return inside_root(base / folder, root)
        except DataError:
            return None

    def fault(path: str) -> str:
        if not path:
            return "no path"
        folder = real_folder(os.path.dirname(path))
        if folder is None:
            return _OUTSIDE_ROOT
        try:
            status = os.lstat(folder / os.path.basename(path))
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(inside_root(base / path, root))
        except DataError:
            return _OUTSIDE_ROOT
        except PermissionError:
            return "reading the file is not permitted"
        except (OSError, ValueError):  # ValueError: a null character
            return "no such file"
        if not stat.S_ISREG(status.st_mode):
            return "not a file"
        return "" if status.st_size else "a file of zero bytes"

    return [fault(path) for path in paths]


def _boxes(columns: Mapping[str, list[str]], role: str, place: Path) -> Float32[np.ndarray, "n 4"]:
    cells = [columns[f"{role}_{side}"] for side in ("x1", "y1", "x2", "y2")]
    boxes = np.array([[_number(cell) for cell in column] for column in cells], np.float32).T
    beyond = (boxes > 1 + _ROUNDING).any(axis=1)
    if beyond.sum() > np.isfinite(boxes).all(axis=1).sum() / 2:  # not a slip in a few rows
        row = int(beyond.argmax())
        values = ", ".join(f"{value:g}" for value in boxes[row])
        raise DataError(
            f"Expected boxes normalised to [0, 1] in {place}, found {role} = ({values}) in row "
            f"{row + 1}, probably pixels. Divide x1 and x2 by the width, y1 and y2 by the height "
            "of the picture as displayed."
        )
    return boxes


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return float("nan")


def _box_faults(role: str, boxes: Float32[np.ndarray, "n 4"]) -> list[str]:
    x1, y1, x2, y2 = boxes.T
    faults = np.full(len(boxes), "", dtype=object)
    faults[(x2 == x1) | (y2 == y1)] = f"box {role} is empty"
    faults[(x2 < x1) | (y2 < y1)] = f"box {role} is inverted"
    outside = ((boxes < -_ROUNDING) | (boxes > 1 + _ROUNDING)).any(axis=1)
    faults[outside] = f"box {role} reaches outside [0, 1]"
    faults[~np.isfinite(boxes).all(axis=1)] = f"box {role} is missing or not a number"
    return faults.tolist()


# ------------------------------------------------------------------ faults of the whole


def _check_counts(samples: _Samples, listing: Listing, base: Path, place: Path) -> None:
    used = samples.used()
    faults = _tally(fault for fault in samples.faults if fault)
    left_out = f" Left out: {faults} (paths are relative to {base})." if faults else ""
    per_split = Counter(samples.splits[i] for i in used)
    for split in listing.splits:
        if not per_split[split]:
            raise DataError(
                f"Expected rows in the split {split!r} of {place}, found none that can be used."
                f"{left_out} Mend these rows or add others."
            )
    if len(listing.classes) < 2:
        raise DataError(
            f"Expected two classes or more in {place}, found only "
            f"{', '.join(listing.classes)}. Add rows of another."
        )
    total = Counter(samples.labels[i] for i in used)
    learned = Counter(samples.labels[i] for i in used if samples.splits[i] == "train")
    pairs = {(samples.labels[i], samples.clusters[i]) for i in used}
    clusters = Counter(label for label, _ in pairs)
    for name in listing.classes:
        if total[name] < 2:
            need, found = "two samples or more", f"{total[name]}"
        elif listing.splits != ("all",) and not learned[name]:
            need, found = "samples in the split train", "none"
        elif listing.splits == ("all",) and clusters[name] < 2:
            # k-fold holds out whole clusters, and the rest must still show the class.
            need, found = "samples from two clusters or more", "one cluster"
        else:
            continue
        raise DataError(
            f"Expected {need} of the class {name!r} in {place}, found {found}.{left_out} "
            "Add samples of it, merge it with another class, or remove it."
        )


def _check_ids(samples: _Samples, place: Path, named: bool) -> None:
    repeated, count = Counter(samples.ids[i] for i in samples.used()).most_common(1)[0]
    if count == 1:
        return
    several = "It has several labels or boxes: add a column `id` that names each row differently."
    hint = "Give each row its own id." if named else several
    raise DataError(f"Expected unique rows in {place}, found {repeated!r} {count} times. {hint}")


# ------------------------------------------------------------------ rows


def _rows(samples: _Samples, listing: Listing, split: str) -> Rows:
    here = [i for i, name in enumerate(samples.splits) if name == split]
    used = [i for i in here if not samples.faults[i]]
    number = {name: index for index, name in enumerate(listing.classes)}

    def texts(column: list[str]) -> np.ndarray:
        return np.array([column[i] for i in used], dtype=object)

    return Rows(
        ids=texts(samples.ids),
        pictures=texts(samples.paths)[:, None],
        boxes={role: box[used, None] for role, box in samples.boxes.items()},
        labels={"label": np.array([number[samples.labels[i]] for i in used], dtype=np.int64)},
        points=np.zeros((len(used), 0, 2), dtype=np.float32),
        clusters=texts(samples.clusters),
        left_out=(
            *(LeftOut(samples.ids[i], samples.faults[i]) for i in here if samples.faults[i]),
            *listing.strays.get(split, ()),
        ),
        attributes={
            name: texts(listing.columns[f"attribute_{name}"]) for name in listing.attributes
        },
    )
