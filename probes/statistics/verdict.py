"""From numbers to words: degraded, improved, equivalent or undecided."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from probes.records import Comparison, RunRecord
from probes.statistics.differences import benjamini_hochberg, holm, tost

__all__ = ["Verdict", "Word", "judge"]

Word = Literal["degraded", "improved", "equivalent", "undecided"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One comparison and what may be said of it.

    Attributes:
        pair: Name of the pair.
        task: Name of the task.
        social: False for control tasks.
        comparison: The numbers.
        word: The verdict.
        p_adjusted: p after the correction of its family.
        family: Which correction, over how many.
        p_equivalence: p of the two one-sided tests, not adjusted; None for older records.
    """

    pair: str
    task: str
    social: bool
    comparison: Comparison
    word: Word
    p_adjusted: float
    family: str
    p_equivalence: float | None = None


def judge(
    records: Sequence[RunRecord], *, margin: float = 2.0, alpha: float = 0.05
) -> list[Verdict]:
    """One verdict for each comparison of each record, in order.

    `equivalent` where the 90 % interval of the delta lies within [-margin, margin], which is two
    one-sided tests at 5 %. It comes first because the margin says what is too small to matter: a
    certain loss of half a point is not damage, and with enough rows any difference is certain.
    Otherwise `degraded` or `improved`, by the sign of the delta, where the adjusted p is at most
    alpha; otherwise `undecided`.

    Families: all confirmatory comparisons of all records together (Holm). Of the others, which
    explore, those of one pair that share the rank of their metric, i.e. the map of first metrics
    and the rest (Benjamini-Hochberg). Arms beside the declared one are a family of their own, so
    that probing them changes no other number.

    Args:
        records: Runs that are reported together.
        margin: In points.
        alpha: Level of the family-wise error, or of the false discovery rate.
    """
    cells = [(record, one) for record in records for one in record.comparisons]
    families: dict[tuple[str, ...], list[int]] = {}
    for i, (record, one) in enumerate(cells):
        families.setdefault(_family(record, one), []).append(i)
    adjusted: dict[int, tuple[float, str]] = {}
    for key, members in families.items():
        correct, name = (holm, "Holm") if key == ("confirmatory",) else (benjamini_hochberg, "BH")
        values = correct([cells[i][1].p for i in members])
        words = f"{name} over {len(members)} ({', '.join(key)})"
        adjusted |= {i: (float(p), words) for i, p in zip(members, values, strict=True)}
    return [
        Verdict(
            pair=record.pair.name,
            task=record.task.name,
            social=record.task.social,
            comparison=one,
            word=_word(one, adjusted[i][0], margin, alpha),
            p_adjusted=adjusted[i][0],
            family=adjusted[i][1],
            p_equivalence=None
            if one.se is None or one.dof is None
            else tost(one.delta.value, one.se, one.dof, margin),
        )
        for i, (record, one) in enumerate(cells)
    ]


def _family(record: RunRecord, one: Comparison) -> tuple[str, ...]:
    if one.confirmatory:
        return ("confirmatory",)
    if one.arm:
        return ("other arms", record.pair.name)
    first = one.metric == record.task.metrics[one.question][0]
    return ("map of first metrics" if first else "other metrics", record.pair.name)


def _word(one: Comparison, p: float, margin: float, alpha: float) -> Word:
    if -margin <= one.delta_low_90 and one.delta_high_90 <= margin:
        return "equivalent"
    if p <= alpha and one.delta.value != 0:
        return "degraded" if one.delta.value < 0 else "improved"
    return "undecided"
