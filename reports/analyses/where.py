"""The section on where in the picture a label can be read, from one probe of single tokens."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from probes.slices.records import Region, TokenProbe, WhereRecord
from reports.analyses.where_figure import where_figure
from reports.formats import count, estimate, p_value, points, signed
from reports.markdown import escape, folded, table
from reports.names import file_stem
from reports.pictures import captioned

__all__ = ["region_table", "where_section"]

INTRODUCTION = (
    "One linear probe was fitted on single patch tokens, each with the label of its picture, and "
    "asked of every token of every test picture. A region is where a token lies: by the centre of "
    "its cell, in a box or in none. It is not what the token knows of: attention carries what is "
    "in the face to the background, so a token far from a person may tell of them, and the "
    "background may lose what the face lost. Exploratory, without verdicts."
)

MAPS = (
    "Left: mean delta of the accuracy of the token in each cell of the grid. Right, where there is "
    "a box: the same places relative to the box of each picture, which is drawn; people stand in "
    "other places, so this is the map that can be read. Hatched cells do not differ from zero "
    "after correction over the cells of the map; grey ones have tokens of fewer than ten clusters."
)


def where_section(records: Sequence[WhereRecord], figures: Path, notes: dict[str, str]) -> str:
    """The section of one pair as Markdown, without its heading; empty without records.

    Args:
        records: Of one pair, one a task.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNGs.
    """
    if not records:
        return ""
    header = [
        "Question", "Region", "Tokens a picture", "n", "Right before", "Right after",
        "Delta [95 % interval]", "p",
    ]  # fmt: skip
    own = [(record, one) for record in records for one in record.regions]
    rows = [
        [
            escape(_label(records, record, one.question)),
            escape(one.region),
            f"{one.tokens:.1f}",
            count(one.n),
            points(one.pre.value),
            points(one.post.value),
            escape(estimate(one.delta, delta=True)),
            p_value(one.p),
        ]
        for record, one in own
        if one.metric == "accuracy"
    ]
    parts = [INTRODUCTION]
    if rows:
        parts.append(table(header, rows, right=range(2, 8)))
    maps = [
        _shown(records, record, probe, figures, notes)
        for record in records
        for probe in record.probes
    ]
    if maps:
        parts.append(folded("Maps by question", "\n\n".join([MAPS, *maps])))
    if reasons := [
        f"- {escape(name)} ({escape(record.task.label)}): {escape(reason)}"
        for record in records
        for name, reason in record.undefined.items()
    ]:
        parts.append(folded("Without numbers", "\n".join(reasons)))
    return "\n\n".join(parts)


def region_table(records: Sequence[WhereRecord]) -> pd.DataFrame:
    """How often single tokens are right by region, before and after, as text."""
    return pd.DataFrame(
        [
            {
                "pair": record.pair.name,
                "question": _label(records, record, one.question),
                "block": str(record.block),
                "region": one.region,
                "tokens": f"{one.tokens:.1f}",
                "n": count(one.n),
                "metric": "accuracy" if one.metric == "accuracy" else "log-loss (nats x 100)",
                "pre": points(one.pre.value),
                "post": points(one.post.value),
                "delta [95 %]": estimate(one.delta, delta=True),
                "p": p_value(one.p),
            }
            for record in records
            for one in record.regions
        ],
        columns=[
            "pair", "question", "block", "region", "tokens", "n", "metric", "pre", "post",
            "delta [95 %]", "p",
        ],
    )  # fmt: skip


def _label(records: Sequence[WhereRecord], record: WhereRecord, question: str) -> str:
    """The question, with its task where another task asks the same or rows were listed."""
    tasks = {
        one.task.label for one in records for probe in one.probes if probe.question == question
    }
    named = len(tasks) > 1 or record.task.row_list
    return f"{question} ({record.task.label})" if named else question


def _shown(
    records: Sequence[WhereRecord],
    record: WhereRecord,
    probe: TokenProbe,
    figures: Path,
    notes: dict[str, str],
) -> str:
    """The figure of one question with its caption."""
    label = _label(records, record, probe.question)
    name = f"{record.pair.name}-{record.task.label}-{probe.question}"
    png, half = where_figure(
        record, probe.question, label, figures / file_stem("where", name), notes
    )
    box = next(
        (m.frame for m in record.maps if m.question == probe.question and m.frame != "picture"), ""
    )
    relative = f", and relative to the {escape(box)} box" if box else ""
    caption = (
        f"**Where {escape(label)} is read**, block {record.block}, grid of {record.grid[0]} x "
        f"{record.grid[1]}{relative}. The 95 % interval of a cell is ± {points(half)} points in "
        f"the median. {count(probe.predicted_pictures)} test rows, "
        f"{count(probe.predicted_tokens)} tokens; fitted on {count(probe.fitted_tokens)} tokens of "
        f"{count(probe.fitted_pictures)} rows."
    )
    return captioned(_alt(record, probe.question, label), png, caption)


def _alt(record: WhereRecord, question: str, label: str) -> str:
    """The figure in words."""
    told = "; ".join(
        f"{one.region} {signed(one.delta.value)} points"
        for one in _accuracies(record.regions, question)
    )
    regions = f": {told}" if told else ""
    return f"Maps of where {record.pair.name} changed on {label}{regions}."


def _accuracies(regions: Sequence[Region], question: str) -> list[Region]:
    return [one for one in regions if (one.question, one.metric) == (question, "accuracy")]
