"""The figure of scores: both sides of a pair with their intervals, and the delta beside them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reports.formats import estimate, verdict
from reports.names import reader_label
from reports.panels import Group, draw_estimate, dress_rows, grouped, rows_figure, value_limits
from reports.style import (
    BAND,
    BASELINE_LOOKS,
    INK,
    MUTED,
    POST,
    PRE,
    VERDICT_LOOKS,
    Look,
    drawable,
    figure_style,
    headline,
    legend_by_look,
    save_figure,
)
from reports.verdicts.cells import Cell

__all__ = ["scores_figure"]


def scores_figure(cells: Sequence[Cell], stem: Path, notes: dict[str, str], margin: float) -> Path:
    """Draw the confirmatory cells of one pair: pre and post at the left, delta at the right.

    Args:
        cells: Confirmatory cells of one pair.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.
        margin: Equivalence margin in points, drawn as a band.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    groups = grouped(cells)
    deltas = [cell.comparison.delta for cell in cells]
    reach = max(1.0, 2 * margin, *(abs(end) for delta in deltas for end in (delta.low, delta.high)))
    with figure_style():
        figure, rows = rows_figure(groups, (4.6, 4.4))
        for group, (left, right) in zip(groups, rows, strict=True):
            _draw_sides(left, group)
            _draw_deltas(right, group, margin, 1.08 * reach)
        pair = cells[0].pair
        headline(figure, pair.name, f"{drawable(pair.pre)} → {drawable(pair.post)}")
        figure.legend(handles=_legend(cells, margin), loc="outside lower center", ncols=4)
        return save_figure(figure, _data(cells), stem, notes)


def _draw_sides(axes: Axes, group: Group) -> None:
    """Pre above post on each row, the best baseline and chance under them."""
    dress_rows(axes, group)
    axes.set_title(group.title)
    axes.set_xlabel(group.axis)
    values = []
    for y, cell in enumerate(group.cells):
        c = cell.comparison
        if cell.chance:
            chance = cell.chance.estimate.value
            axes.plot([chance, chance], [y - 0.36, y + 0.36], color=INK, linewidth=1.4, zorder=1)
            values.append(chance)
        if cell.best_baseline:
            best = cell.best_baseline
            draw_estimate(axes, y + 0.28, best.estimate, _grey(best.name))
            values.append(best.estimate.high)
        draw_estimate(axes, y - 0.2, c.pre, PRE)
        draw_estimate(axes, y + 0.04, c.post, POST)
        values += [c.pre.high, c.post.high]
    axes.set_xlim(*value_limits(group, values))


def _draw_deltas(axes: Axes, group: Group, margin: float, reach: float) -> None:
    """The delta of each row around zero, with the margin and the verdict in words."""
    dress_rows(axes, group)
    axes.set_yticklabels([])
    axes.set_title("Delta")
    axes.set_xlabel("delta (points, negative = worse)")
    axes.axvspan(-margin, margin, color=BAND, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.set_xlim(-reach, reach)
    for y, cell in enumerate(group.cells):
        delta = cell.comparison.delta
        draw_estimate(axes, float(y), delta, VERDICT_LOOKS[cell.verdict])
        axes.text(
            1.03, y,
            f"{estimate(delta, delta=True)}\n{verdict(cell.verdict)}",
            transform=axes.get_yaxis_transform(), va="center", ha="left", fontsize=8,
        )  # fmt: skip


def _grey(name: str) -> Look:
    """A baseline's marker without its colour, which belongs to the two sides here."""
    look = BASELINE_LOOKS.get(name, BASELINE_LOOKS["pixels"])
    return {"marker": look["marker"], "color": MUTED, "markerfacecolor": "white"}


def _legend(cells: Sequence[Cell], margin: float) -> list[Line2D | Patch]:
    """What the marks mean, only those that were drawn."""
    names = dict.fromkeys(cell.best_baseline.name for cell in cells if cell.best_baseline)
    best = {reader_label(name): _grey(name) for name in names}
    marks = [*legend_by_look({"pre": PRE, "post": POST}), *legend_by_look(best, "best baseline: ")]
    chance = [Line2D([], [], color=INK, linestyle="none", marker="|", markersize=11,
                     markeredgewidth=1.4, label="chance")]  # fmt: skip
    band = [Patch(color=BAND, label=f"within the margin of ±{margin:g} points")]
    return [*marks, *(chance if any(c.chance for c in cells) else []), *band]


def _data(cells: Sequence[Cell]) -> pd.DataFrame:
    """The plotted numbers."""
    rows = []
    for cell in cells:
        c = cell.comparison
        row: dict[str, object] = {"question": cell.label, "metric": c.metric}
        for name, number in (("pre", c.pre), ("post", c.post), ("delta", c.delta)):
            row |= {name: number.value, f"{name}_low": number.low, f"{name}_high": number.high}
        best, chance = cell.best_baseline, cell.chance
        row |= {
            "verdict": cell.verdict,
            "best_baseline": best.name if best else None,
            "best_baseline_value": best.estimate.value if best else None,
            "best_baseline_low": best.estimate.low if best else None,
            "best_baseline_high": best.estimate.high if best else None,
            "chance": chance.estimate.value if chance else None,
        }
        rows.append(row)
    return pd.DataFrame(rows)
