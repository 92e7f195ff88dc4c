"""The figure of tuning: the delta against the strength of the probe, one panel a question."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from probes.records import Robustness
from reports.style import (
    BAND,
    INK,
    MUTED,
    POST,
    PRE,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
    whole_ticks,
)
from reports.verdicts.cells import Cell

__all__ = ["Tuned", "tuning_figure"]

COLUMNS = 4  # most panels in a line
EDGE = 0.05  # height of the marks of the chosen strengths, as a share of the panel

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Tuned:
    """A declared cell and its tuning curve, which is not empty."""

    cell: Cell
    found: Robustness


def tuning_figure(tuned: Sequence[Tuned], stem: Path, notes: dict[str, str], margin: float) -> Path:
    """Draw the tuning curves of one pair.

    Args:
        tuned: Declared cells of one pair with their curves, one a panel.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.
        margin: Equivalence margin in points, drawn as a band.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    lines = ceil(len(tuned) / COLUMNS)
    columns = ceil(len(tuned) / lines)
    with figure_style():
        figure = new_figure(1.0 + 2.25 * max(columns, 3), 1.2 + 2.0 * lines)
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True)
        for ax, one in zip(axes.flat, tuned, strict=False):
            _draw_panel(ax, one, margin)
        for ax in axes.flat[len(tuned) :]:
            ax.set_axis_off()
        for ax in axes.flat[max(0, len(tuned) - columns) : len(tuned)]:
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("L2 strength")
        figure.supylabel("delta (points, negative = worse)", fontsize=9)
        headline(figure, tuned[0].cell.pair.name, "delta by strength of the probe")
        figure.legend(handles=_legend(margin), loc="outside lower center", ncols=3)
        return save_figure(figure, _data(tuned), stem, notes)


def _draw_panel(axes: Axes, one: Tuned, margin: float) -> None:
    """One question: margin, zero, the curve with its band, and what was chosen."""
    comparison, curve = one.cell.comparison, one.found.tuning
    strengths = np.array([point.strength for point in curve])
    low, value, high = (
        np.array([getattr(point.delta, end) for point in curve]) for end in ("low", "value", "high")
    )
    axes.axhspan(-margin, margin, color=BAND, zorder=0)
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1)
    axes.axhline(comparison.delta.value, color=MUTED, linestyle=":", zorder=1)
    axes.fill_between(strengths, low, high, color=INK, alpha=0.22, linewidth=0, zorder=2)
    axes.plot(strengths, value, color=INK, marker=".", zorder=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=5))
    axes.xaxis.set_major_formatter(FuncFormatter(_power))
    axes.xaxis.set_minor_locator(NullLocator())
    bottom = min(-1.5 * margin, -1.0, low.min())
    top = max(1.5 * margin, 1.0, high.max())
    room = 0.12 * (top - bottom)  # below the curve, for the marks
    axes.set_ylim(bottom - room, top + 0.05 * (top - bottom))
    # The mark of post is the smaller one and above: both show where the strengths are the same.
    for strength, look, size in (
        (comparison.strength_pre, PRE, 8),
        (comparison.strength_post, POST, 4),
    ):
        axes.plot(
            [strength], [EDGE], transform=axes.get_xaxis_transform(), linestyle="none",
            markeredgecolor=look["color"], markersize=size, clip_on=False, zorder=4, **look,
        )  # fmt: skip
    axes.grid(axis="y")
    whole_ticks(axes.yaxis)
    axes.yaxis.get_major_locator().set_params(nbins=6)
    axes.set_title(f"{drawable(one.cell.label)}\n{drawable(one.cell.metric)}", fontsize=9)


def _power(value: float, _: int) -> str:
    """A power of ten, written out since formulas are not parsed in figures."""
    return "10" + str(round(np.log10(value))).translate(SUPERSCRIPTS)


def _legend(margin: float) -> list[Line2D | Patch]:
    """What the marks mean."""
    return [
        Line2D([], [], color=INK, marker=".", label="one strength on both sides"),
        Patch(color=INK, alpha=0.22, label="95 % band"),
        Line2D([], [], color=MUTED, linestyle=":", label="declared delta"),
        *(
            Line2D([], [], linestyle="none", markeredgecolor=look["color"], label=label, **look)
            for label, look in (("chosen for pre", PRE), ("chosen for post", POST))
        ),
        Patch(color=BAND, label=f"within the margin of ±{margin:g} points"),
    ]


def _data(tuned: Sequence[Tuned]) -> pd.DataFrame:
    """The plotted numbers."""
    return pd.DataFrame(
        [
            {
                "question": one.cell.label,
                "metric": one.found.metric,
                "block": one.found.block,
                "strength": point.strength,
                "pre": point.pre,
                "post": point.post,
                "delta": point.delta.value,
                "delta_low": point.delta.low,
                "delta_high": point.delta.high,
                "declared_delta": one.cell.comparison.delta.value,
                "strength_pre": one.cell.comparison.strength_pre,
                "strength_post": one.cell.comparison.strength_post,
            }
            for one in tuned
            for point in one.found.tuning
        ]
    )
