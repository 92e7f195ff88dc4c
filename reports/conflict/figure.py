"""The map of gradient conflict: question against question, before, after and the change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from probes.conflict.records import Change, ConflictRecord, PairNumbers
from reports.conflict.cell import (
    AXIS,
    cell_legend,
    cell_values,
    colour_bar,
    draw_cell,
    draw_floor,
)
from reports.conflict.pairs import (
    WHOLE,
    changes_between,
    compared_sides,
    measured_on,
    question_names,
    side_title,
)
from reports.style import (
    INK,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
)

__all__ = ["conflict_figure"]

CELL = 0.45  # inches a question
LETTER, TURNED = 0.072, 0.05  # inches a letter of a name takes at the left, and below
IN_A_LINE = 6
"""Most questions with which three maps stand side by side."""
TEXT = 8.0


@dataclass(frozen=True, slots=True)
class _Panel:
    """One map.

    Attributes:
        title: Over it.
        cells: By both labels.
        floors: Of each question against itself; empty for a change.
    """

    title: str
    cells: Mapping[frozenset[str], PairNumbers | Change]
    floors: Mapping[str, float]


def conflict_figure(record: ConflictRecord, stem: Path, notes: dict[str, str]) -> Path:
    """Draw the corrected cosine of every two questions on all parameters.

    Args:
        record: Of one pair of encoders, or one model.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    panels = _panels(record)
    labels = [one.label for one in sorted(record.questions, key=lambda one: not one.social)]
    columns = len(panels) if len(labels) <= IN_A_LINE else min(2, len(panels))
    lines = -(-len(panels) // columns)
    side = CELL * max(len(labels), 4)
    with figure_style():
        letters = max(len(tick) for tick in _names(record).values())
        figure = new_figure(
            columns * (side + 0.25) + 0.9 + LETTER * letters,
            lines * (side + 0.5 + TURNED * letters) + 1.2,
        )
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, panels, strict=False):
            _draw(axes, panel, record, labels)
        for i, axes in enumerate(grid[: len(panels)]):
            if i % columns:
                axes.set_yticklabels([])
        handles = cell_legend(changes=len(panels) > 2, diagonal=True)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
            axes.legend(handles=handles, loc="center", title="In the maps")
        headline(figure, record.model, "do the questions pull together or apart?")
        colour_bar(figure, list(grid), AXIS)
        if len(grid) == len(panels):
            figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return save_figure(figure, _data(panels, labels), stem, notes)


def _panels(record: ConflictRecord) -> list[_Panel]:
    """The sides compared, and the change between them."""
    sides = compared_sides(record)
    panels = [
        _Panel(
            side_title(side),
            {key: one for (key, part), one in measured_on(side).items() if part == WHOLE},
            {one.label: one.floor for one in side.tasks if one.part == WHOLE},
        )
        for side in sides
    ]
    changes = {
        key: one for (key, part), one in changes_between(record, sides).items() if part == WHOLE
    }
    if changes:
        panels.append(_Panel(f"{panels[-1].title} less {panels[0].title}", changes, {}))
    return panels


def _draw(axes: Axes, panel: _Panel, record: ConflictRecord, labels: Sequence[str]) -> None:
    """One map below its diagonal, the first question at the top left."""
    n = len(labels)
    for i, first in enumerate(labels):
        draw_floor(axes, (float(i), float(i)), panel.floors.get(first), text=TEXT)
        for j, second in enumerate(labels[:i]):
            found = panel.cells.get(frozenset((first, second)))
            draw_cell(axes, (float(j), float(i)), found, text=TEXT)
    social = sum(one.social for one in record.questions)
    if 0 < social < n:
        axes.plot([0, social, social], [social, social, n], color=INK, linewidth=1.6, zorder=6)
    names = _names(record)
    control = {one.label for one in record.questions if not one.social}
    marked = [f"{names[one]} (control)" if one in control else names[one] for one in labels]
    places = [i + 0.5 for i in range(n)]
    axes.set_xticks(
        places, [names[one] for one in labels],
        rotation=40, ha="right", rotation_mode="anchor", fontsize=9,
    )  # fmt: skip
    axes.set_yticks(places, marked, fontsize=9)
    axes.set_xlim(-0.02, n + 0.02)
    axes.set_ylim(n + 0.02, -0.02)
    axes.set_aspect("equal")
    axes.set_title(panel.title)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _names(record: ConflictRecord) -> dict[str, str]:
    """Questions as a figure can show them, by label."""
    return {label: drawable(name) for label, name in question_names(record.questions).items()}


def _data(panels: Sequence[_Panel], labels: Sequence[str]) -> pd.DataFrame:
    """The plotted numbers."""
    rows: list[dict[str, object]] = []
    for panel in panels:
        for i, first in enumerate(labels):
            if first in panel.floors:
                rows.append(
                    {"panel": panel.title, "first": first, "second": first,
                     "floor": panel.floors[first]}
                )  # fmt: skip
            for second in labels[:i]:
                found = panel.cells.get(frozenset((first, second)))
                if found is not None:
                    rows.append(
                        {"panel": panel.title, "first": second, "second": first}
                        | cell_values(found)
                    )
    columns = ["panel", "first", "second", "cosine", "low", "high", "word", "floor"]
    return pd.DataFrame(rows, columns=columns)
