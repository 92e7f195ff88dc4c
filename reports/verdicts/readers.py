"""The figure of readers: trained features beside what a score is held against."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from probes.records import Estimate
from reports.names import reader_label
from reports.panels import Group, draw_estimate, dress_rows, grouped, rows_figure, value_limits
from reports.style import (
    BASELINE_LOOKS,
    PRE,
    Look,
    figure_style,
    headline,
    legend_by_look,
    save_figure,
)
from reports.verdicts.cells import Cell
from reports.verdicts.tables import baseline_table

__all__ = ["readers_figure"]

TRAINED = "trained features (pre)"
OTHER_SIDE = "shuffled-post"


def readers_figure(cells: Sequence[Cell], stem: Path, notes: dict[str, str]) -> Path:
    """Draw what the probe reads from the features of the pre side, and what each baseline reads.

    Baselines of the post side are left out, as its features are.

    Args:
        cells: Confirmatory cells of one pair.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    groups = grouped(cells)
    found = dict.fromkeys(b.name for cell in cells for b in cell.baselines)
    names = [name for name in found if name != OTHER_SIDE]
    names.sort(key=lambda name: list(BASELINE_LOOKS).index(name) if name in BASELINE_LOOKS else 99)
    with figure_style():
        lines = max(len(_lines(cell, names)) for cell in cells)
        figure, rows = rows_figure(groups, (6.8,), lines=lines)
        for group, (axes,) in zip(groups, rows, strict=True):
            _draw_readers(axes, group, names)
        headline(figure, cells[0].pair.pre, "what the probe reads, and from what")
        looks = {reader_label(name): _look(name) for name in names}
        handles = legend_by_look({TRAINED: PRE} | looks)
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        data = baseline_table(cells)
        data = data[~data["reader"].isin(["trained features, post", OTHER_SIDE])]
        return save_figure(figure, data, stem, notes)


def _draw_readers(axes: Axes, group: Group, names: Sequence[str]) -> None:
    """One row a question, within it one line a reader, spread so that none hides another."""
    dress_rows(axes, group)
    axes.set_title(group.title)
    axes.set_xlabel(group.axis)
    ends = []
    for y, cell in enumerate(group.cells):
        lines = _lines(cell, names)
        step = 0.8 / max(len(lines), 2)
        for k, (estimate, look) in enumerate(lines):
            draw_estimate(axes, y + (k - (len(lines) - 1) / 2) * step, estimate, look)
            ends.append(estimate.high)
    axes.set_xlim(*value_limits(group, ends))


def _lines(cell: Cell, names: Sequence[str]) -> list[tuple[Estimate, Look]]:
    """What is drawn of one question, from the top."""
    found = {baseline.name: baseline.estimate for baseline in cell.baselines}
    drawn = [(found[name], _look(name)) for name in names if name in found]
    return [(cell.comparison.pre, PRE), *drawn]


def _look(name: str) -> Look:
    """A baseline's look; one that is not known looks like pixels would, in its own words."""
    return BASELINE_LOOKS.get(name, BASELINE_LOOKS["pixels"])
