"""The section on ablations: what each setting of the trained model is worth."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from reports.csv_files import write_csv
from reports.formats import count, points
from reports.markdown import code, escape, table
from reports.names import file_stem
from reports.pictures import captioned
from reports.transfer.change_figure import change_figure
from reports.transfer.numbers import ablation_numbers
from reports.transfer.words import (
    capital,
    certain,
    change_text,
    declared,
    key_of,
    metric_cell,
    model_words,
    question_words,
    seeds_words,
)
from socialfusion.transfer.records import AblationRecord, Effect, Setting

__all__ = ["ablation_section", "ablation_sentences"]

NONE = "–"
AXIS = "changed less reference (points, negative = worse)"


def ablation_sentences(record: AblationRecord) -> str:
    """What each changed setting does to the declared metrics, in sentences; as Markdown."""
    said = [
        f"With {escape(one.label)} in place of {escape(record.reference)}: {_counted(one)}."
        for one in record.ablated
    ]
    return " ".join(said)


def _counted(setting: Setting) -> str:
    """How many declared metrics change, and how many with an interval that says so."""
    effects = declared(setting.effects)
    if not effects:
        return "no declared metric has a value"
    sure = [one for one in effects if certain(one)]
    better, worse = (
        (
            sum((one.change.value > 0) == up and one.change.value != 0 for one in effects),
            sum((one.change.value > 0) == up for one in sure),
        )
        for up in (True, False)
    )
    return (
        f"{worse[0]} of {len(effects)} declared metrics are read worse ({worse[1]} with an "
        f"interval below 0), {better[0]} better ({better[1]} with one above 0)"
    )


def ablation_section(record: AblationRecord, figures: Path, notes: dict[str, str]) -> str:
    """The section of one record as Markdown, without its heading.

    Args:
        record: From `sdiag ablate`.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNG; their signature is that of the record.
    """
    notes = notes | {"Signature": record.signature}
    model, tasks = model_words(record.settings), record.settings.tasks
    parts = [
        f"Reference: {escape(model.rstrip(','))}, {escape(record.reference)}, trained on "
        f"{len(tasks)} task{'s' * (len(tasks) > 1)}, with {count(record.trained)} trained numbers; "
        f"{escape(seeds_words(record.seeds))} Changes are in points, errors flipped, with their "
        "95 % intervals.",
        _table(record),
    ]
    panels = {capital(one.label): declared(one.effects) for one in record.ablated}
    panels = {title: effects for title, effects in panels.items() if effects}
    if panels:
        png = change_figure(
            panels, (record.name, f"against {record.reference}"), AXIS,
            figures / file_stem("ablation", record.name), notes, margin=record.margin,
        )  # fmt: skip
        counts = "; ".join(f"{one.label}: {_counted(one)}" for one in record.ablated)
        shown = captioned(
            f"Change of each declared metric against {record.reference}. {counts}.",
            png,
            "**One setting changed.** The declared metric of each question with its 95 % "
            "interval; the ticks are single training seeds.",
        )
        parts.append(shown)
    parts += _undefined(record.ablated)
    numbers = figures / f"{file_stem('ablation-numbers', record.name)}.csv"
    write_csv(ablation_numbers(record), numbers)
    parts.append(
        f"[Every metric]({figures.name}/{numbers.name}), with p and each seed. Signature: "
        f"{code(record.signature)}"
    )
    return "\n\n".join(parts)


def _table(record: AblationRecord) -> str:
    """Declared metrics by setting: the reference, then the changes."""
    by_key = [{key_of(one): one for one in declared(each.effects)} for each in record.ablated]
    first: dict[tuple[str, str], Effect] = {}
    for found in reversed(by_key):
        first |= found
    names = question_words(question for question, _ in first)
    rows = [
        (
            escape(names[question]),
            escape(metric_cell(metric)),
            points(first[question, metric].before),
            *(
                change_text(found[question, metric]) if (question, metric) in found else NONE
                for found in by_key
            ),
        )
        for question, metric in first
    ]
    heads = [
        f"{escape(capital(one.label))} ({count(one.trained)} trained)" for one in record.ablated
    ]
    header = ("Question", "Metric", f"Reference: {escape(record.reference)}", *heads)
    return table(header, rows, right=(2,))


def _undefined(ablated: Sequence[Setting]) -> Iterator[str]:
    """What has no value, and why."""
    lines = [
        f"- Without a value, {escape(each.label)}: {escape(what)}, {escape(why)}"
        for each in ablated
        for what, why in each.undefined.items()
    ]
    if lines:
        yield "\n".join(lines)
