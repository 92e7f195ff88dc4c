"""What stands beside the score of a trained model: chance, and a linear probe on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from probes.records import Comparison, Estimate, RunRecord
from reports.transfer.words import Key
from socialfusion.records import FusionRecord, QuestionRows, Score

__all__ = ["Beside", "baselines"]


@dataclass(frozen=True, slots=True)
class Beside:
    """What a metric is read against.

    Attributes:
        higher_is_better: Of the metric.
        chance: What the training rows alone reach, in points; None where it has no value.
        probe: What the declared linear probe reads from the same encoder on the same test rows;
            None if it was not measured on them.
    """

    higher_is_better: bool
    chance: float | None
    probe: Estimate | None

    def exceeds_probe(self, score: float) -> bool | None:
        """Whether a score in points is better than the probe's; None where there is no probe."""
        if self.probe is None:
            return None
        return score > self.probe.value if self.higher_is_better else score < self.probe.value


def baselines(runs: Sequence[FusionRecord], probed: Sequence[RunRecord]) -> dict[Key, Beside]:
    """By question and metric; the first run that has a score of it decides.

    Args:
        runs: Trained models on the same encoder and rows.
        probed: Runs of `sdiag probe`, of any pair.
    """
    found: dict[Key, Beside] = {}
    for run in runs:
        asked = {one.label: one for one in run.questions}
        for score in run.scores:
            probe = _probe(run, asked[score.question], score, probed)
            beside = Beside(score.higher_is_better, score.chance, probe)
            found.setdefault((score.question, score.metric), beside)
    return found


def _probe(
    run: FusionRecord, question: QuestionRows, score: Score, probed: Sequence[RunRecord]
) -> Estimate | None:
    """The linear probe of the same weights on the same test rows."""
    card = run.splits.get(question.task, {}).get(question.splits[2])
    if card is None:
        return None
    for record in probed:
        test = record.splits.get("test")
        digests = (record.pair.pre_digest, record.pair.post_digest)
        if (
            record.task.name != question.task
            or record.task.row_list != run.settings.row_list
            or test is None
            or test.rows_digest != card.rows_digest
            or run.encoder.digest not in digests
        ):
            continue
        comparison = _declared(record, question.name, score.metric)
        if comparison is not None and comparison.n == score.n:
            return comparison.pre if run.encoder.digest == digests[0] else comparison.post
    return None


def _declared(record: RunRecord, question: str, metric: str) -> Comparison | None:
    """The comparison of a metric at the block and by the probe that were declared."""
    own = [one for one in record.comparisons if one.question == question]
    first = next((one for one in own if one.confirmatory), None)
    if first is None:
        return None
    wanted = (first.block, first.probe, metric)
    return next((one for one in own if (one.block, one.probe, one.metric) == wanted), None)
