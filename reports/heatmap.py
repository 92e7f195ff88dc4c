"""The map of deltas: questions across, blocks upwards, undecided cells hatched."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch, Rectangle
from matplotlib.path import Path as Path2D
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath

from reports.formats import GLYPHS, signed
from reports.style import (
    DIVERGING,
    GRID,
    INK,
    MUTED,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
    whole_ticks,
)
from reports.verdicts.cells import Cell

__all__ = ["colour_range", "heatmap_figure", "mapped_cells"]

HATCH = "////"
COLUMN, ROW = 0.92, 0.34  # inches a question and a block
GAP = 0.25  # columns between the groups
LETTERS = 13  # letters on a line under a column


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
    return float(np.ceil(max([2 * margin, 1.0, *(abs(c.comparison.delta.value) for c in cells)])))


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
    row = {block: i for i, block in enumerate(blocks)}
    place, headings, right = _places(cells)
    with figure_style():
        width = 1.0 + COLUMN * max(right, 6)
        figure = new_figure(width, 2.5 + ROW * max(len(blocks), 3))
        axes = figure.subplots()
        for left in place.values():
            for i in range(len(blocks)):
                axes.add_patch(Rectangle((left, i), 1, 1, facecolor="white", edgecolor=GRID))
        for cell in sorted(cells, key=lambda c: c.comparison.confirmatory):
            _draw_cell(axes, place[cell.label], float(row[cell.comparison.block]), cell, end)
        for heading, left in headings.items():
            axes.annotate(
                heading, (left, len(blocks)), (0, 6), textcoords="offset points",
                fontweight="bold", va="bottom",
            )  # fmt: skip
        _dress(axes, cells, place, right, blocks)
        pair = cells[0].pair
        headline(figure, pair.name, f"{drawable(pair.pre)} → {drawable(pair.post)}")
        bar = figure.colorbar(
            ScalarMappable(Normalize(-end, end), DIVERGING),
            ax=axes, location="bottom", pad=0.03, fraction=0.05, aspect=45, shrink=0.7,
        )  # fmt: skip
        bar.set_label("delta (points, negative = worse)")
        bar.outline.set_visible(False)
        whole_ticks(bar.ax.xaxis)
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5, handlelength=1.6)
        return save_figure(figure, _data(cells), stem, notes)


def _places(cells: Sequence[Cell]) -> tuple[dict[str, float], dict[str, float], float]:
    """The left of each question's column, of each group's first column, and the map's right."""
    place: dict[str, float] = {}
    headings: dict[str, float] = {}
    left = 0.0
    for social, heading in ((True, "Social questions"), (False, "Control questions")):
        labels = dict.fromkeys(c.label for c in cells if c.task.social == social)
        if labels:
            left += GAP if place else 0.0
            headings[heading] = left
        for label in labels:
            place[label] = left
            left += 1.0
    return place, headings, left


def _dress(
    axes: Axes, cells: Sequence[Cell], place: dict[str, float], right: float, blocks: list[int]
) -> None:
    """Ticks and limits: the first block at the bottom, questions and metrics under the map."""
    metrics = {c.label: c.metric for c in cells}
    axes.set_xlim(-0.02, right + 0.02)  # room for the frames at the edges
    axes.set_ylim(-0.04, len(blocks) + 0.04)
    axes.set_yticks([i + 0.5 for i in range(len(blocks))], [str(block) for block in blocks])
    axes.set_xticks(
        [left + 0.5 for left in place.values()],
        [
            f"{textwrap.fill(drawable(label), LETTERS)}\n"
            f"{textwrap.fill(drawable(metrics[label]), LETTERS)}"
            for label in place
        ],
        fontsize=8.5,
    )
    axes.set_ylabel("block")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_cell(axes: Axes, left: float, bottom: float, cell: Cell, end: float) -> None:
    """One delta: its colour, its number, the mark of its verdict, a frame if it was declared."""
    delta = cell.comparison.delta.value
    colour = DIVERGING(0.5 + 0.5 * delta / end)
    undecided = cell.verdict == "undecided"
    luminance = float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))
    ink = INK if luminance > 0.5 else "white"
    axes.add_patch(
        Rectangle(
            (left, bottom),
            1,
            1,
            facecolor=colour,
            edgecolor=(*to_rgb(ink), 0.45) if undecided else "white",
            linewidth=0 if undecided else 0.8,
            hatch=HATCH if undecided else None,
        )
    )
    if cell.comparison.confirmatory:
        axes.add_patch(
            Rectangle((left, bottom), 1, 1, fill=False, edgecolor="black", linewidth=2, zorder=4)
        )
    text = signed(delta) if undecided else f"{signed(delta)} {GLYPHS[cell.verdict]}"
    axes.text(
        left + 0.5, bottom + 0.48, text, ha="center", va="center", color=ink, fontsize=8, zorder=5,
        linespacing=1.1, path_effects=[withStroke(linewidth=3, foreground=colour)],
    )  # fmt: skip


def _legend() -> list[Patch | Line2D]:
    """What hatch, marks and frame mean."""
    return [
        Patch(facecolor="white", edgecolor=MUTED, hatch=HATCH, label="undecided"),
        *(
            Line2D([], [], linestyle="none", marker=_glyph(GLYPHS[word]), color=INK, label=word)
            for word in ("degraded", "equivalent", "improved")
        ),
        Patch(facecolor="white", edgecolor="black", linewidth=2, label="declared beforehand"),
    ]


def _glyph(character: str) -> MarkerStyle:
    """A character as a centred marker."""
    path = TextPath((0, 0), character)
    box = path.get_extents()
    centre = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    return MarkerStyle(Path2D(path.vertices - centre, path.codes))


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
