"""The records flattened: one cell a comparison, with its verdict, all that tables and figures read."""

from dataclasses import dataclass

from probes.records import Baseline, Comparison, PairCard, RunRecord, TaskCard
from probes.verdict import judge
from reports.names import question_labels

__all__ = ["Cell", "by_pair", "judged_cells"]

CHANCE = ("prior", "centre")


@dataclass(frozen=True, slots=True)
class Cell:
    """One comparison with everything that is said about it.

    Attributes:
        pair: Both encoders.
        task: The task as it was asked.
        label: The question as people read it, unique within the report.
        comparison: The numbers.
        p_holm: Holm-adjusted p within the pair's confirmatory table; None outside it.
        verdict: `degraded`, `improved`, `equivalent` or `undecided`.
        baselines: What the same probe reads of the same question and metric without the encoder.
    """

    pair: PairCard
    task: TaskCard
    label: str
    comparison: Comparison
    p_holm: float | None
    verdict: str
    baselines: tuple[Baseline, ...]

    @property
    def chance(self) -> Baseline | None:
        """The baseline that sees nothing of the sample, None if there was none."""
        return next((b for b in self.baselines if b.name in CHANCE), None)

    @property
    def best_baseline(self) -> Baseline | None:
        """The strongest baseline that sees something of the sample, None if there was none."""
        sign = 1 if self.comparison.higher_is_better else -1
        seeing = [b for b in self.baselines if b.name not in CHANCE]
        return max(seeing, key=lambda b: sign * b.estimate.value, default=None)
