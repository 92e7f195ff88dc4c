"""The records flattened: one cell a comparison, with its verdict, for tables and figures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from probes.records import Baseline, Comparison, PairCard, RunRecord, TaskCard
from probes.statistics.verdict import Verdict, Word, judge
from reports.names import PLANTED, metric_label, question_labels, training_step

__all__ = ["Cell", "by_pair", "judged_cells"]

CHANCE, CEILING = ("prior", "centre"), "human"
BLIND = (*CHANCE, "shuffled-pre", "shuffled-post")
"""Baselines that know nothing of the sample, or were taught nothing about it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One comparison with everything that is said about it.

    Attributes:
        pair: Both encoders.
        task: The task as it was asked.
        label: The question as people read it, unique within the report.
        metric: The metric as people read it.
        comparison: The numbers.
        p_adjusted: p after the correction of its family.
        family: Which correction, over how many.
        verdict: `degraded`, `improved`, `equivalent` or `undecided`.
        baselines: What the same probe reads of the same question and metric without the encoder.
        p_equivalence: p of the two one-sided tests, not adjusted; None for older records.
    """

    pair: PairCard
    task: TaskCard
    label: str
    metric: str
    comparison: Comparison
    p_adjusted: float
    family: str
    verdict: Word
    baselines: tuple[Baseline, ...]
    p_equivalence: float | None = None

    @property
    def chance(self) -> Baseline | None:
        """The baseline that sees nothing of the sample, None if there was none."""
        return next((b for b in self.baselines if b.name in CHANCE), None)

    @property
    def best_baseline(self) -> Baseline | None:
        """The strongest baseline that sees something of the sample, None if there was none.

        What people reach is none of them: it is a ceiling.
        """
        sign = 1 if self.comparison.higher_is_better else -1
        seeing = [b for b in self.baselines if b.name not in (*BLIND, CEILING)]
        return max(seeing, key=lambda b: sign * b.estimate.value, default=None)


def by_pair(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    """The cells by the name of their pair, in order of first appearance."""
    pairs: dict[str, list[Cell]] = {}
    for cell in cells:
        pairs.setdefault(cell.pair.name, []).append(cell)
    return pairs


def judged_cells(records: Sequence[RunRecord], *, margin: float, alpha: float) -> list[Cell]:
    """Every comparison of the records as a cell: by pair, social tasks before control ones.

    p values are corrected within what is read as one table: all pairs whose answer is sought,
    the checkpoints of a training run, a planted pair.

    Args:
        records: Runs, of one or several pairs.
        margin: Equivalence margin in points.
        alpha: Level of the tests, after correction.

    Returns:
        The cells; within a task in the order of its record.
    """
    labels = question_labels(records)
    ordered = sorted(records, key=lambda run: (run.pair.name, not run.task.social))
    tables: dict[str, list[RunRecord]] = {}
    for run in ordered:
        tables.setdefault(_table(run.pair.name), []).append(run)
    cells = []
    for runs in tables.values():
        verdicts = judge(runs, margin=margin, alpha=alpha)
        sources = [run for run in runs for _ in run.comparisons]
        cells += [
            _cell(run, labels[run.task.label, verdict.comparison.question], verdict)
            for run, verdict in zip(sources, verdicts, strict=True)
        ]
    return cells


def _table(pair: str) -> str:
    """The table that a pair is read in."""
    step = training_step(pair)
    if step:
        return f"{step[0]}@"
    return pair if pair in PLANTED else ""


def _cell(run: RunRecord, label: str, verdict: Verdict) -> Cell:
    """One judged comparison with its baselines."""
    comparison = verdict.comparison
    asked = (comparison.question, comparison.metric)
    return Cell(
        pair=run.pair,
        task=run.task,
        label=label,
        metric=metric_label(run.task, comparison),
        comparison=comparison,
        p_adjusted=verdict.p_adjusted,
        family=verdict.family,
        verdict=verdict.word,
        baselines=tuple(b for b in run.baselines if (b.question, b.metric) == asked),
        p_equivalence=verdict.p_equivalence,
    )
