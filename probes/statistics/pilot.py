"""What a finished run says of the runs to come: flip rates, design effects, and images needed.

The standard error of a delta falls with the root of the number of images, whatever the metric and
the clustering, so a pilot's own error says how many images of its kind a drop takes.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from scipy.stats import norm

from degradation.errors import DataError
from probes.records import Comparison, RunRecord

__all__ = ["PilotRow", "pilot_rows"]


@dataclass(frozen=True, slots=True)
class PilotRow:
    """One declared comparison of a pilot, and what would follow from more images of its kind.

    Attributes:
        pair: Name of the pair.
        task: Label of the task.
        question: Of the task.
        metric: The declared one.
        images: Test rows of the pilot.
        clusters: Of these rows.
        flips: Rows broken or fixed, in %; None where the outcome is not right or wrong.
        design_effect: Variance of the delta over that of as many independent rows; None unless the
            metric is accuracy, or if nothing flipped.
        se: Standard error of the pilot's delta, in points.
        needed: Images to see the drop.
        detectable: Drop, in points, that as many images as the pilot's show.
        equivalence: Images to show equivalence within the margin, if nothing differs.
    """

    pair: str
    task: str
    question: str
    metric: str
    images: int
    clusters: int
    flips: float | None
    design_effect: float | None
    se: float
    needed: float
    detectable: float
    equivalence: float


def pilot_rows(
    records: Iterable[RunRecord],
    *,
    drop: float,
    margin: float,
    alpha: float = 0.05,
    power: float = 0.8,
    comparisons: int = 1,
) -> list[PilotRow]:
    """The declared comparisons of some runs, each as a pilot.

    Args:
        records: Runs.
        drop: To see, in points.
        margin: Of equivalence, in points.
        alpha: Two-sided level of all comparisons together.
        power: Probability of seeing the drop.
        comparisons: How many will be corrected for together (Holm).

    Raises:
        DataError: If no declared comparison varies at all.
    """
    far = norm.isf(alpha / comparisons / 2) + norm.isf(1 - power)
    near = norm.isf(alpha) + norm.isf((1 - power) / 2)
    rows = []
    for record in records:
        for one in record.comparisons:
            se = _error(one)
            if not one.confirmatory or se == 0:
                continue
            rows.append(
                PilotRow(
                    pair=record.pair.name,
                    task=record.task.label,
                    question=one.question,
                    metric=one.metric,
                    images=one.n,
                    clusters=one.clusters,
                    flips=_flips(one),
                    design_effect=_design_effect(one, se),
                    se=se,
                    needed=one.n * (far * se / drop) ** 2,
                    detectable=far * se,
                    equivalence=one.n * (near * se / margin) ** 2,
                )
            )
    if not rows:
        raise DataError(
            "Expected declared comparisons whose delta varies, found none: sides that are the same "
            "say nothing of others. Name the results of another pair with --pilot."
        )
    return rows


def _error(one: Comparison) -> float:
    """Standard error of a delta; of an older record from the width of its interval."""
    if one.se is not None:
        return one.se
    return (one.delta_high_90 - one.delta_low_90) / (2 * float(norm.isf(0.05)))


def _flips(one: Comparison) -> float | None:
    if one.broken is None or one.fixed is None:
        return None
    return 100 * (one.broken + one.fixed) / one.n


def _design_effect(one: Comparison, se: float) -> float | None:
    """Variance of the delta over (flips - delta^2) / n, that of independent rows."""
    flips = _flips(one)
    if one.metric != "accuracy" or not flips:
        return None
    alone = (flips / 100 - (one.delta.value / 100) ** 2) / one.n
    return (se / 100) ** 2 / alone if alone > 0 else None
