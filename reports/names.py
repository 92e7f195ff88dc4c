"""Names as people read them: metrics, questions, and what kind of pair a name stands for."""

import re

from probes.records import RunRecord

__all__ = ["PLANTED", "metric_name", "planted_kind", "question_labels", "training_step"]

_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_recall": "macro recall",
    "macro_f1": "macro F1",
    "map": "mAP",
    "mean_average_precision": "mAP",
    "average_precision": "average precision",
    "auc": "AUC",
    "auroc": "AUC",
    "log_loss": "log-loss",
    "avg_l2": "average L2 error",
    "average_l2": "average L2 error",
    "l2_error": "L2 error",
    "min_l2": "minimum L2 error",
    "minimum_l2": "minimum L2 error",
    "angular_error": "angular error",
}

PLANTED = {
    "identity": "the same weights twice: every delta is exactly 0",
    "rotation": "all features rotated: drift without loss, nothing is degraded",
    "erased": "the linear subspace of one concept removed: some questions are degraded",
    "folded": "one concept kept, but out of linear reach: some questions are degraded",
    "noise": "noise added to every feature: some questions are degraded",
}
"""Pairs whose answer is known in advance, and that answer."""


def metric_name(metric: str) -> str:
    """The metric as people read it; an unknown one keeps its name without underscores."""
    return _METRICS.get(metric.lower(), metric.replace("_", " "))


def question_labels(records: tuple[RunRecord, ...]) -> dict[tuple[str, str], str]:
    """By (task, question): the question, with its task where two tasks ask the same."""
    asked = {(r.task.name, c.question) for r in records for c in r.comparisons}
    asked |= {(r.task.name, question) for r in records for question in r.task.metrics}
    questions = [question for _, question in asked]
    return {
        (task, question): question if questions.count(question) == 1 else f"{question} ({task})"
        for task, question in asked
    }


def training_step(pair: str) -> tuple[str, int] | None:
    """`tiny@500` as ("tiny", 500); None for a pair that is no checkpoint of a training run."""
    match = re.fullmatch(r"(.+)@(\d+)", pair)
    return (match[1], int(match[2])) if match else None


def planted_kind(pair: str) -> str | None:
    """The plant that a pair's name stands for, None for a pair whose answer is not known."""
    return pair if pair in PLANTED else None
