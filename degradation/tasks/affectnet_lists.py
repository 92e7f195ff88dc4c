"""The lists of AffectNet's 2017 release: one face a line, with its box and its label.

Most of a line are 68 landmarks, which are passed over.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from degradation.errors import DataError

__all__ = ["list_rows", "whole_number"]

Box = tuple[float, float, float, float]

_PATH = "subDirectory_filePath"
_BOX = ("face_x", "face_y", "face_width", "face_height")
_COLUMNS = (_PATH, *_BOX, "facial_landmarks", "expression", "valence", "arousal")


def list_rows(file: Path) -> Iterator[tuple[str, Box, int | None]]:
    """Path, box (x, y, width, height in pixels; NaN for none) and label of each line, in order.

    Some copies of validation.csv have no header.

    Raises:
        DataError: There is no such file, it is empty, cut off, or a list of something else.
    """
    try:
        if not file.stat().st_size:
            raise DataError(f"Expected rows in {file}, found an empty file. Unpack it again.")
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = csv.reader(lines)
            first = next(rows, [])
            columns = _columns(first, file)
            if _PATH not in first:
                yield _cells(first, columns)
            for row in rows:
                if len(row) != len(first):
                    if not row:
                        continue
                    raise DataError(
                        f"Expected {len(first)} columns in line {rows.line_num} of {file}, found "
                        f"{len(row)}. The file is cut off or was edited; unpack it again."
                    )
                yield _cells(row, columns)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"Expected the file {file}, found nothing. Is the archive fully unpacked?"
        ) from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Expected a readable table, found {error}: {file}.") from error


def _columns(first: list[str], file: Path) -> list[int]:
    """Where path, box and label stand."""
    if _PATH in first and set(_COLUMNS) <= set(first):
        names = first
    elif len(first) == len(_COLUMNS) and whole_number(first[6]) is not None:
        names = list(_COLUMNS)
    else:
        found = ",".join(first)[:100]
        raise DataError(
            f"Expected the columns {', '.join(_COLUMNS)} in {file}, found {found!r}. This is not "
            "a list of AffectNet's 2017 release."
        )
    return [names.index(name) for name in (_PATH, *_BOX, "expression")]


def _cells(row: list[str], columns: list[int]) -> tuple[str, Box, int | None]:
    path, *box, label = (row[column] for column in columns)
    x, y, width, height = map(_number, box)
    return path, (x, y, width, height), whole_number(label)


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:  # NULL, where no face was found
        return float("nan")


def whole_number(value: object) -> int | None:
    """The whole number that a value or its text is, such as 3 of '3' or 3.0; None if it is none."""
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if number.is_integer() else None
