"""Two trained models side by side: by how much each metric changed on the test rows."""

from collections.abc import Iterator
from pathlib import Path

from degradation.errors import DataError
from probes.metrics import resolve
from probes.questions import Prediction
from reports.compare.records import TrainingChange
from reports.compare.scores import apart, bound_word, score_change, score_of
from reports.transfer.words import metric_words
from socialfusion.records import FusionRecord, QuestionRows, read_fusion_predictions

__all__ = ["absent_scores", "new_scores", "training_changes"]

Runs = tuple[FusionRecord, FusionRecord]
Key = tuple[str, str]
"""`task/question` and name of the metric."""


def training_changes(
    runs: Runs, folders: tuple[Path, Path], *, max_drop: float | None
) -> Iterator[TrainingChange]:
    """The metrics that both runs have, question after question.

    Args:
        runs: The first and the second.
        folders: Where each lies.
        max_drop: The bound of declared scores, in points; None to judge nothing.

    Raises:
        DataError: Predictions are missing, or of other classes than the record says.
    """
    first, second = runs
    said, now = (
        read_fusion_predictions(folder, run) for run, folder in zip(runs, folders, strict=True)
    )
    for label, name in _scores(first):
        if _hindrance(runs, (label, name)):
            continue
        question = _questions(first)[label]
        both = _found(said, first, label), _found(now, second, label)
        metric = resolve(name, question.classes)
        where = f"{label} by {first.run}"
        before, after = (score_of(metric, question.classes, each, where) for each in both)
        unpaired = apart(*both)
        change = score_change(metric, *both, seed=first.settings.seed, paired=not unpaired)
        declared = question.metrics[:1] == (name,)
        yield TrainingChange(
            run=first.run,
            question=label,
            metric=metric_words(name, question.classes),
            declared=declared,
            scores=(before, after),
            change=change,
            unpaired=unpaired,
            word=bound_word(change, max_drop) if declared else "",
        )


def absent_scores(runs: Runs, *, declared: bool) -> Iterator[str]:
    """Scores of the first run that cannot be compared, with the reason.

    Args:
        runs: The first and the second.
        declared: Whether to tell of the first metric of each question, or of all others.
    """
    questions = _questions(runs[0])
    for key in _scores(runs[0]):
        label, name = key
        reason = _hindrance(runs, key)
        if reason and (questions[label].metrics[:1] == (name,)) == declared:
            yield f"{label} by {runs[0].run}, {name}: {reason}"


def new_scores(runs: Runs) -> Iterator[str]:
    """Scores that only the second run has."""
    first, second = map(_scores, runs)
    for label, name in second:
        if (label, name) not in first:
            yield f"{label} by {runs[1].run}, {name}"


def _hindrance(runs: Runs, key: Key) -> str:
    """Why a score of the first run has no like in the second; empty if it has."""
    label, name = key
    one, other = (_questions(run).get(label) for run in runs)
    if other is None:
        return "the second was not asked it"
    if one.classes != other.classes:
        return "asked with other classes"
    if key in _scores(runs[1]):
        return ""
    return runs[1].undefined.get(f"{label} {name}", "the second has no such score")


def _scores(run: FusionRecord) -> list[Key]:
    """Questions and metrics that a run has scores of."""
    known = _questions(run)
    return [(one.question, one.metric) for one in run.scores if one.question in known]


def _questions(run: FusionRecord) -> dict[str, QuestionRows]:
    """The questions of a run by label."""
    return {one.label: one for one in run.questions}


def _found(predictions: dict[str, Prediction], run: FusionRecord, label: str) -> Prediction:
    """What the scores of a question were computed from."""
    if label not in predictions:
        raise DataError(
            f"Expected predictions of {label} beside the record of {run.run}, found none: the "
            f"record was changed after the run. Run `sdiag train-socialfusion --run {run.run}` "
            "again."
        )
    return predictions[label]
