"""Two runs of linear probes side by side: by how much each declared score changed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from degradation.errors import DataError
from probes.metrics import resolve
from probes.predictions import read_predictions
from probes.questions import Prediction
from probes.records import Comparison, RunRecord
from probes.runs import PREDICTIONS
from reports.compare.records import Change
from reports.compare.scores import apart, bound_word, score_change, score_of
from reports.names import metric_label

__all__ = ["absent_questions", "declared_questions", "new_questions", "probe_changes", "run_title"]

Runs = tuple[RunRecord, RunRecord]


def run_title(run: RunRecord) -> str:
    """The pair and task of a run."""
    return f"{run.pair.name} on {run.task.label}"


def declared_questions(run: RunRecord) -> dict[str, Comparison]:
    """The declared comparison of each question."""
    return {one.question: one for one in run.comparisons if one.confirmatory}


def probe_changes(
    runs: Runs, folders: tuple[Path, Path], *, max_drop: float | None
) -> Iterator[Change]:
    """The declared questions that both runs have, in the same metric.

    Args:
        runs: The first and the second.
        folders: Where each lies.
        max_drop: The bound, in points; None to judge nothing.

    Raises:
        DataError: Predictions are missing, or of other classes than the record says.
    """
    first, second = runs
    said, now = (read_predictions(folder / PREDICTIONS) for folder in folders)
    for question, one in declared_questions(first).items():
        if _hindrance(runs, question):
            continue
        other = declared_questions(second)[question]
        sides = [
            (_found(said, first, one, side), _found(now, second, other, side))
            for side in ("pre", "post")
        ]
        unpaired = next(filter(None, (apart(*both) for both in sides)), "")
        classes = first.task.label_sets.get(question, ())
        metric = resolve(one.metric, classes)
        where = f"{question} of {run_title(first)}"
        scores = [tuple(score_of(metric, classes, each, where) for each in both) for both in sides]
        pre, post = (
            score_change(metric, *both, seed=first.seed, paired=not unpaired) for both in sides
        )
        yield Change(
            pair=first.pair.name,
            task=first.task.label,
            question=question,
            metric=metric_label(first.task, one),
            pre=scores[0],
            post=scores[1],
            change_pre=pre,
            change=post,
            unpaired=unpaired,
            word=bound_word(post, max_drop),
        )


def absent_questions(runs: Runs) -> Iterator[str]:
    """Declared questions of the first run that cannot be compared, with the reason."""
    for question in declared_questions(runs[0]):
        reason = _hindrance(runs, question)
        if reason:
            yield f"{question} of {run_title(runs[0])}: {reason}"


def new_questions(runs: Runs) -> Iterator[str]:
    """Questions that only the second run has."""
    first, second = runs
    for question in declared_questions(second).keys() - declared_questions(first).keys():
        yield f"{question} of {run_title(second)}"


def _hindrance(runs: Runs, question: str) -> str:
    """Why a declared question of the first run has no like in the second; empty if it has."""
    one, other = (declared_questions(run).get(question) for run in runs)
    if other is None:
        return "the second has no declared comparison of it"
    if one.metric != other.metric:
        return f"declared in {one.metric} first and in {other.metric} second"
    classes = [run.task.label_sets.get(question, ()) for run in runs]
    return "" if classes[0] == classes[1] else "asked with other classes"


def _found(
    predictions: Sequence[Prediction], run: RunRecord, one: Comparison, side: str
) -> Prediction:
    """What a comparison was computed from."""
    place = (one.question, one.block, one.probe, side)
    for each in predictions:
        if (each.question, each.block, each.probe, each.side) == place:
            return each
    raise DataError(
        f"Expected predictions of {one.question} at block {one.block} by {one.probe}, {side}, "
        f"beside the record of {run_title(run)}, found none: the record was "
        "changed after the run. Run `sdiag probe` again."
    )
