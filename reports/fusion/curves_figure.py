"""The figure of training curves: losses by step, one panel a question, alone and together."""

from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from reports.style import (
    INK,
    POST,
    PRE,
    Look,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
)
from reports.transfer.words import question_words
from socialfusion.records import FusionRecord

__all__ = ["curves_figure"]

COLUMNS = 3
THIN = 0.35  # opacity of a single seed
MARKS = 6  # marks on a line of training losses
TRAINING, VALIDATION = "training", "validation"
ALONE, TOGETHER = "alone", "together"
LOOKS: Mapping[str, Look] = {ALONE: PRE, TOGETHER: POST}


def curves_figure(
    runs: Sequence[FusionRecord], name: str, stem: Path, notes: dict[str, str]
) -> Path:
    """Draw training and validation losses of every question.

    Args:
        runs: Of one variant: single tasks, and all tasks together; each with any number of seeds.
        name: Over the figure.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    data = _data(runs)
    labels = list(dict.fromkeys(one.label for run in runs for one in run.questions))
    names = question_words(labels)
    lines = ceil(len(labels) / COLUMNS)
    columns = ceil(len(labels) / lines)
    with figure_style():
        figure = new_figure(0.8 + 2.7 * max(columns, 2), 1.3 + 2.1 * lines)
        grid = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes, label in zip(grid, labels, strict=False):
            _draw(axes, data[data["question"] == label])
            axes.set_title(drawable(names[label]), fontsize=9.5)
        for axes in grid[len(labels) :]:
            axes.set_axis_off()
        for axes in grid[max(0, len(labels) - columns) : len(labels)]:
            axes.set_xlabel("training step")
        figure.supylabel("loss (nats)", fontsize=9)
        headline(figure, drawable(name), "losses while it was trained")
        figure.legend(handles=_legend(data), loc="outside lower center", ncols=4)
        return save_figure(figure, data, stem, notes)


def _data(runs: Sequence[FusionRecord]) -> pd.DataFrame:
    """Every loss of every run, by question."""
    rows = [
        (question, TOGETHER if len(run.settings.tasks) > 1 else ALONE, run.run, run.settings.seed,
         kind, point.step, loss)
        for run in runs
        for kind, points in ((TRAINING, run.losses), (VALIDATION, run.validation))
        for point in points
        for question, loss in point.losses.items()
    ]  # fmt: skip
    columns = ["question", "trained", "run", "seed", "losses", "step", "loss"]
    return pd.DataFrame(rows, columns=columns)


def _draw(axes: Axes, data: pd.DataFrame) -> None:
    """Training losses as lines, validation losses as dashes; means are bold, with marks."""
    for (trained, kind), part in data.groupby(["trained", "losses"], sort=False):
        look = LOOKS[str(trained)]
        style = {"color": look["color"], "linestyle": "-" if kind == TRAINING else "--"}
        seeds = part["run"].nunique()
        for _, run in part.groupby("run", sort=False):
            if seeds > 1:
                axes.plot(run["step"], run["loss"], alpha=THIN, linewidth=0.8, **style)
        mean = part.groupby("step")["loss"].mean()
        every = 1 if kind == VALIDATION else max(1, len(mean) // MARKS)
        axes.plot(
            mean.index, mean, linewidth=1.8, markeredgecolor=look["color"], markersize=4.5,
            markevery=every, **(look | style),
        )  # fmt: skip
    axes.grid(axis="y")
    if (data["loss"] > 0).all():
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    axes.tick_params(labelsize=8)


def _legend(data: pd.DataFrame) -> list[Line2D]:
    """What occurs: who was trained with whom, and which rows."""
    found = set(zip(data["trained"], data["losses"], strict=True))
    lines = [
        Line2D([], [], markeredgecolor=look["color"], label=f"trained {trained}", **look)
        for trained, look in LOOKS.items()
        if (trained, TRAINING) in found
    ]
    if any(kind == VALIDATION for _, kind in found):
        lines.append(Line2D([], [], color=INK, linestyle="--", label="on validation rows"))
    return lines
