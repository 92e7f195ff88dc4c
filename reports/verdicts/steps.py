"""The figure of deltas against training steps, one panel a question.

Steps stand side by side in their order: where the run ends is not known from its checkpoints.
"""

from math import ceil
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reports.style import (
    BAND,
    INK,
    MUTED,
    VERDICT_LOOKS,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
    whole_ticks,
)

__all__ = ["steps_figure"]


def steps_figure(table: pd.DataFrame, stem: Path, notes: dict[str, str], margin: float) -> Path:
    """Draw the deltas of one training run's checkpoints.

    Args:
        table: Rows of `reports.verdicts.tables.steps_table` with one base.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.
        margin: Equivalence margin in points, drawn as a band.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    social = table[table["group"] == "social"]
    control = table[table["group"] == "control"]
    panels = [
        (group, question, rows)
        for group, part in (("social", social), ("control", control))
        for question, rows in part.groupby("question", sort=False)
    ]
    lines = ceil(len(panels) / 4)
    columns = ceil(len(panels) / lines)
    low = min(-1.0, -1.5 * margin, float(table["delta_low"].min()))
    high = max(1.0, 1.5 * margin, float(table["delta_high"].max()))
    with figure_style():
        figure = new_figure(1.0 + 2.25 * max(columns, 3), 1.1 + 1.9 * lines)
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for ax, (group, question, rows) in zip(axes.flat, panels, strict=False):
            _draw_panel(ax, rows, margin)
            ax.set_title(
                f"{drawable(str(question))} ({group})\n{rows['metric'].iloc[0]}", fontsize=9
            )
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()
        for ax in axes.flat[max(0, len(panels) - columns) : len(panels)]:
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("training step")
        names = {0: "0"} | dict(zip(table["place"], table["step"], strict=True))
        axes[0, 0].set_xticks(list(names), list(names.values()))
        axes[0, 0].set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        whole_ticks(axes[0, 0].yaxis)
        figure.supylabel("delta (points, negative = worse)", fontsize=9)
        headline(figure, str(table["base"].iloc[0]), "delta against training step")
        figure.legend(handles=_legend(table, margin), loc="outside lower center", ncols=5)
        return save_figure(figure, table, stem, notes)


def _draw_panel(axes: Axes, rows: pd.DataFrame, margin: float) -> None:
    """One question: margin, zero, the deltas with their intervals, marked by verdict."""
    axes.axhspan(-margin, margin, color=BAND, zorder=0)
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1)
    axes.plot([0, *rows["place"]], [0, *rows["delta"]], color=MUTED, linewidth=1, zorder=2)
    for row in rows.itertuples():
        look = VERDICT_LOOKS[row.verdict]
        axes.plot([row.place] * 2, [row.delta_low, row.delta_high], color=look["color"], zorder=3)
        axes.plot([row.place], [row.delta], markeredgecolor=look["color"], zorder=4, **look)
    axes.grid(axis="y")
    axes.margins(x=0.08)


def _legend(table: pd.DataFrame, margin: float) -> list[Line2D | Patch]:
    """The verdicts that occur, and the margin."""
    verdicts = [word for word in VERDICT_LOOKS if word in set(table["verdict"])]
    return [
        *(
            Line2D([], [], linestyle="none", label=word,
                   markeredgecolor=VERDICT_LOOKS[word]["color"], **VERDICT_LOOKS[word])
            for word in verdicts
        ),
        Patch(color=BAND, label=f"within the margin of ±{margin:g} points"),
    ]  # fmt: skip
