"""Where the records of a pair lie among the results, whatever its name and that of its task are."""

from pathlib import Path

from degradation.cache.schema import slug

__all__ = ["lies_in", "record_folder"]

LONGEST = 255
"""Bytes of the name of a file on common file systems."""


def record_folder(results: Path, pair: str, task: str = "") -> Path:
    """The folder of a pair, `<results>/<pair>/`, or of its run on a task, below that.

    Names are kept as they are, slashes too, unless a file system would take them for another place
    than one below the results, or not at all: `manifest:../../mine.csv` goes by its slug.

    Args:
        results: Folder of all records.
        pair: Name of the pair.
        task: Label of the task; empty for the folder of the pair.
    """
    return results.joinpath(*(_below(name) for name in (pair, task) if name))


def lies_in(folder: Path, pair: str, task: str = "") -> bool:
    """Whether a folder among results has the name that `record_folder` gives it."""
    own = record_folder(Path(), pair, task).parts
    return folder.parts[-len(own) :] == own


def _below(name: str) -> str:
    parts = name.split("/")
    # A hidden folder is one in which a run is still being written.
    odd = any(not part or part.startswith(".") or len(part.encode()) > LONGEST for part in parts)
    return slug(name) if odd or "\0" in name else name
