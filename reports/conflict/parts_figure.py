"""The map of gradient conflict by part: blocks and kinds of module upwards, pairs across."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from probes.conflict.records import Change, ConflictRecord, PairNumbers, Part
from reports.conflict.cell import AXIS, cell_legend, cell_values, colour_bar, draw_cell
from reports.conflict.pairs import (
    WHOLE,
    Asked,
    changes_between,
    compared_sides,
    measured_on,
    side_title,
)
from reports.style import drawable, figure_style, headline, new_figure, save_figure

__all__ = ["mapped_parts", "parts_figure"]

COLUMN, ROW = 0.56, 0.36  # inches a pair and a part
NARROW_COLUMN, NARROW_ROW = 0.25, 0.175  # the same without room for numbers
MOST_ROWS, MOST_COLUMNS = 16, 21
"""Most parts and pairs whose cells carry their numbers."""
GAP = 0.35  # rows between blocks, kinds and the whole
TEXT = 7.5

Cells = Mapping[tuple[frozenset[str], str], PairNumbers | Change]


@dataclass(frozen=True, slots=True)
class _Panel:
    """One map: the title over it, and its cells by questions and part."""

    title: str
    cells: Cells


def mapped_parts(record: ConflictRecord) -> list[tuple[str, list[Part]]]:
    """Blocks, kinds of module and the whole, as they are stacked from below; no group is empty."""
    parts = compared_sides(record)[0].parts
    blocks = sorted(
        (one for one in parts if one.block is not None and not one.kind),
        key=lambda one: one.block or 0,
    )
    kinds = [one for one in parts if one.block is None and one.kind]
    whole = [one for one in parts if one.name == WHOLE]
    groups = (("blocks", blocks), ("kinds", kinds), (WHOLE, whole))
    return [(name, members) for name, members in groups if members]


def parts_figure(
    record: ConflictRecord, pairs: Sequence[Asked], stem: Path, notes: dict[str, str]
) -> Path:
    """Draw the corrected cosine of pairs of questions by part of the model.

    Args:
        record: Of one pair of encoders, or one model.
        pairs: The pairs of questions to draw, from the left.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    rows = _rows(record)
    panels = _panels(record)
    numbered = len(rows) <= MOST_ROWS and len(pairs) <= MOST_COLUMNS
    row, column = (ROW, COLUMN) if numbered else (NARROW_ROW, NARROW_COLUMN)
    # Deep models have maps that are higher than wide: these stand side by side.
    lines = 1 if len(rows) > MOST_ROWS and len(pairs) <= MOST_COLUMNS else len(panels)
    columns = len(panels) // lines
    top = max(rows.values()) + 1
    with figure_style():
        figure = new_figure(
            1.4 + columns * (column * max(len(pairs), 8) + 0.2), 2.6 + lines * (row * top + 0.35)
        )
        grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axes, panel in zip(grid.ravel(), panels, strict=True):
            for part, bottom in rows.items():
                for i, pair in enumerate(pairs):
                    found = panel.cells.get((pair.key, part))
                    size = TEXT if numbered and found is not None and found.cosine else 0.0
                    draw_cell(axes, (float(i), bottom), found, text=size)
            axes.set_title(panel.title)
            _dress(axes, rows, pairs, top)
        for axes in grid[-1]:
            axes.set_xticks(
                [i + 0.5 for i in range(len(pairs))],
                [f"{drawable(pair.names[0])} × {drawable(pair.names[1])}" for pair in pairs],
                rotation=40 if numbered else 60, ha="right", rotation_mode="anchor", fontsize=8.5,
            )  # fmt: skip
        headline(figure, record.model, "where in the model do the questions pull apart?")
        colour_bar(figure, list(grid.ravel()), AXIS)
        handles = cell_legend(changes=len(panels) > 2, diagonal=False)
        if not numbered:
            handles = handles[-1:]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return save_figure(figure, _data(panels, rows, pairs), stem, notes)


def _rows(record: ConflictRecord) -> dict[str, float]:
    """The bottom of each part's row, by its name."""
    rows: dict[str, float] = {}
    bottom = 0.0
    for _, members in mapped_parts(record):
        for part in members:
            rows[part.name] = bottom
            bottom += 1
        bottom += GAP
    return rows


def _panels(record: ConflictRecord) -> list[_Panel]:
    """The sides compared, and the change between them."""
    sides = compared_sides(record)
    panels = [_Panel(side_title(side), measured_on(side)) for side in sides]
    changes = changes_between(record, sides)
    if changes:
        panels.append(_Panel(f"{panels[-1].title} less {panels[0].title}", changes))
    return panels


def _dress(axes: Axes, rows: Mapping[str, float], pairs: Sequence[Asked], top: float) -> None:
    """Names of the parts, and limits; the first block at the bottom."""
    axes.set_yticks(
        [bottom + 0.5 for bottom in rows.values()],
        ["all parameters" if name == WHOLE else drawable(name) for name in rows],
        fontsize=8.5,
    )
    axes.set_xlim(-0.02, max(len(pairs), 1) + 0.02)
    axes.set_ylim(-0.04, top + 0.04)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _data(
    panels: Sequence[_Panel], rows: Mapping[str, float], pairs: Sequence[Asked]
) -> pd.DataFrame:
    """The plotted numbers."""
    found = [
        {"panel": panel.title, "part": part, "first": pair.first, "second": pair.second}
        | cell_values(panel.cells[pair.key, part])
        for panel in panels
        for part in rows
        for pair in pairs
        if (pair.key, part) in panel.cells
    ]
    columns = ["panel", "part", "first", "second", "cosine", "low", "high", "word"]
    return pd.DataFrame(found, columns=columns)
