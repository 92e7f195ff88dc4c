"""What is shown of two runs beside the scores: conflict, transfer, ablations, diagnoses and drift.

Each kind of record is a list of numbers with words, by where they were measured and of what.
Nothing is judged by them.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from probes.conflict.records import Interval
from probes.diagnosis.records import DiagnosisRecord
from probes.drift.measures import MEASURES
from probes.drift.records import DriftRecord, Number
from probes.records import Analysis, Estimate
from reports.compare.conflict import conflict_change, conflict_numbers
from reports.compare.records import Key, Kind, Shown
from reports.compare.settings import (
    Settings,
    conflict_settings,
    diagnosis_settings,
    drift_settings,
    sweep_settings,
)
from reports.load import Conflict, Results
from reports.transfer.words import metric_words, variant_words
from socialfusion.transfer.records import AblationRecord, Effect, TransferRecord

__all__ = ["KINDS", "Source", "absent_numbers", "shown_numbers"]

Place = tuple[str, tuple[str, ...], str]
"""Where, of which questions, and by which measure."""
Numbers = dict[Place, tuple[Interval | None, str]]
"""A number, None where it has no value, and what it comes to in a word."""


@dataclass(frozen=True, slots=True)
class Source:
    """How one kind of record is compared.

    Attributes:
        kind: Its name.
        members: All records of the kind in a folder, by key.
        name: Of a record, for people.
        numbers: Of a record.
        settings: Behind them.
    """

    kind: Kind
    members: Callable[[Results], Mapping[Key, Any]]
    name: Callable[[Any], str]
    numbers: Callable[[Any], Numbers]
    settings: Callable[[Any], Settings]

    def title(self, one: Any) -> str:
        """The kind and name of a record."""
        return f"{self.kind} of {self.name(one)}"


def shown_numbers(source: Source, one: Any, other: Any) -> Iterator[Shown]:
    """The numbers that two records of a kind both have.

    Args:
        source: Of the kind.
        one: From the first folder.
        other: From the second.

    Raises:
        CacheError: Scalar products of gradients are missing or damaged.
        DataError: They were changed after the run.
    """
    changes = conflict_change(one, other) if isinstance(one, Conflict) else {}
    second = source.numbers(other)
    for place, (number, word) in source.numbers(one).items():
        if place in second:
            now, other_word = second[place]
            yield Shown(
                kind=source.kind,
                name=source.name(one),
                where=place[0],
                questions=place[1],
                measure=place[2],
                first=number,
                second=now,
                change=changes.get(place),
                words=(word, other_word),
            )


def absent_numbers(source: Source, one: Any, other: Any) -> Iterator[str]:
    """That the second of two records lacks numbers of the first, if it does."""
    first, second = source.numbers(one), source.numbers(other)
    lacking = len(first.keys() - second.keys())
    if lacking:
        yield (
            f"{lacking} of {len(first)} numbers of the {source.title(one)}: the second does not "
            "have them"
        )


def _conflicts(results: Results) -> Mapping[Key, Conflict]:
    return {(one.name, ""): one for one in results.conflicts}


def _transfers(results: Results) -> Mapping[Key, TransferRecord]:
    return {("", one.name): one for one in results.trainings.transfers}


def _ablations(results: Results) -> Mapping[Key, AblationRecord]:
    return {("", one.name): one for one in results.trainings.ablations}


def _diagnoses(results: Results) -> Mapping[Key, DiagnosisRecord]:
    return {(one.pair.name, one.task.label): one for one in results.analyses.diagnose}


def _drifts(results: Results) -> Mapping[Key, DriftRecord]:
    return {(one.pair.name, one.task.label): one for one in results.analyses.drift}


def _name(record: Conflict | TransferRecord | AblationRecord) -> str:
    return record.name


def _analysis_name(record: Analysis) -> str:
    return f"{record.pair.name} on {record.task.label}"


def _transfer_numbers(record: TransferRecord) -> Numbers:
    """What training together changes, by variant and what was trained beside."""
    return {
        (f"{variant_words(variant)}, {beside}", *_asked(one)): _effect(one)
        for variant in record.variants
        for beside, effects in {
            "all together": variant.joint,
            **{f"with {task}": found for task, found in variant.pairwise.items()},
        }.items()
        for one in effects
    }


def _ablation_numbers(record: AblationRecord) -> Numbers:
    """What each changed setting changes."""
    return {
        (setting.label, *_asked(one)): _effect(one)
        for setting in record.ablated
        for one in setting.effects
    }


def _asked(one: Effect) -> tuple[tuple[str, ...], str]:
    return (one.question,), metric_words(one.metric)


def _effect(one: Effect) -> tuple[Interval, str]:
    return _interval(one.change), one.word


def _diagnosis_numbers(record: DiagnosisRecord) -> Numbers:
    """What is left of each question above chance, and the kind of loss."""
    return {
        ("", (f"{record.task.label}/{one.question}",), ""): (
            one.remains and _interval(one.remains),
            one.word,
        )
        for one in record.questions
    }


def _drift_numbers(record: DriftRecord) -> Numbers:
    """How alike both sides are at the declared block."""
    return {
        (
            "",
            (f"{record.task.label}/{one.question}",) if one.question else (),
            _measure(one.measure),
        ): (_interval(one.number), "")
        for one in record.similarities
        if one.block == record.block
    }


def _measure(name: str) -> str:
    """The measure for people; one that this version does not know keeps its name."""
    return MEASURES[name].label if name in MEASURES else name


def _interval(one: Estimate | Number) -> Interval:
    return Interval(value=one.value, low=one.low, high=one.high)


KINDS = (
    Source("diagnosis", _diagnoses, _analysis_name, _diagnosis_numbers, diagnosis_settings),
    Source("drift", _drifts, _analysis_name, _drift_numbers, drift_settings),
    Source(
        "conflict", _conflicts, _name, conflict_numbers, lambda one: conflict_settings(one.record)
    ),
    Source("transfer", _transfers, _name, _transfer_numbers, sweep_settings),
    Source("ablation", _ablations, _name, _ablation_numbers, sweep_settings),
)
"""All kinds, in the order in which they are shown."""
