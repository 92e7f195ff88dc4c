"""The audited splits as numbers: equal ones mean the same file, the same looks, the same cluster.

Of a track, the middle frame stands for all, since its neighbours look like it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt64

from degradation.audit.picture_hashes import FLAT, FOUND, UNREADABLE, hash_pictures
from degradation.errors import ConfigError
from degradation.tasks.task import Rows, Task, TaskSpec

__all__ = ["EVALUATED", "LEARNED", "AuditedSplit", "Numbered", "number_splits"]

LEARNED = {"train": 0, "val": 1, "all": 0}
"""Splits that are learned from: a row must not return in a split that is evaluated later."""
EVALUATED = {"val": 1, "test": 2, "all": 2}
"""Splits that are evaluated, later ones higher. `all` is both, by folds of whole clusters."""

_MOST = 64  # splits: each has its bit in an integer


@dataclass(frozen=True, slots=True, eq=False)
class AuditedSplit:
    """One split of one task.

    Attributes:
        spec: The task.
        name: Of the split.
        rows: Its n rows.
        digest: `rows.digest()`.
        files: By row, number of the file; equal for files of equal content.
        looks: By row, position of its perceptual hash in `Numbered.hashes`; -1 if it has none.
        clusters: By row, number of the cluster; over all tasks that read one data root.
        flat: How many pictures have no looks, since they are flat.
        unreadable: How many pictures could not be read.
    """

    spec: TaskSpec
    name: str
    rows: Rows
    digest: str
    files: Int64[np.ndarray, " n"]
    looks: Int64[np.ndarray, " n"]
    clusters: Int64[np.ndarray, " n"]
    flat: int
    unreadable: int

    def __str__(self) -> str:
        """Such as `pisc-domain/test`."""
        return f"{self.spec.name}/{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Numbered:
    """All audited splits.

    Attributes:
        splits: In the order of the tasks.
        hashes: Distinct perceptual hashes.
        opened: Whether pictures were opened; if not, there are no hashes.
    """

    splits: tuple[AuditedSplit, ...]
    hashes: UInt64[np.ndarray, " k"]
    opened: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Raw:
    """A split before numbers are given across all splits; contents and looks by row."""

    task: Task
    name: str
    rows: Rows
    root: Path | None
    contents: np.ndarray
    looks: UInt64[np.ndarray, " n"]
    states: np.ndarray
    flat: int
    unreadable: int


def number_splits(
    tasks: Sequence[tuple[Task, Path | None]],
    *,
    cache: Path,
    open_pictures: bool = True,
    progress: bool = False,
) -> Numbered:
    """Read all splits and hash their pictures.

    Args:
        tasks: Tasks, each with its data root.
        cache: Root of all caches.
        open_pictures: If False, a picture is the same only if its reference and data root are.
        progress: Whether to show bars on stderr.

    Raises:
        ConfigError: A split that is neither train, val, test nor all, or too many splits.
        DataError: Rows that cannot be read.
    """
    names = [(task.spec.name, split) for task, _ in tasks for split in task.splits]
    for name, split in names:
        if split not in LEARNED | EVALUATED:
            raise ConfigError(
                f"Expected the splits {', '.join(LEARNED | EVALUATED)}, found {split!r} in {name}. "
                "What it is for, learning or evaluation, is not known."
            )
    if len(names) > _MOST:
        raise ConfigError(
            f"Expected at most {_MOST} splits at a time, found {len(names)}. Audit fewer tasks."
        )
    raw = [one for task, root in tasks for one in _read(task, root, cache, open_pictures, progress)]
    files = _numbers(one.contents for one in raw)
    clusters = _numbers(_cluster_names(one) for one in raw)
    found = [one.looks[one.states == FOUND] for one in raw]
    hashes = np.unique(np.concatenate(found))
    splits = []
    for one, its_files, its_clusters in zip(raw, files, clusters, strict=True):
        looks = np.where(one.states == FOUND, np.searchsorted(hashes, one.looks), -1)
        splits.append(
            AuditedSplit(
                spec=one.task.spec,
                name=one.name,
                rows=one.rows,
                digest=one.rows.digest(),
                files=its_files,
                looks=looks,
                clusters=its_clusters,
                flat=one.flat,
                unreadable=one.unreadable,
            )
        )
    return Numbered(tuple(splits), hashes, open_pictures)


def _read(
    task: Task, root: Path | None, cache: Path, open_pictures: bool, progress: bool
) -> list[_Raw]:
    """All splits of a task; its known hashes are fetched once, and a shared picture hashed once."""
    rows = {split: task.read(split) for split in task.splits}
    middles = [one.pictures[:, one.pictures.shape[1] // 2].tolist() for one in rows.values()]
    position = {name: i for i, name in enumerate(dict.fromkeys(chain.from_iterable(middles)))}
    place = root or task.spec.name
    contents = np.array([_digest(f"{place}\0{one}") for one in position], dtype="S16")
    looks = np.zeros(len(position), dtype=np.uint64)
    states = np.full(len(position), UNREADABLE, dtype=np.uint8)
    if open_pictures:
        hashes = hash_pictures(task, list(position), root=root, cache=cache, progress=progress)
        looks, states = hashes.looks, hashes.states
        contents = np.where(states == UNREADABLE, contents, hashes.contents)
    raw = []
    for (split, its_rows), middle in zip(rows.items(), middles, strict=True):
        where = np.array([position[name] for name in middle], dtype=np.int64)
        its_states = states[np.unique(where)]
        raw.append(
            _Raw(
                task=task,
                name=split,
                rows=its_rows,
                root=root,
                contents=contents[where],
                looks=looks[where],
                states=states[where],
                flat=int((its_states == FLAT).sum()),
                unreadable=int((its_states == UNREADABLE).sum()) if open_pictures else 0,
            )
        )
    return raw


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()


def _cluster_names(raw: _Raw) -> list[tuple[object, str, str]]:
    """A subject is the same one in another task only if both name subjects of one data root."""
    spec = raw.task.spec
    return [(raw.root or spec.name, spec.cluster, str(name)) for name in raw.rows.clusters]


def _numbers(columns: Iterable[Iterable[object]]) -> list[Int64[np.ndarray, " n"]]:
    """Numbers for names, equal for equal names in any column."""
    columns = [list(column) for column in columns]
    number = {name: i for i, name in enumerate(dict.fromkeys(chain.from_iterable(columns)))}
    return [np.array([number[name] for name in one], dtype=np.int64) for one in columns]
