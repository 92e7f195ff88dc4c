"""What is asked of a cached pair: the questions of its tasks, their batches, their pictures."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from degradation.axes import SIDES, Side
from degradation.cache import Features, PairEntry
from degradation.cache.schema import plain
from degradation.errors import ConfigError, DataError, PairingError
from degradation.protocol import Protocol, protocol_of
from degradation.reading import Reader
from degradation.tasks.task import Task
from probes.conflict.batches import Candidates, Dealt, deal
from probes.conflict.heads import Question, fitted_rows
from probes.conflict.objectives import Passes
from probes.conflict.pictures import Pictures, Source
from probes.conflict.records import QuestionCard
from probes.conflict.sketch import CELLS
from probes.questions import ClassQuestion, declared_arm, prepare_question
from probes.table import Table, open_pair

__all__ = ["AskedTask", "Settings", "Study", "open_study"]

log = logging.getLogger(__name__)

ALL = "all"
"""The one split of a task without splits."""
FITTED = ("train", "val")
SPARE = 8
"""Batches of their own from which a preconditioner is estimated."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How gradient conflict is measured.

    Attributes:
        parameters: `encoder`, or `blocks:1,2`.
        batch_size: Rows in a batch.
        batches: Of each question; fewer where rows or clusters do not suffice.
        split: Whose rows the gradients are of. The heads are fitted on train and val: there the
            gradients of different rows cancel by the very definition of a converged head, and
            products of different batches come out too small, often negative. Of a task without
            splits it is the fold that its head has not seen.
        row_list: Name of the row lists whose rows alone are used; empty for all.
        exact: Whether products are exact; else from sketches, which takes less memory.
        cells: Numbers kept of a gradient in a sketch.
        adam: Whether gradients are measured in the metric of Adam's step.
        swapped: Whether to measure the same with labels swapped between clusters as well.
        passes: Device, arithmetic and micro-batches.
        workers: Threads that open pictures.
        seed: Decides batches, sketches and swaps.
        draws: Label swaps behind the null.
    """

    parameters: str = "encoder"
    batch_size: int = 16
    batches: int = 32
    split: str = "test"
    row_list: str = ""
    exact: bool = True
    cells: int = CELLS
    adam: bool = False
    swapped: bool = False
    passes: Passes = field(default_factory=Passes)
    workers: int = 1
    seed: int = 0
    draws: int = 1000


@dataclass(frozen=True, slots=True, eq=False)
class AskedTask:
    """One task of a study.

    Attributes:
        task: Opens its pictures.
        table: Its cached rows and features, of both sides.
        entry: Of the pair in the cache.
        split: Whose rows are in the batches.
        block: The declared one, which the heads read.
        protocol: By which features were extracted.
        questions: By label, `task/question`.
    """

    task: Task
    table: Table
    entry: PairEntry
    split: str
    block: int
    protocol: Protocol
    questions: Mapping[str, Question]

    def features(self, side: Side) -> Features:
        """The cached features of a side on the split of the batches."""
        return self.table.features[self.split][side]

    @property
    def first(self) -> int:
        """Position of the split's first row in the table."""
        return int((self.table.splits == self.split).argmax())


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """Questions with their batches, the same for all models that are asked.

    Attributes:
        pair: Name of the pair.
        tasks: In the order in which their questions are asked.
        rows: By label, the rows of each batch, shape (m, b).
        spare: By label, rows of batches for the preconditioner alone, shape (e, b); or empty.
        available: By label, how many rows could have been drawn.
        pictures: Of all tasks.
        settings: How to measure.
    """

    pair: str
    tasks: tuple[AskedTask, ...]
    rows: Mapping[str, Int64[np.ndarray, "m b"]]
    spare: Mapping[str, Int64[np.ndarray, "e b"]]
    available: Mapping[str, int]
    pictures: Pictures
    settings: Settings

    @property
    def batches(self) -> int:
        """M, batches of each question."""
        return len(next(iter(self.rows.values())))

    @property
    def deepest(self) -> int:
        """The deepest block that a head reads."""
        return max(one.block for one in self.tasks)

    def cards(self) -> tuple[QuestionCard, ...]:
        """One card a question."""
        return tuple(
            QuestionCard(
                label=label,
                task=asked.task.spec.name,
                question=question.name,
                social=asked.task.spec.social,
                kind="classes" if isinstance(question, ClassQuestion) else "gaze",
                block=asked.block,
                n=self.rows[label].size,
                clusters=len(set(asked.table.clusters[self.rows[label].ravel()])),
                available=self.available[label],
                rows_digest=self._digest(asked, self.rows[label].ravel()),
            )
            for asked in self.tasks
            for label, question in asked.questions.items()
        )

    def _digest(self, asked: AskedTask, rows: Int64[np.ndarray, " n"]) -> str:
        """SHA-256 over ids and pixel hashes, in the order of the batches."""
        source = self.pictures.sources[asked.task.spec.name]
        sha = hashlib.sha256("\x00".join(asked.table.ids[rows].astype(str)).encode())
        sha.update(np.ascontiguousarray(source.hashes[rows - asked.first]).tobytes())
        return sha.hexdigest()


def open_study(root: Path, tasks: Sequence[Task], pair: str, settings: Settings) -> Study:
    """The questions of some tasks that are in the cache for a pair, with their batches.

    A question that cannot be asked for want of rows or classes is left out with a warning.

    Args:
        root: Root of all caches.
        tasks: Their pictures are opened anew.
        pair: Name of the pair.
        settings: How to measure.

    Raises:
        CacheError: If features are not in the cache, or damaged.
        ConfigError: If there is one question only, features were imported, or the split is not
            cached.
        DataError: If a question has too few rows or clusters for two batches.
        PairingError: If the tasks were extracted by other weights or protocols.
    """
    asked = tuple(_asked(root, task, pair, settings) for task in tasks)
    _check_alike(asked)
    candidates = [
        _candidates(one, label, question)
        for one in asked
        for label, question in one.questions.items()
    ]
    if len(candidates) < 2:
        names = ", ".join(one.label for one in candidates) or "none"
        raise ConfigError(
            f"Conflict is between two questions or more, but of {pair} there is {names}. Name "
            "another task with --task, or extract one."
        )
    spare = SPARE if settings.adam else 0
    dealt = deal(
        candidates, batches=settings.batches + spare, batch_size=settings.batch_size,
        seed=settings.seed,
    )  # fmt: skip
    kept = _kept(dealt, settings)
    if kept < settings.batches:
        log.warning(
            "%s has rows for %d batches of %d that share no cluster, so all questions have %d "
            "instead of %d.", dealt.scarce, dealt.batches, settings.batch_size, kept,
            settings.batches,
        )  # fmt: skip
    return Study(
        pair=pair,
        tasks=asked,
        rows={label: rows[:kept] for label, rows in dealt.rows.items()},
        spare={label: rows[kept:] for label, rows in dealt.rows.items()} if spare else {},
        available={one.label: len(one.rows) for one in candidates},
        pictures=Pictures(
            {one.task.spec.name: _source(one) for one in asked}, workers=settings.workers
        ),
        settings=settings,
    )


def _kept(dealt: Dealt, settings: Settings) -> int:
    """How many of the batches are measured; the rest estimate the preconditioner."""
    if not settings.adam:
        return dealt.batches
    kept = dealt.batches - min(SPARE, max(1, dealt.batches // 4))
    if kept < 2:
        raise DataError(
            f"{dealt.scarce}: expected rows for three batches of {settings.batch_size} that share "
            f"no cluster, one of them for the preconditioner; found {dealt.batches}. Give a "
            "smaller --batch-size, or leave --precondition out."
        )
    return min(settings.batches, kept)


def _asked(root: Path, task: Task, pair: str, settings: Settings) -> AskedTask:
    """A task as it is in the cache."""
    name = task.spec.name
    table, entry = open_pair(root, name, pair, row_list=settings.row_list)
    if entry.imported:
        raise ConfigError(
            f"The features of {pair} on {name} were computed elsewhere, so there is no encoder to "
            "take gradients of. Extract a pair with `sdiag extract`."
        )
    splits = list(table.features)
    split = ALL if splits == [ALL] else settings.split
    if split not in splits:
        raise ConfigError(f"The cache holds the splits {', '.join(splits)} of {name}, not {split}.")
    if split in FITTED:
        log.warning(
            "%s: the heads are fitted on rows of %s, so that gradients of its batches cancel in "
            "part. Noise-corrected products come out too small; --split test is free of that.",
            name, split,
        )  # fmt: skip
    block = table.declared_block(entry)
    if block not in table.blocks:
        raise ConfigError(
            f"The heads read the declared block {block}, but the cache of {pair} on {name} holds "
            f"blocks {list(table.blocks)}. Extract that block too."
        )
    questions = {}
    for question in table.spec.metrics:
        label = f"{name}/{question}"
        try:
            questions[label] = prepare_question(
                table, question, declared_arm(table.spec), settings.seed
            )
        except DataError as error:
            log.warning("%s is left out: %s", label, error)
    protocol = _protocol(table.features[split]["pre"])
    return AskedTask(task, table, entry, split, block, protocol, questions)


def _protocol(features: Features) -> Protocol:
    """The protocol that features were extracted by."""
    key = features.key
    return protocol_of(
        plain(key.protocol),
        blocks=key.blocks,
        token_blocks=key.token_blocks,
        dtype=key.compute.removesuffix(" compiled"),
    )


def _check_alike(asked: Sequence[AskedTask]) -> None:
    """Refuse tasks that were not extracted by the same encoders, loaded in the same way."""
    first = asked[0]
    for one in asked[1:]:
        for side in SIDES:
            if one.features(side).encoder.digest != first.features(side).encoder.digest:
                raise PairingError(
                    f"{one.task.spec.name} was extracted with other weights ({side}) than "
                    f"{first.task.spec.name}. Extract both with the same encoders."
                )
        ours, theirs = (
            {
                "size": each.protocol.geometry.size,
                "geometry": each.protocol.geometry.kind,
                "stage": each.protocol.stage,
                "positions": each.protocol.positions,
                "normalisation": each.protocol.normalisation,
            }
            for each in (first, one)
        )
        for knob, value in ours.items():
            if theirs[knob] != value:
                raise PairingError(
                    f"{one.task.spec.name} was extracted with {knob} {theirs[knob]}, "
                    f"{first.task.spec.name} with {value}: one encoder cannot be asked both. "
                    "Extract them with the same options."
                )


def _candidates(asked: AskedTask, label: str, question: Question) -> Candidates:
    """The rows that a batch of this question may hold."""
    table = asked.table
    usable = table.unusable(question.name, question.arm.regions) == ""
    usable &= table.splits == asked.split
    fitted, _, _ = fitted_rows(question.plan)
    if asked.split == ALL:
        usable[fitted] = False
    if isinstance(question, ClassQuestion):
        usable &= np.isin(question.labels, question.labels[fitted])
    rows = np.nonzero(usable)[0]
    return Candidates(label, asked.task.spec.name, rows, table.clusters[rows])


def _source(asked: AskedTask) -> Source:
    """Where the pictures of a task come from, and what they should hash to."""
    table, split = asked.table, asked.split
    hashes = asked.features("pre").pixel_hashes
    return Source(
        Reader(asked.task, table.rows(split), asked.protocol.geometry, features=False),
        hashes[table.chosen[split]] if table.chosen else hashes,
        asked.first,
    )
