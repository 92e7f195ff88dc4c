"""The section on drift: how far the features moved, beside what the probes lost.

Drift says changed, not lost: a rotation changes every feature and no linear probe notices. So the
table sets each measure beside its value for unrelated rows and beside the probe's delta on the same
task, where that was measured.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from probes.drift.measures import MEASURES
from probes.drift.records import Curve, DriftRecord, Shape, Similarity
from probes.records import RunRecord
from reports.analyses.drift_figure import drift_figure
from reports.analyses.drift_numbers import drift_numbers
from reports.csv_files import write_csv
from reports.formats import count, estimate
from reports.markdown import escape, folded, table
from reports.names import file_stem
from reports.pictures import captioned

__all__ = ["drift_section", "drift_table"]

NONE = "–"
TOP = 8
"""Components of which the table tells the share of the class signal, if there are as many."""
CHANGED = (
    "Drift says changed, not lost: a rotation changes every feature and no linear probe notices, "
    "and a concept can be lost with most features as they were. Similarities are 1 for the same "
    "features; in brackets what unrelated rows score. *Angle*: by Procrustes, between the features "
    "after the best rotation. *Between classes*: share of the variance that lies between the class "
    "means, less chance. *Class signal*: how much of that the first components hold. *Probe "
    "delta*: of the declared linear probe, in points."
)

FIGURES = (
    "Above: unbiased linear CKA between blocks; a diagonal of ones between pre and post would mean "
    "the same features up to rotation and scale. Below: how much of the variance, and of the class "
    "signal less chance, lies in the first components; a curve that rises late is a signal in the "
    "tail. Bars are 95 % intervals."
)


def drift_section(
    records: Sequence[DriftRecord],
    runs: Sequence[RunRecord],
    figures: Path,
    notes: dict[str, str],
) -> str:
    """The section of one pair as Markdown, without its heading; empty without records.

    Args:
        records: Drift of one pair, one record a task.
        runs: Probe runs; those of the same pair, task and rows lend their deltas.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNGs.
    """
    if not records:
        return ""
    numbers = figures / f"{file_stem('drift-measures', records[0].pair.name)}.csv"
    write_csv(drift_numbers(records), numbers)
    measures = (
        f"[All measures]({figures.name}/{numbers.name}) of every block, with intervals, unrelated "
        "rows, halves and signatures."
    )
    shown = [FIGURES, *(line for one in records for line in _drawn(one, figures, notes))]
    return "\n\n".join(
        (CHANGED, _overview(records, runs), measures, folded("Maps and curves", "\n\n".join(shown)))
    )


def _drawn(record: DriftRecord, figures: Path, notes: dict[str, str]) -> Iterator[str]:
    """The figure of one task with its caption, and what has no value."""
    stem = figures / file_stem("drift", f"{record.pair.name}-{record.task.label}")
    png = drift_figure(record, stem, notes | {"Signature": record.signature})
    yield captioned(_alt(record), png, _caption(record))
    if record.missing:
        lines = (
            f"- {escape(MEASURES[one.measure].label)}, block {one.block}"
            f"{f', {escape(one.question)}' if one.question else ''}: {escape(one.reason)}"
            for one in record.missing
        )
        yield "Without a value:\n\n" + "\n".join(lines)


def drift_table(records: Sequence[DriftRecord]) -> pd.DataFrame:
    """The main measures as text, one row for each question and block measured."""
    return pd.DataFrame(
        [
            {"pair": record.pair.name, "question": label, "block": block, "n": count(record.n)}
            | _cells(record, question, block)
            for record in records
            for question, label in _questions(records, record)
            for block in _blocks(record)
        ]
    )


def _overview(records: Sequence[DriftRecord], runs: Sequence[RunRecord]) -> str:
    """One row for each question at the declared block, the probe's delta last."""
    rows = [
        [
            escape(label),
            str(record.block),
            *(escape(cell) for cell in _cells(record, question, record.block).values()),
            escape(_delta(record, question, runs)),
        ]
        for record in records
        for question, label in _questions(records, record)
        if record.block in _blocks(record)
    ]
    header = ["Question", "Block", *_cells(records[0], "", -1), "Probe delta"]
    return table(header, rows, right=range(1, len(header))) if rows else ""


def _questions(records: Sequence[DriftRecord], record: DriftRecord) -> list[tuple[str, str]]:
    """Questions of a record with their labels: the task is named where it is needed."""
    asked = [question for one in records for question in one.task.metrics]
    several = len({one.pair.name for one in records})
    return [
        (
            question,
            f"{question} ({record.task.label})"
            if asked.count(question) > several or record.task.row_list
            else question,
        )
        for question in record.task.metrics
    ]


def _blocks(record: DriftRecord) -> list[int]:
    """The blocks measured."""
    found = {one.block for one in (*record.similarities, *record.shapes, *record.missing)}
    return sorted(found)


def _cells(record: DriftRecord, question: str, block: int) -> dict[str, str]:
    """The main measures of one question and block, by heading."""
    pairs = {(one.measure, one.question): one for one in record.similarities if one.block == block}
    sides = {(one.measure, one.question): one for one in record.shapes if one.block == block}
    curves = {(one.measure, one.question): one for one in record.curves if one.block == block}
    return {
        "Linear CKA": _pair_cell(pairs.get(("linear_cka", "")), 3),
        "Mutual neighbours": _pair_cell(pairs.get(("mutual_knn", "")), 3),
        "Angle (°)": _pair_cell(pairs.get(("procrustes_angle", "")), 1),
        "Class subspace": _pair_cell(pairs.get(("class_subspace", question)), 3),
        "Effective rank": _side_cell(sides.get(("effective_rank", "")), 1),
        "Between classes": _side_cell(sides.get(("class_variance", question)), 3),
        f"Class signal, top {TOP}": _curve_cell(curves.get(("class_top", question))),
    }


def _pair_cell(one: Similarity | None, digits: int) -> str:
    """A similarity with its null value."""
    if one is None:
        return NONE
    return f"{_plain(one.number.value, digits)} ({_plain(one.null, digits)})"


def _side_cell(one: Shape | None, digits: int) -> str:
    """Both sides of a fact."""
    if one is None:
        return NONE
    return f"{_plain(one.pre.value, digits)} → {_plain(one.post.value, digits)}"


def _curve_cell(one: Curve | None) -> str:
    """Both sides of the class signal in the first components."""
    if one is None or TOP not in one.components:
        return NONE
    place = one.components.index(TOP)
    return " → ".join(
        _plain(side[place].value, 2) if side else "no signal" for side in (one.pre, one.post)
    )


def _plain(value: float, digits: int) -> str:
    """A number with a true minus and no negative zero."""
    text = f"{value:.{digits}f}"
    return text.replace("-", "" if float(text) == 0 else "−")


def _delta(record: DriftRecord, question: str, runs: Sequence[RunRecord]) -> str:
    """The confirmatory probe delta of the same pair, task, rows and block; a dash without."""
    for run in runs:
        same = (run.pair.name, run.task.label) == (record.pair.name, record.task.label)
        if not same or _digests(run) != _digests(record):
            continue
        for one in run.comparisons:
            if one.confirmatory and (one.question, one.block) == (question, record.block):
                return estimate(one.delta, delta=True)
    return NONE


def _digests(record: RunRecord | DriftRecord) -> dict[str, str]:
    return {name: card.rows_digest for name, card in record.splits.items()}


def _alt(record: DriftRecord) -> str:
    """The figure in words."""
    found = [
        one for one in record.similarities
        if one.measure == "linear_cka" and one.block == record.block
    ]  # fmt: skip
    value = f"; at block {record.block} it is {_plain(found[0].number.value, 2)}" if found else ""
    return (
        f"Linear CKA of {record.pair.name} on {record.task.label} between all blocks of both "
        f"sides{value}, and running shares of variance and class signal over principal components."
    )


def _caption(record: DriftRecord) -> str:
    """What the figure shows, on which rows."""
    left = sum(record.left_out.values())
    capped = (
        f" (maps: a random {count(record.n_capped)} of them)" if record.n_capped < record.n else ""
    )
    without = f", {count(left)} left out without a box" if left else ""
    same = (
        f" Features of block {', '.join(map(str, record.identical))} are the same bit for bit."
        if record.identical
        else ""
    )
    return (
        f"**Drift on {escape(record.task.label)}.** {count(record.n)} rows of "
        f"{escape(' and '.join(record.measured))}{capped}{without}.{same}"
    )
