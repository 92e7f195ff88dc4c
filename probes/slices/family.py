"""Corrected p of slices: all slices of one pair are one exploratory family."""

from collections.abc import Sequence

from probes.slices.records import SlicesRecord
from probes.statistics.differences import benjamini_hochberg

__all__ = ["Place", "adjusted"]

Place = tuple[str, str, str, str]
"""Label of the task, question, attribute and value."""


def adjusted(records: Sequence[SlicesRecord]) -> dict[Place, float]:
    """The p of each slice of one pair, adjusted by Benjamini and Hochberg over all of them.

    Args:
        records: Of one pair, one a task.
    """
    places = [
        (record.task.label, one.question, one.attribute, one.value)
        for record in records
        for one in record.slices
    ]
    corrected = benjamini_hochberg([one.p for record in records for one in record.slices])
    return dict(zip(places, map(float, corrected), strict=True))
