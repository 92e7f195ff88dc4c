"""What a manifest lists: a CSV or Parquet table, or a folder, read into columns of text.

Only names are looked at here; whether rows and files can be used is the matter of `manifest`.
"""

import csv
import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from degradation.errors import DataError
from degradation.tasks.task import LeftOut

__all__ = ["SPLITS", "Listing", "read_listing"]

SPLITS = ("train", "val", "test")
_REQUIRED = ("path", "label")
_OPTIONAL = ("split", "cluster", "id")
_SIDES = ("x1", "y1", "x2", "y2")
_ATTRIBUTE = "attribute_"
_BOX_COLUMN = re.compile(r"([A-Za-z][A-Za-z0-9_]*)_(?:x1|y1|x2|y2)")
_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
)


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows of a manifest.

    Attributes:
        columns: `path`, `label` and `split` always, `cluster`, `id`, box columns and attributes if
            given; text without blanks around it, '' where a value is missing.
        roles: Roles of boxes, in the order of their columns.
        attributes: Names of attributes, in the order of their columns, which are called
            `attribute_<name>`.
        splits: Splits in reading order; ("all",) where there are none.
        classes: All classes in sorted order, also those of a folder that has no picture.
        strays: By split, what lies in a folder and is no row.
    """

    columns: Mapping[str, list[str]]
    roles: tuple[str, ...]
    attributes: tuple[str, ...]
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    strays: Mapping[str, list[LeftOut]]


def read_listing(place: Path) -> Listing:
    """Reads a folder, or a table ending in .csv or .parquet.

    Raises:
        DataError: It cannot be read or holds no rows, columns are missing or misspelt, or splits
            are unknown or incomplete.
    """
    return _read_folder(place) if place.is_dir() else _read_table(place)


# ------------------------------------------------------------------ tables


def _read_table(place: Path) -> Listing:
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if place.suffix.lower() not in readers:
        raise DataError(
            f"Expected a folder or a table ending in .csv or .parquet, found {place}. "
            "Check the path, or save the table as one of these."
        )
    if not place.is_file():
        raise DataError(f"Expected a table at {place}, found nothing. Check the path.")
    try:
        columns = readers[place.suffix.lower()](place)
    except OSError as error:
        raise DataError(
            f"Expected a readable table, found {error}: {place}. Check its permissions."
        ) from error
    if not columns["path"]:
        raise DataError(f"Expected rows below the header of {place}, found none. Add some.")
    splits = _splits(columns["split"], place) if "split" in columns else ("all",)
    columns.setdefault("split", ["all"] * len(columns["path"]))
    classes = tuple(sorted(set(columns["label"]) - {""}))
    return Listing(
        columns, _roles(list(columns), place), _attributes(columns), splits, classes, strays={}
    )


def _read_csv(place: Path) -> dict[str, list[str]]:
    with place.open(encoding="utf-8-sig", newline="") as file:  # -sig: Excel writes a mark
        lines = csv.reader(file, strict=True)  # strict: an open quote would swallow rows
        try:
            header = [cell.strip() for cell in next(lines, [])]
            names = _known(header, place)
            where = [header.index(name) for name in names]
            rows = []
            for line in lines:
                if not any(line):
                    continue
                if len(line) < len(header) or any(line[len(header) :]):
                    raise DataError(
                        f"Expected {len(header)} cells in line {lines.line_num} of {place}, found "
                        f"{len(line)}. Put quotes around cells that hold a comma."
                    )
                rows.append([line[i].strip() for i in where])
        except UnicodeDecodeError as error:
            raise DataError(
                f"Expected text in UTF-8, found other bytes ({error}): {place}. "
                "Save the table as CSV UTF-8."
            ) from error
        except csv.Error as error:
            raise DataError(
                f"Expected comma-separated cells, found: {error}, by line {lines.line_num} of "
                f"{place}. Mend the quotes there, or save the table again."
            ) from error
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _read_parquet(place: Path) -> dict[str, list[str]]:
    import pyarrow  # here, since it is slow to import and only Parquet needs it
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(place) as file:
            names = _known(file.schema_arrow.names, place)
            table = file.read(columns=names)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"Expected a Parquet table, found {error}: {place}. Write it again."
        ) from error
    return {name: [_text(value) for value in table[name].to_pylist()] for name in names}


def _text(value: object) -> str:
    missing = value is None or value != value  # NaN differs from itself
    return "" if missing else str(value).strip()


def _known(names: list[str], place: Path) -> list[str]:
    """The columns that mean something here, after checking that none is missing or misspelt."""
    for name, count in Counter(filter(None, names)).items():
        if count > 1:
            raise DataError(
                f"Expected distinct columns in {place}, found {name!r} {count} times. Rename one."
            )
    others = [name for name in names if name not in _REQUIRED + _OPTIONAL]
    for name in _REQUIRED:
        if name not in names:
            near = _near(name, others, cutoff=0.5)
            hint = f"Rename {near!r}?" if near else "Add it."
            raise DataError(
                f"Expected columns path and label, separated by commas, in {place}; {name!r} is "
                f"missing, found: {', '.join(names) or 'an empty file'}. {hint}"
            )
    for name in _OPTIONAL:
        near = None if name in names else _near(name, others, cutoff=0.8)
        if near:  # never silently k-fold because somebody wrote `Split`
            raise DataError(
                f"Expected {name!r} or no such column in {place}, found {near!r}. Rename it to "
                f"{name!r}, or to something else if it means something else."
            )
    used = [name for name in names if name in _REQUIRED + _OPTIONAL]
    used += [_ATTRIBUTE + name for name in _attributes(names)]
    return used + [f"{role}_{side}" for role in _roles(names, place) for side in _SIDES]


def _attributes(names: Iterable[str]) -> tuple[str, ...]:
    """Names behind `attribute_`; slashes would be folders of the cache."""
    cut = len(_ATTRIBUTE)
    found = [name[cut:] for name in names if name.startswith(_ATTRIBUTE) and name[cut:].strip()]
    for name in found:
        if "/" in name:
            raise DataError(
                f"Expected an attribute's name without slashes, found the column {_ATTRIBUTE}"
                f"{name}. Rename it."
            )
    return tuple(found)


def _near(name: str, others: list[str], cutoff: float) -> str | None:
    folded = {other.casefold(): other for other in others}
    if name in folded or len(name) < 3:
        return folded.get(name)
    return next((folded[m] for m in difflib.get_close_matches(name, folded, 1, cutoff)), None)


def _roles(names: list[str], place: Path) -> tuple[str, ...]:
    roles = tuple(dict.fromkeys(m[1] for name in names if (m := _BOX_COLUMN.fullmatch(name))))
    for role in roles:
        absent = [f"{role}_{side}" for side in _SIDES if f"{role}_{side}" not in names]
        if absent:
            raise DataError(
                f"Expected the columns {role}_x1, {role}_y1, {role}_x2 and {role}_y2 in {place}; "
                f"missing: {', '.join(absent)}. Add or rename columns."
            )
        if role == "image":
            raise DataError(
                f"Expected boxes of a role, found image_x1 ... in {place}, but `image` is the "
                "whole picture. Rename these columns."
            )
    return roles


def _splits(found: list[str], place: Path) -> tuple[str, ...]:
    unknown = sorted(set(found) - set(SPLITS))
    if unknown:
        near = difflib.get_close_matches(unknown[0].casefold(), SPLITS, n=1, cutoff=0.4)
        raise DataError(
            f"Expected the splits train, val and test in {place}, found {unknown[0]!r} in row "
            f"{found.index(unknown[0]) + 1}.{f' Did you mean {near[0]!r}?' if near else ''} "
            "Rename it, remove the row, or drop the column for k-fold over all rows."
        )
    return _complete(set(found), place)


def _complete(names: set[str], place: Path) -> tuple[str, ...]:
    for needed in ("train", "test"):
        if needed not in names:
            raise DataError(
                f"Expected the splits train and test (val is optional) in {place}, found only "
                f"{', '.join(sorted(names))}. Add {needed}, or use no splits for k-fold over all "
                "rows."
            )
    return tuple(split for split in SPLITS if split in names)


# ------------------------------------------------------------------ folders


def _read_folder(place: Path) -> Listing:
    names = {entry.name for entry in _visible(place) if entry.is_dir()}
    by_split = not names.isdisjoint(SPLITS)
    if by_split and not names.issubset(SPLITS):
        raise DataError(
            f"Expected class folders in {place}, or only the folders train, val and test; found "
            f"both: {', '.join(sorted(names))}. Move the classes into the splits."
        )
    splits = _complete(names, place) if by_split else ("all",)
    columns: dict[str, list[str]] = {"path": [], "label": [], "split": []}
    strays: dict[str, list[LeftOut]] = {}
    classes: set[str] = set()
    for split in splits:
        top = place / split if by_split else place
        pictures, strays[split] = _read_classes(top, place, classes)
        columns["path"] += [picture.relative_to(place).as_posix() for picture in pictures]
        columns["label"] += [picture.parent.name for picture in pictures]
        columns["split"] += [split] * len(pictures)
    if not classes:
        raise DataError(
            f"Expected one sub-folder a class in {place}, found none. Move the pictures of each "
            "class into a folder with its name, or name a CSV or Parquet table."
        )
    if by_split:
        loose = [entry for entry in _visible(place) if not entry.is_dir()]
        strays[splits[0]] += [LeftOut(entry.name, "not in a class folder") for entry in loose]
    return Listing(columns, (), (), splits, tuple(sorted(classes)), strays)


def _read_classes(top: Path, place: Path, classes: set[str]) -> tuple[list[Path], list[LeftOut]]:
    """The pictures in the class folders of `top` and what else is there; adds to `classes`."""
    pictures: list[Path] = []
    strays: list[LeftOut] = []
    for folder in _visible(top):
        if not folder.is_dir():
            strays.append(LeftOut(folder.relative_to(place).as_posix(), "not in a class folder"))
            continue
        classes.add(folder.name)
        for entry in _visible(folder):
            if entry.suffix.lower() in _SUFFIXES and not entry.is_dir():
                pictures.append(entry)
                continue
            folder_inside = "a folder inside a class folder"
            reason = folder_inside if entry.is_dir() else "not a picture by its suffix"
            strays.append(LeftOut(entry.relative_to(place).as_posix(), reason))
    return pictures, strays


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(
            f"Expected a readable folder, found {error}. Check its permissions."
        ) from error
