"""The section on slices: on which rows the loss is largest, and how far that is luck.

Slices explore. Their p are corrected over all slices of a pair (Benjamini-Hochberg), whether the
slices of one kind differ at all is tested first, and the worst of them is told by its shrunken
delta.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from probes.slices.family import Kind, adjusted, differing
from probes.slices.records import AttributeCard, Slice, SlicesRecord
from reports.analyses.slices_figure import forest_figure
from reports.formats import count, estimate, p_value, points, signed
from reports.markdown import escape, folded, table
from reports.names import file_stem
from reports.pictures import captioned

__all__ = ["attribute_table", "slice_table", "slices_section"]

ALPHA = 0.05
NONE = "–"
INTRODUCTION = (
    "The predictions of the declared comparisons, split by class, by the size of boxes and by what "
    "else is known of the rows. Slices explore and carry no verdict. Of many noisy deltas the "
    "lowest is low by luck too, so the worst is told by its shrunken delta, drawn towards the mean "
    "of its kind as far as the spread between slices is noise (random effects, tau² by Paule and "
    "Mandel); its interval allows for its having been picked."
)
FIGURES = (
    "Circles are the delta of a slice's rows with its 95 % "
    "interval, filled where it differs from zero after correction over all slices of the pair; "
    "diamonds are the same shrunken towards the mean of its kind. The dashed line is the delta of "
    "all rows. A triangle marks the worst of a kind whose slices differ. The numbers beside a "
    "figure are of every slice."
)


def slices_section(records: Sequence[SlicesRecord], figures: Path, notes: dict[str, str]) -> str:
    """The section of one pair as Markdown, without its heading; empty without records.

    Args:
        records: Slices of one pair, one record a task.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNGs.
    """
    if not records:
        return ""
    corrected, differ = adjusted(records), differing(records)
    labels = _labels(records)
    said: list[str] = []
    drawn: list[str] = []
    for record in records:
        for question in record.blocks:
            label = labels[record.task.label, question]
            said.append(f"- {_sentence(record, question, label, differ)}")
            if not any(one.question == question for one in record.slices):
                continue
            name = f"{record.pair.name}-{record.task.label}-{question}"
            stem = figures / file_stem("slices", name)
            uneven = {
                card.attribute: card.worst
                for card in record.attributes
                if card.question == question and differ[_place(record, card)] <= ALPHA
            }
            png = forest_figure(record, question, label, corrected, uneven, stem, notes)
            caption = f"**Slices of {escape(label)}**, block {record.blocks[question]}."
            drawn.append(captioned(_alt(record, question, label), png, caption))
    parts = [INTRODUCTION, "\n".join(said)]
    if drawn:
        parts.append(folded("Every slice, drawn", "\n\n".join([FIGURES, *drawn])))
    if refused := _refused(records, labels):
        parts.append(folded("Slices without numbers", refused))
    return "\n\n".join(parts)


def attribute_table(records: Sequence[SlicesRecord]) -> pd.DataFrame:
    """How much the slices of each kind differ and the worst of each, as text.

    Args:
        records: Of one or several pairs; p are corrected within each pair.
    """
    labels = _labels(records)
    rows = []
    for record in records:
        differ = differing([one for one in records if one.pair.name == record.pair.name])
        for card in record.attributes:
            worst = _worst(record, card)
            rows.append(
                {
                    "pair": record.pair.name,
                    "question": labels[record.task.label, card.question],
                    "sliced by": card.attribute,
                    "slices": str(card.slices),
                    "mean": signed(card.mean),
                    "spread": points(card.spread),
                    "BH p (differ)": p_value(differ[_place(record, card)]),
                    "worst": card.worst,
                    "n": count(worst.n),
                    "its delta [95 %]": estimate(worst.delta, delta=True),
                    "shrunken [95 %]": estimate(worst.shrunken, delta=True),
                    "P(worst)": f"{card.p_worst:.2f}",
                }
            )
    return pd.DataFrame(rows)


def slice_table(records: Sequence[SlicesRecord]) -> pd.DataFrame:
    """Every slice with numbers, as text.

    Args:
        records: Of one or several pairs; p are corrected within each pair.
    """
    labels = _labels(records)
    rows = []
    for record in records:
        corrected = adjusted([one for one in records if one.pair.name == record.pair.name])
        for one in record.slices:
            place = (record.task.label, one.question, one.attribute, one.value)
            rows.append(
                {
                    "pair": record.pair.name,
                    "question": labels[record.task.label, one.question],
                    "sliced by": one.attribute,
                    "slice": one.value + _bounds(one),
                    "metric": one.metric,
                    "n": count(one.n),
                    "clusters": count(one.clusters),
                    "pre": points(one.pre.value),
                    "post": points(one.post.value),
                    "delta [95 %]": estimate(one.delta, delta=True),
                    "shrunken": NONE if one.shrunken is None else signed(one.shrunken.value),
                    "BH p": p_value(corrected[place]),
                }
            )
    return pd.DataFrame(rows)


def _bounds(one: Slice) -> str:
    """The areas of the boxes in a slice, as percentages of the picture."""
    if one.bounds is None:
        return ""
    low, high = (f"{100 * value:.1f}" for value in one.bounds)
    return f" ({low} to {high} %)"


def _labels(records: Sequence[SlicesRecord]) -> dict[tuple[str, str], str]:
    """By (label of the task, question): the question, with its task where that is needed."""
    asked = {(one.task.label, question) for one in records for question in one.blocks}
    listed = {one.task.label: bool(one.task.row_list) for one in records}
    questions = [question for _, question in asked]
    return {
        (task, question): f"{question} ({task})"
        if questions.count(question) > 1 or listed[task]
        else question
        for task, question in asked
    }


def _place(record: SlicesRecord, card: AttributeCard) -> Kind:
    return (record.task.label, card.question, card.attribute)


def _worst(record: SlicesRecord, card: AttributeCard) -> Slice:
    """The slice that a card names."""
    (found,) = (
        one
        for one in record.slices
        if (one.question, one.attribute, one.value) == (card.question, card.attribute, card.worst)
    )
    return found


def _sentence(record: SlicesRecord, question: str, label: str, differ: dict[Kind, float]) -> str:
    """Whether the loss is spread evenly, and where it is worst."""
    cards = [card for card in record.attributes if card.question == question]
    overall = f"{escape(estimate(record.overall[question], delta=True))} points over all rows"
    if not cards:
        return f"**{escape(label)}**: {overall}; no two slices of one kind have numbers."
    uneven = [card for card in cards if differ[_place(record, card)] <= ALPHA]
    tried = escape(", ".join(card.attribute for card in cards))
    if not uneven:
        return (
            f"**{escape(label)}**: {overall}. No split shows slices that differ ({tried}; "
            f"corrected p above {ALPHA})."
        )
    uneven.sort(key=lambda card: -card.spread)
    told = [_told(record, card, differ[_place(record, card)]) for card in uneven]
    even = [card.attribute for card in cards if card not in uneven]
    rest = f" By {escape(', '.join(even))} they are not shown to differ." if even else ""
    return f"**{escape(label)}**: {overall}. {' '.join(told)}{rest}"


def _told(record: SlicesRecord, card: AttributeCard, p: float) -> str:
    """One kind whose slices differ."""
    worst = _worst(record, card)
    return (
        f"Slices differ by {escape(card.attribute)} (spread {points(card.spread)} points, "
        f"corrected p {escape(p_value(p))}): the worst is {escape(card.worst)} with "
        f"{escape(estimate(worst.shrunken, delta=True))} shrunken, "
        f"{signed(worst.delta.value)} as measured (n = {count(worst.n)}; the worst with "
        f"probability {card.p_worst:.2f})."
    )


def _alt(record: SlicesRecord, question: str, label: str) -> str:
    """The figure in words."""
    drawn = [one for one in record.slices if one.question == question]
    low = min(drawn, key=lambda one: one.delta.value)
    return (
        f"Delta of {record.pair.name} on {label} by slice; the lowest measured is "
        f"{signed(low.delta.value)} points for {low.attribute} = {low.value}."
    )


def _refused(records: Sequence[SlicesRecord], labels: dict[tuple[str, str], str]) -> str:
    """The slices without numbers, with the reason."""
    rows = [
        (
            escape(labels[record.task.label, one.question]),
            escape(one.attribute),
            escape(one.value),
            count(one.n),
            escape(one.reason),
        )
        for record in records
        for one in record.refused
    ]
    header = ("Question", "Sliced by", "Slice", "n", "Why")
    return table(header, rows, right=(3,)) if rows else ""
