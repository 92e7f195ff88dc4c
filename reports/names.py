"""Names as people and as file systems read them."""

import hashlib
import re
from collections.abc import Sequence

from degradation.errors import ConfigError
from degradation.tasks.registry import on_disk_tasks
from probes.metrics import resolve
from probes.records import Comparison, RunRecord, TaskCard

__all__ = [
    "DATA",
    "PLANTED",
    "file_stem",
    "metric_label",
    "on_disk",
    "question_labels",
    "reader_label",
    "task_option",
    "training_step",
]

DATA = "DATA"
"""Stands for a folder of pictures in a command; a record does not say where they lay."""

PLANTED = {
    "identity": "the same weights twice: every delta is exactly 0",
    "rotation": "another basis: drift without loss, every question is equivalent",
    "erased": "expression erased: expression is degraded and no other question is",
    "folded": "expression out of linear reach: expression is degraded and no other question is",
    "noise": "noise in every feature: questions are degraded and none is improved",
}
"""What is known of the planted pairs, by name."""

READERS = {
    "prior": "prior or centre",
    "centre": "prior or centre",
    "boxes": "boxes or head position",
    "head-position": "boxes or head position",
    "random-tower": "random tower",
    "shuffled-pre": "shuffled labels, pre",
    "shuffled-post": "shuffled labels, post",
}
"""Baselines as people read them; the one that classes have and the one that gaze has in its place
go by one name."""


def metric_label(task: TaskCard, comparison: Comparison) -> str:
    """The metric as people read it; one that this version does not know keeps its name."""
    try:
        return resolve(comparison.metric, task.label_sets.get(comparison.question, ())).label
    except ConfigError:
        return comparison.metric


def reader_label(baseline: str) -> str:
    """A baseline as people read it; one that this version does not know keeps its name."""
    return READERS.get(baseline, baseline)


def question_labels(records: Sequence[RunRecord]) -> dict[tuple[str, str], str]:
    """By (label of the task, question): the question, with its task where that is needed.

    It is where two tasks ask the same, and where a row list chose the rows.
    """
    listed = {r.task.label: bool(r.task.row_list) for r in records}
    asked = {(r.task.label, c.question) for r in records for c in r.comparisons}
    asked |= {(r.task.label, question) for r in records for question in r.task.metrics}
    questions = [question for _, question in asked]
    return {
        (task, question): f"{question} ({task})"
        if questions.count(question) > 1 or listed[task]
        else question
        for task, question in asked
    }


def on_disk(task: str) -> bool:
    """Whether a task reads pictures from a folder that a user names."""
    return task in on_disk_tasks() or task.startswith("manifest:")


def task_option(task: str) -> str:
    """A task as commands take it, with the folder of its data where it needs one."""
    return f"{task}={DATA}" if on_disk(task) else task


def training_step(pair: str) -> tuple[str, int] | None:
    """`tiny@500` as ("tiny", 500); None for a pair that is no checkpoint of a training run."""
    match = re.fullmatch(r"(.+)@(\d+)", pair)
    return (match[1], int(match[2])) if match else None


def file_stem(prefix: str, name: str) -> str:
    """A file name for a figure of `name`; different names get different stems on any system."""
    plain = re.sub(r"[^a-z0-9-]", "_", name)[:40]
    digest = "" if plain == name else f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"{prefix}-{plain}{digest}"
