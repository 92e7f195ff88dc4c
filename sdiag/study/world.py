"""What the steps of a study share: where things lie, and what its tasks hold."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from degradation.tasks.registry import get_task
from degradation.tasks.task import Task
from probes.folders import record_folder
from sdiag.study.encoders import StudyPair
from sdiag.study.schema import Study

__all__ = ["TaskRows", "World"]


@dataclass(frozen=True, slots=True)
class TaskRows:
    """What a task holds, as it is read now.

    Attributes:
        digests: Digest of the rows, by split.
        counts: Number of rows, by split.
        frames: Pictures of a row.
        regions: Number of regions that features are pooled over.
        questions: Number of questions.
    """

    digests: Mapping[str, str]
    counts: Mapping[str, int]
    frames: int
    regions: int
    questions: int

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(self.counts.values())

    @property
    def pictures(self) -> int:
        """Pictures of all splits; one that several rows show counts for each."""
        return self.rows * self.frames


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One study on one machine.

    Attributes:
        study: As read, with data roots filled in.
        pairs: Its pairs.
        cache: Root of all caches.
        results: Folder of the records.
        weights: Folder in which published repositories are looked for first.
        offline: Whether the hub is asked nothing.
        workers: Threads that open pictures.
    """

    study: Study
    pairs: tuple[StudyPair, ...]
    cache: Path
    results: Path
    weights: Path | None = None
    offline: bool = False
    workers: int = 1
    _rows: dict[str, TaskRows] = field(default_factory=dict, repr=False)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(one.name for one in self.study.task)

    @property
    def roots(self) -> dict[str, Path | None]:
        """Data root of each task."""
        return {one.name: one.data_root for one in self.study.task}

    def task(self, name: str) -> Task:
        """A task, from its data.

        Raises:
            ConfigError: No task has this name.
            DataError: Its data are not there, or not what they should be.
        """
        return get_task(name, data_root=self.roots[name])

    def rows(self, name: str) -> TaskRows:
        """What a task holds; read once.

        Raises:
            ConfigError: No task has this name.
            DataError: Its data are not there, or not what they should be.
        """
        if name not in self._rows:
            task = self.task(name)
            splits = {split: task.read(split) for split in task.splits}
            first = next(iter(splits.values()))
            self._rows[name] = TaskRows(
                digests={split: rows.digest() for split, rows in splits.items()},
                counts={split: len(rows) for split, rows in splits.items()},
                frames=math.prod(first.pictures.shape[1:]),
                regions=1 + len(first.boxes),
                questions=len(task.spec.metrics),
            )
        return self._rows[name]

    def folder(self, pair: str, task: str) -> Path:
        """Where the records of a pair on a task lie."""
        rows = self.study.rows
        return record_folder(self.results, pair, f"{task}@{rows}" if rows else task)
