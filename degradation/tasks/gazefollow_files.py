"""The annotation files of GazeFollow: comma-separated text without a header, read into columns.

The training file has a column that the test file lacks (inout), so that with the names of the one
the other would be read one column askew; the number of columns is therefore checked in every line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from jaxtyping import Float64, Int64

from degradation.errors import DataError
from degradation.tasks.disk import read_bytes

__all__ = ["FILES", "Annotations", "annotation_file", "annotations"]

FILES = {"train": "train_annotations_release.txt", "test": "test_annotations_release.txt"}

_EYES, _GAZE = ("eye_x", "eye_y"), ("gaze_x", "gaze_y")
_HEAD = ("head_x_min", "head_y_min", "head_x_max", "head_y_max")
_FIRST = ("path", "idx", "body_x", "body_y", "body_w", "body_h", *_EYES, *_GAZE, *_HEAD)
_LAST = ("source", "meta")
_ORIGINAL = ("train_annotations.txt", "test_annotations.txt")
_ORIGINAL_COLUMNS = range(10, 14)


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """The n lines of a file.

    Attributes:
        file: Its name.
        paths: Pictures, relative to the data root.
        eyes: Normalised xy, shape (n, 2).
        gaze: Normalised xy, shape (n, 2).
        heads: Pixels, xyxy, as given, shape (n, 4).
        inout: 1 in the picture, 0 outside, -1 invalid, shape (n,); NaN without flags. As are all
            numbers that are missing.
    """

    file: str
    paths: list[str]
    eyes: Float64[np.ndarray, "n 2"]
    gaze: Float64[np.ndarray, "n 2"]
    heads: Float64[np.ndarray, "n 4"]
    inout: Float64[np.ndarray, " n"]

    def __len__(self) -> int:
        """Number of lines."""
        return len(self.paths)

    def take(self, rows: Int64[np.ndarray, " k"]) -> "Annotations":
        """Some of the lines."""
        paths = [self.paths[row] for row in rows]
        columns = (self.eyes, self.gaze, self.heads, self.inout)
        return Annotations(self.file, paths, *(column[rows] for column in columns))


def annotation_file(root: Path, name: str) -> Path:
    """An annotation file of the data root.

    Raises:
        DataError: It is not there; with what is there instead.
    """
    if (root / name).is_file():
        return root / name
    hint = "Download gazefollow_extended.zip and unpack it whole."
    if original := [old for old in _ORIGINAL if (root / old).is_file()]:
        hint = (
            f"{original[0]} is of the original GazeFollow, which has no head boxes; the extended "
            "version has: gazefollow_extended_txtonly.zip holds its annotations alone."
        )
    elif inner := sorted(place.parent for place in root.glob(f"*/{name}")):
        hint = f"It is in {inner[0]}: give that folder as --data-root."
    raise DataError(f"Expected {name} in {root}, found none. {hint}")


def annotations(path: Path, *, flags: bool) -> Annotations:
    """The lines of an annotation file.

    Args:
        path: The file; a byte order mark and Windows line ends are as good as none.
        flags: Whether it has the column inout: the training file does, the test file does not.

    Raises:
        DataError: It cannot be read, has a line with other columns or with text for a number, or
            holds everything twice.
    """
    names = (*_FIRST, *(("inout",) if flags else ()), *_LAST)
    numbers = (*_EYES, *_GAZE, *_HEAD, *(("inout",) if flags else ()))
    data = read_bytes(path)
    try:
        table = pc.read_csv(
            pa.BufferReader(data),
            read_options=pc.ReadOptions(column_names=names, use_threads=False),
            parse_options=pc.ParseOptions(quote_char=False),
            convert_options=pc.ConvertOptions(
                column_types={"path": pa.string(), **dict.fromkeys(numbers, pa.float64())},
                include_columns=["path", *numbers],
            ),
        )
    except pa.ArrowInvalid as error:
        raise _refused(path, data, names, numbers, str(error)) from error
    columns = {name: table[name].to_numpy() for name in numbers}
    found = Annotations(
        file=path.name,
        paths=table["path"].to_pylist(),
        eyes=np.stack([columns[name] for name in _EYES], axis=1),
        gaze=np.stack([columns[name] for name in _GAZE], axis=1),
        heads=np.stack([columns[name] for name in _HEAD], axis=1),
        inout=columns["inout"] if flags else np.full(len(table), np.nan),
    )
    _check_once(path, found)
    return found


def _check_once(path: Path, found: Annotations) -> None:
    """Refuse a file that is its own second half."""
    half, odd = divmod(len(found), 2)
    if half < 2 or odd or found.paths[:half] != found.paths[half:]:
        return
    for column in (found.eyes, found.gaze, found.heads):
        if not np.array_equal(column[:half], column[half:], equal_nan=True):
            return
    raise DataError(
        f"Expected each line of {path} once, found all {half} of them twice. It was probably "
        "appended to itself: unpack it again."
    )


def _refused(
    path: Path, data: bytes, names: tuple[str, ...], numbers: tuple[str, ...], what: str
) -> DataError:
    """The error for a file without these columns, naming the first line that shows it."""
    place = {name: names.index(name) for name in numbers}
    for number, cells in _lines(data):
        if len(cells) != len(names):
            return DataError(
                f"Expected {len(names)} columns in line {number} of {path}, found {len(cells)}. "
                f"{_columns_hint(len(cells), len(names))}"
            )
        for name, column in place.items():
            try:
                float(cells[column] or "nan")
            except ValueError:
                return DataError(
                    f"Expected a number for {name} in line {number} of {path}, found "
                    f"{cells[column]!r}. The file should have no header and the columns "
                    f"{', '.join(names)}; unpack it again."
                )
    return DataError(f"Expected comma-separated text in {path}, found: {what}. Unpack it again.")


def _lines(data: bytes) -> Iterator[tuple[int, list[str]]]:
    text = data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    for number, line in enumerate(text.split("\n"), start=1):
        if line:
            yield number, line.split(",")


def _columns_hint(found: int, expected: int) -> str:
    train, test = len(_FIRST) + 1 + len(_LAST), len(_FIRST) + len(_LAST)
    if found in (train, test):
        other = FILES["train" if found == train else "test"]
        return f"So many has {other}: were the two files exchanged?"
    if found in _ORIGINAL_COLUMNS:
        return (
            "The original GazeFollow has about so many, without head boxes: download "
            "gazefollow_extended_txtonly.zip."
        )
    return f"Is it a file of another data set, or cut off? Unpack it again ({expected} columns)."
