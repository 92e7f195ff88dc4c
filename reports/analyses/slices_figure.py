"""The forest of slices: each slice's delta with its interval, and what shrinkage leaves of it."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from probes.records import Estimate
from probes.slices.cuts import CLASS
from probes.slices.family import Place
from probes.slices.records import Slice, SlicesRecord
from reports.formats import count, signed
from reports.style import (
    GRID,
    INK,
    MUTED,
    POST,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
    whole_ticks,
)

__all__ = ["forest_figure"]

ALPHA = 0.05
MOST = 40
"""Slices of one kind that are drawn; of more, those with the lowest shrunken deltas."""
ROW = 0.23  # inches a line
GLYPH = "▼"


def forest_figure(
    record: SlicesRecord,
    question: str,
    label: str,
    corrected: Mapping[Place, float],
    worst: Mapping[str, str],
    stem: Path,
    notes: dict[str, str],
) -> Path:
    """Draw the slices of one question.

    Args:
        record: Slices of one run.
        question: One that has slices.
        label: The question as people read it.
        corrected: Corrected p of each slice (`probes.slices.family.adjusted`).
        worst: The slice to mark, by attribute, of those whose slices differ.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    own = [one for one in record.slices if one.question == question]
    groups = [(name, list(part)) for name, part in groupby(own, key=lambda one: one.attribute)]
    drawn = [(name, _lowest(part), len(part)) for name, part in groups]
    overall = record.overall[question]
    lines = sum(len(part) + 1.2 for _, part, _ in drawn)
    with figure_style():
        figure = new_figure(7.4, 1.35 + ROW * lines)
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
        axes.axvspan(overall.low, overall.high, color=GRID, alpha=0.6, linewidth=0, zorder=0)
        axes.axvline(overall.value, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1)
        y, names = 0.0, []
        places: list[float] = []
        shown: list[Slice] = []
        for attribute, part, total in drawn:
            few = f", {len(part)} lowest of {total}" if len(part) < total else ""
            recall = " (recall)" if attribute == CLASS else ""
            heading = f"{drawable(attribute)}{recall}{few}"
            axes.text(
                -0.01, y, heading, transform=axes.get_yaxis_transform(),
                ha="right", va="center", fontweight="bold", fontsize=8.5,
            )  # fmt: skip
            for one in part:
                y += 1
                mark = f"{GLYPH} " if worst.get(attribute) == one.value else ""
                places.append(y)
                shown.append(one)
                names.append(f"{mark}{drawable(one.value)}")
            y += 1.2
        task = record.task.label
        sure = [corrected[task, one.question, one.attribute, one.value] <= ALPHA for one in shown]
        _draw(axes, np.array(places), shown, np.array(sure, dtype=bool))
        for x, text in ((1.08, "delta"), (1.17, "n")):
            axes.text(
                x, 0, text, transform=axes.get_yaxis_transform(), va="center", ha="right",
                fontsize=8, color=MUTED,
            )  # fmt: skip
        axes.set_ylim(y - 0.5, -0.8)
        axes.set_yticks(places, names, fontsize=8.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        whole_ticks(axes.xaxis)
        axes.set_xlabel("delta (points, negative = worse)")
        headline(figure, record.pair.name, f"{drawable(label)} by slice")
        figure.legend(handles=_legend(marked=bool(worst)), loc="outside lower center", ncols=2)
        return save_figure(figure, _data(own, corrected, task), stem, notes)


def _lowest(part: list[Slice]) -> list[Slice]:
    """At most `MOST` slices in their order, those that are worst after shrinkage."""
    if len(part) <= MOST:
        return part
    kept = sorted(part, key=lambda one: one.shrunken.value)[:MOST]
    return [one for one in part if one in kept]


def _draw(
    axes: Axes, places: Float64[np.ndarray, " m"], shown: list[Slice], sure: Bool[np.ndarray, " m"]
) -> None:
    """The deltas as measured above, the shrunken ones below; deltas and rows at the right."""
    filled = np.where(sure, MUTED, "white").tolist()
    measured = [one.delta for one in shown]
    _intervals(axes, places - 0.13, measured, color=MUTED, linewidth=1.1)
    axes.scatter(
        [one.value for one in measured], places - 0.13, s=4.5**2, c=filled, edgecolors=MUTED,
        zorder=4,
    )  # fmt: skip
    has = [i for i, one in enumerate(shown) if one.shrunken is not None]
    shrunken = [shown[i].shrunken for i in has]
    colour = POST["color"]
    _intervals(axes, places[has] + 0.2, shrunken, color=colour, linewidth=1.6)
    axes.scatter(
        [one.value for one in shrunken], places[has] + 0.2, s=3.6**2, marker="D", color=colour,
        zorder=4,
    )  # fmt: skip
    for y, one in zip(places, shown, strict=True):
        for x, text in ((1.08, signed(one.delta.value)), (1.17, count(one.n))):
            axes.text(
                x, y, text, transform=axes.get_yaxis_transform(), va="center", ha="right",
                fontsize=8,
            )  # fmt: skip


def _intervals(
    axes: Axes, places: Float64[np.ndarray, " m"], found: Sequence[Estimate], **look: object
) -> None:
    """Horizontal bars from low to high."""
    axes.hlines(places, [one.low for one in found], [one.high for one in found], zorder=2, **look)


def _legend(*, marked: bool) -> list[Line2D]:
    """What the marks mean."""
    colour = POST["color"]
    mark = Line2D([], [], color=INK, marker="v", markersize=5.5, linestyle="none",
                  label="worst of a kind whose slices differ")  # fmt: skip
    return [
        Line2D([], [], color=MUTED, marker="o", markerfacecolor=MUTED, markersize=5,
               label="as measured, not zero after correction"),
        Line2D([], [], color=MUTED, marker="o", markerfacecolor="white", markersize=5,
               label="as measured"),
        Line2D([], [], color=colour, marker="D", markersize=4, label="shrunken to its kind"),
        Line2D([], [], color=MUTED, linestyle=(0, (4, 2)), label="all rows, with interval"),
        *([mark] if marked else []),
    ]  # fmt: skip


def _data(own: list[Slice], corrected: Mapping[Place, float], task: str) -> pd.DataFrame:
    """The plotted numbers."""
    rows = []
    for one in own:
        shrunken = one.shrunken
        rows.append(
            {
                "question": one.question,
                "attribute": one.attribute,
                "slice": one.value,
                "metric": one.metric,
                "n": one.n,
                "clusters": one.clusters,
                "pre": one.pre.value,
                "post": one.post.value,
                "delta": one.delta.value,
                "delta_low": one.delta.low,
                "delta_high": one.delta.high,
                "p": one.p,
                "p_adjusted": corrected[task, one.question, one.attribute, one.value],
                "shrunken": None if shrunken is None else shrunken.value,
                "shrunken_low": None if shrunken is None else shrunken.low,
                "shrunken_high": None if shrunken is None else shrunken.high,
            }
        )
    return pd.DataFrame(rows)
