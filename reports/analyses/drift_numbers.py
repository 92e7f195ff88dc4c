"""Every measure of drift as one table, for the CSV beside the report."""

from collections.abc import Iterator, Sequence

import pandas as pd

from probes.drift.measures import MEASURES
from probes.drift.records import DriftRecord, Number

__all__ = ["drift_numbers"]


def drift_numbers(records: Sequence[DriftRecord]) -> pd.DataFrame:
    """All measures with their 95 % intervals, unrounded, one row a number.

    Columns beside the obvious: `of` is what is measured, `pre and post` for similarities, else
    `pre`, `post` or `change`; `unrelated` and `unrelated_best` are the mean and the most alike of
    shuffles of the rows of post; `halves_of_pre` is between two random halves of the features of
    pre, a scale for how alike one encoder is to itself; `first_half` and `second_half` are on
    either half of the clusters; `mixed_labels` is the mean over shuffles of the labels.
    """
    return pd.DataFrame([row for record in records for row in _rows(record)])


def _rows(record: DriftRecord) -> Iterator[dict[str, object]]:
    """Similarities first, then what each side is and how it changed."""
    for one in record.similarities:
        halves = {"halves_of_pre": one.halves}
        null = {"unrelated": one.null, "unrelated_best": one.null_best}
        place = _place(record, one.measure, one.question, one.block, one.n)
        yield place | {"of": "pre and post"} | _ends(one.number) | null | halves
    for one in record.shapes:
        place = _place(record, one.measure, one.question, one.block, one.n)
        for name, halves in (("pre", one.pre_halves), ("post", one.post_halves), ("change", None)):
            first, second = halves or (None, None)
            yield place | {"of": name} | _ends(getattr(one, name)) | {
                "first_half": first, "second_half": second, "mixed_labels": one.null
            }  # fmt: skip


def _place(
    record: DriftRecord, measure: str, question: str, block: int, n: int
) -> dict[str, object]:
    """What a number is of."""
    return {
        "pair": record.pair.name,
        "task": record.task.label,
        "signature": record.signature,
        "measure": MEASURES[measure].label,
        "question": question,
        "block": block,
        "n": n,
    }


def _ends(number: Number) -> dict[str, float]:
    return {"value": number.value, "low": number.low, "high": number.high}
