"""The figure of changes: one row a question and metric, one panel a comparison."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from reports.style import (
    BAND,
    GRID,
    INK,
    MUTED,
    VERDICT_LOOKS,
    Look,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
    whole_ticks,
)
from reports.transfer.words import key_of, metric_words, question_words
from socialfusion.transfer.records import Effect

__all__ = ["change_figure"]

LOOKS: dict[str, Look] = {
    **VERDICT_LOOKS,
    "not judged": {"color": INK, "marker": "o", "markerfacecolor": "white"},
}
ROW, WIDTH = 0.42, 2.5  # inches a row and a panel
LETTERS = 28  # letters on a line over and under a panel


def change_figure(
    panels: Mapping[str, Sequence[Effect]],
    heading: tuple[str, str],
    axis: str,
    stem: Path,
    notes: dict[str, str],
    *,
    margin: float,
) -> Path:
    """Draw effects with their intervals.

    Args:
        panels: Effects by the title of their panel; questions and metrics may be missing in some.
        heading: Name and text over the whole.
        axis: Label of the values.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.
        margin: Points below which a change is too small to matter, drawn as a band.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    keys = list(dict.fromkeys(key_of(one) for effects in panels.values() for one in effects))
    names = question_words(question for question, _ in keys)
    with figure_style():
        figure = new_figure(2.2 + WIDTH * max(len(panels), 2), ROW * len(keys) + 2.0)
        grid = figure.subplots(1, len(panels), squeeze=False, sharey=True, sharex=True)[0]
        for axes, (title, effects) in zip(grid, panels.items(), strict=True):
            _draw(axes, [keys.index(key_of(one)) for one in effects], effects, margin)
            axes.set_title("\n".join(textwrap.wrap(title, LETTERS)), fontsize=9.5)
            axes.set_xlabel("\n".join(textwrap.wrap(axis, LETTERS)))
        for row in _borders([question for question, _ in keys]):
            for axes in grid:
                axes.axhline(row - 0.5, color=GRID, linewidth=0.9)
        grid[0].set_ylim(len(keys) - 0.5, -0.5)
        grid[0].set_yticks(
            range(len(keys)),
            [f"{drawable(names[one])}: {drawable(metric_words(metric))}" for one, metric in keys],
        )
        headline(figure, *heading)
        shown = {one.word for effects in panels.values() for one in effects}
        figure.legend(handles=_legend(shown, margin), loc="outside lower center", ncols=6)
        return save_figure(figure, _data(panels), stem, notes)


def _borders(questions: Sequence[str]) -> list[int]:
    """Rows at which another question begins."""
    return [i for i in range(1, len(questions)) if questions[i] != questions[i - 1]]


def _draw(axes: Axes, rows: Sequence[int], effects: Sequence[Effect], margin: float) -> None:
    """One panel; the marks of single seeds are small."""
    axes.axvspan(-margin, margin, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for row, one in zip(rows, effects, strict=True):
        look = LOOKS[one.word]
        low, high = one.change.low, one.change.high
        axes.plot([low, high], [row, row], color=look["color"], solid_capstyle="butt", zorder=2)
        axes.plot(
            one.by_seed, [row] * len(one.by_seed), linestyle="none", marker="|", markersize=8,
            color=MUTED, zorder=2,
        )  # fmt: skip
        axes.plot(
            [one.change.value], [row], linestyle="none", markeredgecolor=look["color"], zorder=3,
            **look,
        )  # fmt: skip
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    whole_ticks(axes.xaxis)
    axes.xaxis.get_major_locator().set_params(nbins=5)


def _legend(words: set[str], margin: float) -> list[Line2D | Patch]:
    """The verdicts that occur, the seeds and the margin."""
    marks = [
        Line2D([], [], markeredgecolor=look["color"], label=word, **look)
        for word, look in LOOKS.items()
        if word in words
    ]
    seed = Line2D([], [], linestyle="none", marker="|", color=MUTED, label="a training seed")
    return [*marks, seed, Patch(color=BAND, label=f"within ±{margin:g} points")]


def _data(panels: Mapping[str, Sequence[Effect]]) -> pd.DataFrame:
    """The plotted numbers."""
    columns = ["panel", "question", "metric", "before", "after", "change", "low", "high", "word",
               "by_seed"]  # fmt: skip
    rows = [
        (title, one.question, one.metric, one.before, one.after, one.change.value, one.change.low,
         one.change.high, one.word, " ".join(map(repr, one.by_seed)))
        for title, effects in panels.items()
        for one in effects
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
