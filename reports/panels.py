"""Rows of questions on shared axes: the frame in which the dot plots are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probes.records import Estimate
from reports.style import GRID, Look, drawable, new_figure, whole_ticks
from reports.verdicts.cells import Cell

__all__ = ["Group", "draw_estimate", "dress_rows", "grouped", "rows_figure", "value_limits"]

ROW, EXTRA = 0.52, 0.75  # inches a question, and inches a group for its title and axis
LINE = 0.12  # inches a line of a question that has many


@dataclass(frozen=True, slots=True)
class Group:
    """Questions that share an axis: social or control, scores or errors.

    Attributes:
        title: Heading of the group.
        axis: Label of the axis of values.
        errors: Whether low values are good.
        cells: One a row, from the top.
    """

    title: str
    axis: str
    errors: bool
    cells: tuple[Cell, ...]


def grouped(cells: Sequence[Cell]) -> list[Group]:
    """The cells by group, social before control and scores before errors; no group is empty."""
    groups = []
    for social in (True, False):
        for errors in (False, True):
            members = tuple(
                cell
                for cell in cells
                if cell.task.social == social and cell.comparison.higher_is_better != errors
            )
            if members:
                what = "errors" if errors else "scores"
                title = f"{'Social' if social else 'Control'} questions, {what}"
                axis = f"{what[:-1]} (points, {'lower' if errors else 'higher'} is better)"
                groups.append(Group(title, axis, errors, members))
    return groups


def rows_figure(
    groups: Sequence[Group], widths: Sequence[float], *, lines: int = 1
) -> tuple[Figure, list[list[Axes]]]:
    """A figure with one row of axes a group and one column of axes a width in inches.

    Args:
        groups: From the top.
        widths: From the left.
        lines: Most lines that a question has.
    """
    row = max(ROW, LINE * lines)
    heights = [row * len(group.cells) + EXTRA for group in groups]
    figure = new_figure(sum(widths), sum(heights) + 0.6)
    axes = figure.subplots(
        len(groups),
        len(widths),
        squeeze=False,
        height_ratios=[len(group.cells) + 0.2 for group in groups],
        width_ratios=widths,
    )
    return figure, [list(row) for row in axes]


def dress_rows(axes: Axes, group: Group) -> None:
    """Put the questions and their metrics on the vertical axis, first question at the top."""
    n = len(group.cells)
    axes.set_ylim(n - 0.5, -0.5)
    axes.set_yticks(range(n))
    axes.set_yticklabels(
        [f"{drawable(cell.label)}\n{drawable(cell.metric)}" for cell in group.cells]
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    whole_ticks(axes.xaxis)
    for row in range(1, n):
        axes.axhline(row - 0.5, color=GRID, linewidth=0.7)


def draw_estimate(axes: Axes, y: float, estimate: Estimate, look: Look) -> None:
    """One value with its interval as a horizontal bar."""
    axes.plot(
        [estimate.low, estimate.high], [y, y], color=look["color"], solid_capstyle="butt", zorder=2
    )
    axes.plot(
        [estimate.value], [y], linestyle="none", markeredgecolor=look["color"], zorder=3, **look
    )


def value_limits(group: Group, values: Sequence[float]) -> tuple[float, float]:
    """Scores on their whole range, errors from zero to a little above the worst."""
    top = max(values, default=0.0)
    if group.errors:
        return 0.0, 1.08 * top if top > 0 else 1.0
    return min(0.0, *values), max(102.0, top)  # 2: room for the mark of a perfect score
