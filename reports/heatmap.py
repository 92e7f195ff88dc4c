"""The map of deltas: blocks across, questions down, undecided cells hatched."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from reports.cells import Cell
from reports.names import metric_name
from reports.style import (
    DIVERGING,
    GLYPHS,
    GRID,
    INK,
    MUTED,
    drawable,
    figure_style,
    new_figure,
    save_figure,
    signed,
)

__all__ = ["colour_range", "heatmap_figure", "mapped_cells"]

HATCH = "////"
HEADING = 0.55  # rows above the first of a group


def mapped_cells(cells: Sequence[Cell]) -> list[Cell]:
    """All blocks of each question, with the metric and probe of its confirmatory cell."""
    declared = {
        (c.pair.name, c.label, c.comparison.metric, c.comparison.probe)
        for c in cells
        if c.comparison.confirmatory
    }
    return [
        c
        for c in cells
        if (c.pair.name, c.label, c.comparison.metric, c.comparison.probe) in declared
    ]


def colour_range(cells: Sequence[Cell], margin: float) -> float:
    """The delta at the end of the colour scale: the largest one, and at least twice the margin."""
    return float(
        np.ceil(max([2 * margin, 1.0, *(abs(c.comparison.delta.value) for c in cells)]))
    )


def heatmap_figure(cells: Sequence[Cell], stem: Path, notes: dict[str, str], end: float) -> Path:
    """Draw the deltas of one pair by block and question.

    Args:
        cells: Cells of one pair with one metric and probe a question.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.
        end: Delta at the ends of the colour scale, the same for all maps of a report.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    blocks = sorted({c.comparison.block for c in cells})
    column = {block: i for i, block in enumerate(blocks)}
    place, headings, bottom = _places(cells)
    with figure_style():
        figure = new_figure(3.1 + 0.66 * max(len(blocks), 6), 1.5 + 0.5 * bottom)
        axes = figure.subplots()
        for top in place.values():
            for i in range(len(blocks)):
                axes.add_patch(Rectangle((i, top), 1, 1, facecolor="white", edgecolor=GRID))
        for cell in sorted(cells, key=lambda c: c.comparison.confirmatory):
            _draw_cell(axes, column[cell.comparison.block], place[cell.label], cell, end)
        for heading, top in headings.items():
            axes.text(0, top - 0.09, heading, fontsize=8.5, fontweight="bold", va="bottom")
        _dress(axes, cells, place, bottom, blocks)
        bar = figure.colorbar(
            ScalarMappable(Normalize(-end, end), DIVERGING), ax=axes, pad=0.02, aspect=25
        )
        bar.set_label("delta (points, negative = worse)")
        bar.outline.set_visible(False)
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5, handlelength=1.6)
        return save_figure(figure, _data(cells), stem, notes)


def _places(cells: Sequence[Cell]) -> tuple[dict[str, float], dict[str, float], float]:
    """The top of each question's row, of each group's first row, and the bottom of the map."""
    place: dict[str, float] = {}
    headings: dict[str, float] = {}
    top = 0.0
    for social, heading in ((True, "Social questions"), (False, "Control questions")):
        labels = dict.fromkeys(c.label for c in cells if c.task.social == social)
        if labels:
            top += HEADING
            headings[heading] = top
        for label in labels:
            place[label] = top
            top += 1.0
    return place, headings, top


def _dress(
    axes: Axes, cells: Sequence[Cell], place: dict[str, float], bottom: float, blocks: list[int]
) -> None:
    """Title, ticks and limits."""
    metrics = {c.label: metric_name(c.comparison.metric) for c in cells}
    axes.set_xlim(-0.03, len(blocks) + 0.03)  # room for the frames at the edges
    axes.set_ylim(bottom + 0.03, 0)
    axes.set_xticks([i + 0.5 for i in range(len(blocks))], [str(block) for block in blocks])
    axes.set_yticks(
        [top + 0.5 for top in place.values()],
        [f"{drawable(label)}\n{drawable(metrics[label])}" for label in place],
    )
    axes.set_xlabel("block (0 is the first)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    pair = cells[0].pair
    axes.set_title(
        f"{drawable(pair.name)}: {drawable(pair.pre)} → {drawable(pair.post)}", fontsize=11
    )


def _draw_cell(axes: Axes, left: int, top: float, cell: Cell, end: float) -> None:
    """One delta: its colour, its number, the mark of its verdict, a frame if it was declared."""
    delta = cell.comparison.delta.value
    colour = DIVERGING(0.5 + 0.5 * delta / end)
    undecided = cell.verdict == "undecided"
    luminance = float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))
    ink = INK if luminance > 0.5 else "white"
    axes.add_patch(
        Rectangle(
            (left, top), 1, 1, facecolor=colour,
            edgecolor=(*to_rgb(ink), 0.45) if undecided else "white",
            linewidth=0 if undecided else 0.8, hatch=HATCH if undecided else None,
        )  # fmt: skip
    )
    if cell.comparison.confirmatory:
        axes.add_patch(
            Rectangle((left, top), 1, 1, fill=False, edgecolor="black", linewidth=2, zorder=4)
        )
    text = signed(delta) if undecided else f"{signed(delta)}\n{GLYPHS[cell.verdict]}"
    axes.text(
        left + 0.5, top + 0.5, text, ha="center", va="center", color=ink, fontsize=8, zorder=5,
        linespacing=1.1, path_effects=[withStroke(linewidth=3, foreground=colour)],
    )  # fmt: skip


def _legend() -> list[Patch]:
    """What hatch, marks and frame mean."""
    return [
        Patch(facecolor="white", edgecolor=MUTED, hatch=HATCH, label="undecided"),
        *(
            Line2D([], [], linestyle="none", marker=f"${GLYPHS[word]}$", color=INK, label=word)
            for word in ("degraded", "equivalent", "improved")
        ),
        Patch(facecolor="white", edgecolor="black", linewidth=2, label="declared beforehand"),
    ]


def _data(cells: Sequence[Cell]) -> pd.DataFrame:
    """The plotted numbers."""
    return pd.DataFrame(
        [
            {
                "question": c.label,
                "metric": c.comparison.metric,
                "block": c.comparison.block,
                "probe": c.comparison.probe,
                "delta": c.comparison.delta.value,
                "delta_low": c.comparison.delta.low,
                "delta_high": c.comparison.delta.high,
                "verdict": c.verdict,
                "confirmatory": c.comparison.confirmatory,
            }
            for c in cells
        ]
    )
