"""Reading what the owners of a data set ship: folders, JSON files, and which pictures are there.

Annotation files name up to a million pictures, so nothing here asks the disk about one file at a
time: each folder is listed once.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from degradation.errors import ConfigError, DataError
from degradation.pixels import inside_root

__all__ = ["NO_FILE", "Pictures", "data_folder", "read_bytes", "read_json", "refused_json"]

OUTSIDE_ROOT = "path leaves the data root"
NO_PATH = "no path"
NO_FILE = "no such file"


def data_folder(data_root: Path | None, task: str) -> Path:
    """The data root of a task, absolute.

    Raises:
        ConfigError: None was given.
        DataError: It is no folder.
    """
    if data_root is None:
        raise ConfigError(
            f"Expected the folder of the data set for {task}. Give it as --data-root DIR; "
            f"`sdiag doctor --task {task}` says what it should hold and where that comes from."
        )
    folder = data_root.expanduser().absolute()
    if not folder.is_dir():
        raise DataError(
            f"Expected the data set for {task} in the folder {folder}, found "
            f"{'a file' if folder.exists() else 'nothing'} there. Check the path."
        )
    return folder


def read_bytes(path: Path) -> bytes:
    """A file whole.

    Raises:
        DataError: There is none, it is empty, or it cannot be read.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(
            f"Expected the file {path}, found nothing. Is the archive fully unpacked?"
        ) from error
    except OSError as error:
        raise DataError(f"Expected a readable file, found {error}: {path}.") from error
    if not data.strip():
        raise DataError(f"Expected contents in {path}, found an empty file. Unpack it again.")
    return data


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        DataError: As for `read_bytes`, or it is no JSON, or several documents in a row.
    """
    data = read_bytes(path)
    try:
        return json.loads(data)
    except ValueError as error:  # JSONDecodeError, or bytes that are no UTF-8
        raise refused_json(path, data, str(error)) from error


def refused_json(path: Path, data: bytes, what: str) -> DataError:
    """The error for a JSON file that cannot be parsed.

    Args:
        path: The file.
        data: Its contents.
        what: What the parser said.
    """
    try:
        text = data.decode()
        _, end = json.JSONDecoder().raw_decode(text.lstrip())
    except ValueError:
        hint = "It looks cut off" if data.strip()[-1:] not in (b"}", b"]") else "It is damaged"
        return DataError(f"Expected JSON in {path}, found: {what}. {hint}; unpack it again.")
    more = text.lstrip()[end:].lstrip()[:20]
    if not more:  # one document, with something in it that is no JSON, as NaN
        return DataError(f"Expected JSON in {path}, found: {what}. Make the file again.")
    return DataError(
        f"Expected one JSON document in {path}, found another text after it ({more!r}). A script "
        "that appends was probably run twice: delete the file and make it again."
    )


@dataclass(slots=True)
class Pictures:
    """Which files there are below a root; each folder is listed once, when it is first asked for.

    Attributes:
        root: Data root; absolute.
    """

    root: Path
    _listed: dict[str, frozenset[str] | str] = field(default_factory=dict, repr=False)

    def faults(self, paths: Iterable[str]) -> list[str]:
        """Why each picture cannot be opened, empty where it is there; not opened, only listed.

        Args:
            paths: Relative to the root, with `/`.
        """
        return [self._fault(path) for path in paths]

    def _fault(self, path: str) -> str:
        folder, _, name = path.rpartition("/")
        if not name:
            return NO_PATH
        if name == "..":
            return OUTSIDE_ROOT
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
        names = self._listed[folder]
        if isinstance(names, str):
            return names
        return "" if name in names else NO_FILE

    def _list(self, folder: str) -> frozenset[str] | str:
        try:
            place = inside_root(folder, self.root)  # follows links, and refuses loops of them
        except DataError:
            return OUTSIDE_ROOT
        try:
            with os.scandir(place) as entries:
                return frozenset(one.name for one in entries)
        except OSError:
            return NO_FILE
