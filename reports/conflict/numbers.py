"""Gradient conflict in full: every number, and the questions and signatures behind them."""

from collections.abc import Sequence

import pandas as pd

from probes.conflict.records import ConflictRecord, Interval, PairNumbers
from reports.conflict.pairs import (
    WHOLE,
    Asked,
    measured_on,
    own_sides,
    side_title,
)
from reports.markdown import fenced

__all__ = ["pair_numbers", "question_numbers", "sides_signatures"]


def pair_numbers(record: ConflictRecord, pairs: Sequence[Asked]) -> pd.DataFrame:
    """Every number of every pair on all chosen parameters, side after side, unrounded."""
    rows = [
        {
            "questions": pair.name,
            "side": side_title(side),
            "labels": side.labels,
            "word": one.word,
            "raw": one.raw,
            "floor": one.floor,
            "of_means": one.raw_of_means,
            **_ends("cosine", one.cosine),
            **_ends("corrected_gcd", one.gcd),
            "norm_ratio": _norm_ratio(one, pair),
            **_ends("below_zero", one.in_conflict),
            "null_low": one.null_low,
            "null_high": one.null_high,
            "p": one.p,
        }
        for pair in pairs
        for side in record.sides
        if (one := measured_on(side).get((pair.key, WHOLE))) is not None
    ]
    return pd.DataFrame(rows)


def _ends(name: str, found: Interval | None) -> dict[str, float | None]:
    """A number and the ends of its interval as columns."""
    ends = (None, None, None) if found is None else (found.value, found.low, found.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))


def _norm_ratio(one: PairNumbers, pair: Asked) -> float | None:
    """Norm of the first question over that of the second, in the order of the name."""
    if one.norm_ratio is None:
        return None
    return one.norm_ratio.value if one.first == pair.first else 1 / one.norm_ratio.value


def question_numbers(record: ConflictRecord) -> pd.DataFrame:
    """Rows, heads and losses (nats) of each question, side after side."""
    return pd.DataFrame(
        [
            {
                "question": one.label,
                "group": "social" if one.social else "control",
                "block": one.block,
                "rows": one.n,
                "clusters": one.clusters,
                "rows_digest": one.rows_digest,
                "side": side_title(side),
                "head": ", ".join(head.probe for head in side.heads if head.label == one.label),
                "loss": side.losses[one.label].value if one.label in side.losses else None,
            }
            for one in record.questions
            for side in own_sides(record)
        ]
    )


def sides_signatures(record: ConflictRecord) -> str:
    """The line that pins all definitions, of every side."""
    return fenced(
        [
            line
            for side in record.sides
            for line in (
                f"{side_title(side)}{', labels swapped' if side.labels == 'swapped' else ''}",
                f"    {side.signature}",
            )
        ]
    )
