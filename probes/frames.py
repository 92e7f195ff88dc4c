"""Result records as tidy tables: one row a number, with its interval in columns of its own."""

from collections.abc import Iterable
from typing import Any, TypeVar

import pandas as pd

from probes.conflict.records import ConflictRecord, Interval
from probes.diagnosis.records import DiagnosisRecord
from probes.drift.records import DriftRecord, Number
from probes.records import Estimate, RunRecord

__all__ = ["conflict_frame", "diagnosis_frame", "drift_frame", "probe_frame"]

AnyRecord = TypeVar("AnyRecord")


def probe_frame(records: RunRecord | Iterable[RunRecord]) -> pd.DataFrame:
    """Pre against post, one row a question, block, probe and metric, in points.

    Args:
        records: From `probe_pair`, one or several.

    Returns:
        Columns pair, task, question, block, probe, metric, higher_is_better, confirmatory; pre,
        post and delta, each with `_low` and `_high`; p, n, clusters, signature.
    """
    return pd.DataFrame(
        [
            {
                "pair": record.pair.name,
                "task": record.task.label,
                "question": one.question,
                "block": one.block,
                "probe": one.probe,
                "metric": one.metric,
                "higher_is_better": one.higher_is_better,
                "confirmatory": one.confirmatory,
                **_ends("pre", one.pre),
                **_ends("post", one.post),
                **_ends("delta", one.delta),
                "p": one.p,
                "n": one.n,
                "clusters": one.clusters,
                "signature": one.signature,
            }
            for record in _several(records)
            for one in record.comparisons
        ]
    )


def diagnosis_frame(records: DiagnosisRecord | Iterable[DiagnosisRecord]) -> pd.DataFrame:
    """The word for every question, with the linear delta and what is left of the score.

    Args:
        records: From `diagnose_pair`, one or several.

    Returns:
        Columns pair, task, question, block, metric, word, reasons; `remains` in per cent of the
        score above chance, with `_low` and `_high`.
    """
    return pd.DataFrame(
        [
            {
                "pair": record.pair.name,
                "task": record.task.label,
                "question": one.question,
                "block": one.block,
                "metric": one.metric,
                "word": one.word,
                "reasons": " ".join(one.reasons),
                **_ends("remains", one.remains),
            }
            for record in _several(records)
            for one in record.questions
        ]
    )


def drift_frame(records: DriftRecord | Iterable[DriftRecord]) -> pd.DataFrame:
    """How far features moved: one row a measure, block and `of`.

    Args:
        records: From `drift_pair`, one or several.

    Returns:
        Columns pair, task, block, question, measure, of (`both` for a similarity of the sides;
        `pre`, `post` and `change` for a fact about each), value, low, high, null, n.
    """
    rows = []
    for record in _several(records):
        name = {"pair": record.pair.name, "task": record.task.label}
        rows += [{**name, **_measured(one, "both", one.number)} for one in record.similarities]
        for one in record.shapes:
            rows += [
                {**name, **_measured(one, of, getattr(one, of))} for of in ("pre", "post", "change")
            ]
    return pd.DataFrame(rows)


def _measured(one: Any, of: str, number: Number) -> dict[str, Any]:
    return {
        "block": one.block,
        "question": one.question,
        "measure": one.measure,
        "of": of,
        "value": number.value,
        "low": number.low,
        "high": number.high,
        "null": one.null,
        "n": one.n,
    }


def conflict_frame(records: ConflictRecord | Iterable[ConflictRecord]) -> pd.DataFrame:
    """Two questions against each other, one row a side and part of the parameters.

    Args:
        records: From `conflict_pair`, one or several.

    Returns:
        Columns model, side, labels, part, first, second; `gcd`, the corrected degree, with `_low`
        and `_high`; raw, floor, in_conflict, p, word.
    """
    return pd.DataFrame(
        [
            {
                "model": record.model,
                "side": side.name,
                "labels": side.labels,
                "part": one.part,
                "first": one.first,
                "second": one.second,
                **_ends("gcd", one.gcd),
                "raw": one.raw,
                "floor": one.floor,
                "in_conflict": one.in_conflict.value,
                "p": one.p,
                "word": one.word,
            }
            for record in _several(records)
            for side in record.sides
            for one in side.pairs
        ]
    )


def _several(records: AnyRecord | Iterable[AnyRecord]) -> list[AnyRecord]:
    """One record as a list of one; records, which are pydantic models, can be iterated too."""
    return [records] if hasattr(records, "tool_version") else list(records)


def _ends(name: str, number: Estimate | Interval | None) -> dict[str, float | None]:
    """A number and its ends; all missing where there is none."""
    if number is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: number.value, f"{name}_low": number.low, f"{name}_high": number.high}
