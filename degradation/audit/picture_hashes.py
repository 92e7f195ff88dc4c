"""What decides whether two pictures are the same: a hash of the file and one of the looks.

Pictures are read in many threads, JPEGs in grey at a fraction of their size, and what was found is
kept in `<cache>/audit/<data root>.parquet`, so that the next audit reads only what is new. A file
counts as unchanged while its size and time of change are; a picture that is no file of its own (a
frame of a video, a rendered scene) while the `source` of its task is.
"""

import hashlib
import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt64

from degradation.audit.perceptual_hash import SIDE, grey, is_informative, perceptual_hash
from degradation.cache.files import write_atomically
from degradation.cache.schema import slug
from degradation.errors import DataError
from degradation.pixels import decode_picture, inside_root, picture_bytes, pixel_hash, to_rgb
from degradation.tasks.task import Task

__all__ = ["FLAT", "FOUND", "UNREADABLE", "PictureHashes", "hash_pictures"]

FOUND, FLAT, UNREADABLE = 0, 1, 2

_DRAFT = 2 * SIDE  # still twice as large, so that each of the 32 x 32 means is one
_CHUNK = 4096
_SAVE_EVERY = 60.0  # seconds: what an interruption costs at most
_VERSION = b"1"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class PictureHashes:
    """Hashes of n pictures.

    Attributes:
        contents: BLAKE2b of the file, or of the pixels where there is no file; S16, shape (n,).
        looks: Perceptual hash; 0 unless the state is `FOUND`.
        states: `FOUND`, `FLAT` (there is nothing to tell its looks by) or `UNREADABLE`, which
            has no hash at all; uint8, shape (n,).
    """

    contents: np.ndarray
    looks: UInt64[np.ndarray, " n"]
    states: np.ndarray


def hash_pictures(
    task: Task, references: Sequence[str], *, root: Path | None, cache: Path, progress: bool = False
) -> PictureHashes:
    """Hashes of pictures of a task, from the cache where they are known.

    Args:
        task: Opens what is no file below `root`.
        references: Each only once.
        root: Data root; None if the task has none.
        cache: Root of all caches.
        progress: Whether to show a bar on stderr.

    Raises:
        CacheError: The hashes cannot be written.
    """
    place = str(root) if root else task.spec.name
    path = cache / "audit" / f"{slug(place)}.parquet"
    known = _load(path)
    stamps = [_stamp(task, reference, root) for reference in references]
    found = [known.get(reference) for reference in references]
    rows = [one if one and one[0] == s else None for one, s in zip(found, stamps, strict=True)]
    missing = [i for i, one in enumerate(rows) if one is None]
    saved = time.monotonic()
    for i, content, looks, state in _read(task, references, missing, root, progress):
        rows[i] = (stamps[i], content, looks, state)
        if state != UNREADABLE:
            known[references[i]] = rows[i]
        if time.monotonic() - saved > _SAVE_EVERY:
            _save(path, known)
            saved = time.monotonic()
    if missing:
        _save(path, known)
    return PictureHashes(
        contents=np.array([row[1] for row in rows], dtype="S16"),
        looks=np.array([row[2] for row in rows], dtype=np.uint64),
        states=np.array([row[3] for row in rows], dtype=np.uint8),
    )


_Row = tuple[str, bytes, int, int]  # stamp, content, looks, state


def _read(
    task: Task, references: Sequence[str], missing: list[int], root: Path | None, progress: bool
) -> Iterator[tuple[int, bytes, int, int]]:
    """Position, content, looks and state of each missing picture."""
    from tqdm import tqdm

    def look(i: int) -> tuple[bytes, np.ndarray | None]:
        try:
            return _look(task, references[i], root)
        except DataError as error:
            _log.info("%s", error)
            return b"", None

    shown = progress and len(missing) > 0
    bar = tqdm(total=len(missing), unit="picture", desc=task.spec.name, disable=not shown)
    with bar, ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            seen = list(threads.map(look, chunk))
            empty = np.zeros((SIDE, SIDE), dtype=np.uint8)
            greys = np.stack([empty if one is None else one for _, one in seen])
            looks, informative = perceptual_hash(greys), is_informative(greys)
            for row, (content, one) in enumerate(seen):
                if one is None:
                    yield chunk[row], b"", 0, UNREADABLE
                elif informative[row]:
                    yield chunk[row], content, int(looks[row]), FOUND
                else:
                    yield chunk[row], content, 0, FLAT
            bar.update(len(chunk))


def _look(task: Task, reference: str, root: Path | None) -> tuple[bytes, np.ndarray]:
    """Hash of the content and grey values of one picture."""
    if root and _is_file(root, reference):
        file = inside_root(reference, root)
        data = picture_bytes(file)
        content = hashlib.blake2b(data, digest_size=16).digest()
        return content, grey(decode_picture(data, file, draft=_DRAFT))
    rgb = to_rgb(task.open(reference))
    return pixel_hash(np.asarray(rgb)), grey(rgb)


def _is_file(root: Path, reference: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(os.path.join(root, reference)).st_mode)
    except (OSError, ValueError):  # ValueError: a null character
        return False


def _stamp(task: Task, reference: str, root: Path | None) -> str:
    """What must be unchanged for a hash to be so."""
    if root:
        try:
            status = os.stat(os.path.join(root, reference))
        except (OSError, ValueError):
            return task.spec.source
        if stat.S_ISREG(status.st_mode):
            return f"{status.st_size}:{status.st_mtime_ns}"
    return task.spec.source


# ------------------------------------------------------------------ on disk


def _load(path: Path) -> dict[str, _Row]:
    """Known hashes by reference; none if the file is absent, damaged or of another version."""
    import pyarrow  # here, since it is slow to import
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        if (table.schema.metadata or {}).get(b"version") != _VERSION:
            return {}
        names = ("reference", "stamp", "content", "looks", "state")
        reference, *columns = (table[name].to_pylist() for name in names)
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, pyarrow.ArrowException) as error:
        _log.warning("Hashes in %s cannot be read and are made again: %s", path, error)
        return {}
    return dict(zip(reference, zip(*columns, strict=True), strict=True))


def _save(path: Path, known: dict[str, _Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    stamp, content, looks, state = zip(*known.values(), strict=True) if known else ((),) * 4
    table = pyarrow.table(
        {
            "reference": pyarrow.array(list(known), pyarrow.string()),
            "stamp": pyarrow.array(stamp, pyarrow.string()),
            "content": pyarrow.array(content, pyarrow.binary()),
            "looks": pyarrow.array(looks, pyarrow.uint64()),
            "state": pyarrow.array(state, pyarrow.uint8()),
        }
    ).replace_schema_metadata({b"version": _VERSION})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    write_atomically(path, sink.getvalue().to_pybytes())
