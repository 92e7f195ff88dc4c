"""From the values of one block to its records: intervals, nulls, ceilings, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probes.drift.jackknife import interval, intervals
from probes.drift.measures import MEASURES, Measure
from probes.drift.records import Curve, Missing, Number, Shape, Similarity
from probes.drift.sides import NO_SIGNAL, Key

__all__ = ["Found"]

UNSTABLE = "it has no value without one of the groups of clusters"


@dataclass(frozen=True, eq=False)
class Found:
    """Values of one block.

    Attributes:
        block: Its number.
        n: Rows behind each value.
        whole: Values of all rows.
        without: Values without each group.
        missing: Why others have none.
        shuffles: Values of each shuffle of one side's rows.
        feature_halves: Values between halves of the features of pre.
        row_halves: Values on each half of the clusters.
        label_null: Mean values under shuffled labels.
        chances: Exact expectations for unrelated sides, by measure.
        angles: Principal angles between class subspaces in degrees, by question.
    """

    block: int
    n: Mapping[Key, int]
    whole: Mapping[Key, float]
    without: Sequence[Mapping[Key, float]]
    missing: Mapping[Key, str]
    shuffles: Sequence[Mapping[Key, float]]
    feature_halves: Sequence[Mapping[Key, float]]
    row_halves: Sequence[Mapping[Key, float]]
    label_null: Mapping[Key, float]
    chances: Mapping[str, float]
    angles: Mapping[str, tuple[float, ...]]

    def similarities(self) -> tuple[Similarity, ...]:
        """Measures of pairs."""
        records = []
        for key, number in self.numbers.items():
            measure = MEASURES[key.measure]
            if measure.same is None:
                continue
            null = [one[key] for one in self.shuffles if key in one]
            halves = [one[key] for one in self.feature_halves if key in one]
            best = min if measure.same == measure.low else max
            records.append(
                Similarity(
                    measure=key.measure,
                    block=self.block,
                    question=key.question,
                    n=self.n[key],
                    number=number,
                    null=float(np.mean(null)),
                    null_best=best(null),
                    halves=float(np.mean(halves)) if halves else None,
                    chance=self.chances.get(key.measure),
                    angles=self.angles.get(key.question, ()),
                )
            )
        return tuple(records)

    def shapes(self) -> tuple[Shape, ...]:
        """Facts about each side that have a value on both."""
        numbers, records = self.numbers, []
        for key, number in numbers.items():
            twin = key._replace(side="post")
            if key.side != "pre" or key.components or twin not in numbers:
                continue
            null = [self.label_null[one] for one in (key, twin) if one in self.label_null]
            records.append(
                Shape(
                    measure=key.measure,
                    block=self.block,
                    question=key.question,
                    n=self.n[key],
                    pre=number,
                    post=numbers[twin],
                    change=self._change(key, twin),
                    pre_halves=self._halves(key),
                    post_halves=self._halves(twin),
                    null=float(np.mean(null)) if null else None,
                )
            )
        return tuple(records)

    def curves(self, components: Sequence[int]) -> tuple[Curve, ...]:
        """Curves that have values on a side."""
        numbers = self.numbers
        names = dict.fromkeys((key.measure, key.question) for key in numbers if key.components)
        records = []
        for measure, question in names:
            sides = {}
            for side in ("pre", "post"):
                found = [numbers.get(Key(measure, question, side, k)) for k in components]
                sides[side] = () if None in found else tuple(found)
            records.append(
                Curve(
                    measure=measure,
                    block=self.block,
                    question=question,
                    n=next(iter(self.n.values())),
                    components=tuple(components),
                    **sides,
                )
            )
        return tuple(records)

    def reasons(self) -> tuple[Missing, ...]:
        """Measures without a value, one entry for all sides and components that share a reason."""
        numbers = self.numbers
        reasons = dict(self.missing)
        reasons |= {key: self._unstable(key) for key in self.whole if key not in numbers}
        entries = {}
        for key, reason in reasons.items():
            where = f"{key.side}: " if key.side else ""
            entries[key.measure, key.question, f"{where}{reason}"] = None
        return tuple(
            Missing(measure=measure, block=self.block, question=question, reason=reason)
            for measure, question, reason in entries
        )

    @cached_property
    def numbers(self) -> dict[Key, Number]:
        """Numbers with their intervals; curves of classes only where there is a class signal."""
        ranges = {key: _range(MEASURES[key.measure]) for key in self.whole}
        numbers = intervals(self.whole, self.without, ranges)
        silent = {
            (key.question, key.side)
            for key, number in numbers.items()
            if key.measure == "class_variance" and number.low <= 0
        }
        return {
            key: number
            for key, number in numbers.items()
            if not (key.components and (key.question, key.side) in silent)
        }

    def _unstable(self, key: Key) -> str:
        return NO_SIGNAL if key.components and key.question else UNSTABLE

    def _change(self, pre: Key, post: Key) -> Number:
        parts = np.array([one[post] - one[pre] for one in self.without])
        return interval(self.whole[post] - self.whole[pre], parts)

    def _halves(self, key: Key) -> tuple[float, float] | None:
        found = [one[key] for one in self.row_halves if key in one]
        return (found[0], found[1]) if len(found) == 2 else None


def _range(measure: Measure) -> tuple[float, float]:
    low, high = measure.low, measure.high
    return (-np.inf if low is None else low, np.inf if high is None else high)
