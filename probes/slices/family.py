"""Corrected p: all slices of one pair are an exploratory family, and so are the ways to slice."""

from collections.abc import Sequence

from probes.slices.records import SlicesRecord
from probes.statistics.differences import benjamini_hochberg

__all__ = ["Kind", "Place", "adjusted", "differing"]

Place = tuple[str, str, str, str]
"""Label of the task, question, attribute and value."""
Kind = tuple[str, str, str]
"""Label of the task, question and attribute."""


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


def differing(records: Sequence[SlicesRecord]) -> dict[Kind, float]:
    """The p that the slices of each kind are equal, adjusted likewise over all kinds of one pair.

    Args:
        records: Of one pair, one a task.
    """
    kinds = [
        (record.task.label, card.question, card.attribute)
        for record in records
        for card in record.attributes
    ]
    corrected = benjamini_hochberg([card.p for record in records for card in record.attributes])
    return dict(zip(kinds, map(float, corrected), strict=True))
