"""Gradient conflict in full: the numbers, questions and signatures that are folded away."""

from collections.abc import Sequence

from probes.conflict.records import ConflictRecord, Interval
from reports.conflict_pairs import (
    WHOLE,
    Asked,
    cosine_interval,
    measured_on,
    own_sides,
    question_names,
    side_title,
    two_places,
)
from reports.formats import count, p_value
from reports.markdown import code, escape, fenced, table

__all__ = ["further_numbers", "questions_table", "sides_signatures"]

NONE = "–"


def further_numbers(record: ConflictRecord, pairs: Sequence[Asked]) -> str:
    """What the main table leaves out, side after side; swapped labels too, if measured."""
    rows = []
    for pair in pairs:
        for side in record.sides:
            one = measured_on(side).get((pair.key, WHOLE))
            if one is None:
                continue
            swapped = ", labels swapped" if side.labels == "swapped" else ""
            null = (
                NONE
                if one.null_low is None or one.null_high is None
                else f"{two_places(one.null_low)} to {two_places(one.null_high)}"
            )
            gcd = one.gcd
            rows.append(
                (
                    escape(pair.name),
                    escape(side_title(side)) + swapped,
                    NONE if gcd is None else two_places(gcd.value, sign=False),
                    two_places(one.raw, sign=False),
                    two_places(one.raw_of_means, sign=False),
                    NONE if one.cosine is None else escape(cosine_interval(one.cosine)),
                    null,
                    p_value(one.p),
                    escape(_share(one.in_conflict)),
                )
            )
    header = (
        "Questions", "Side", "Corrected GCD", "Raw GCD", "Of mean gradients", "Corrected cosine",
        "If questions were the same", "p", "Batches below 0",
    )  # fmt: skip
    legend = (
        "*Of mean gradients*: 1 − cosine of the gradients averaged over all batches. *If questions "
        "were the same*: 95 % of the corrected cosines when the gradients of the two questions are "
        "exchanged at random within batches; p says how often they then differ as much, so a small "
        "p means that the questions do not point the same way, not that they conflict."
    )
    return f"{legend}\n\n{table(header, rows, right=range(2, 9))}"


def questions_table(record: ConflictRecord) -> str:
    """Rows, heads and losses of each question."""
    names = question_names(record.questions)
    sides = own_sides(record)
    rows = []
    for one in record.questions:
        heads = [head for side in sides for head in side.heads if head.label == one.label]
        losses = [side.losses[one.label].value for side in sides if one.label in side.losses]
        rows.append(
            (
                escape(names[one.label]),
                "social" if one.social else "control",
                NONE if one.block is None else str(one.block),
                count(one.n),
                count(one.clusters),
                ", ".join(dict.fromkeys(escape(head.probe) for head in heads)) or NONE,
                " → ".join(f"{loss:.2f}" for loss in losses),
                code(one.rows_digest[:12]),
            )
        )
    header = (
        "Question", "Group", "Block", "Rows", "Clusters", "Head", "Loss (nats)", "Rows digest",
    )  # fmt: skip
    return table(header, rows, right=(2, 3, 4, 6))


def _share(found: Interval) -> str:
    """A share with its interval, in %."""
    ends = (found.value, found.low or 0.0, 1.0 if found.high is None else found.high)
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*(100 * end for end in ends))


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
