"""The map of pairwise transfer: what training with the task of a column does to a row's question.

Changes whose interval holds 0 are hatched; colour never stands alone, for every cell has its
number.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from reports.formats import signed
from reports.style import (
    BAND,
    DIVERGING,
    INK,
    MUTED,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
    whole_ticks,
)
from reports.transfer.words import (
    capital,
    certain,
    declared,
    metric_words,
    question_words,
    variant_words,
)
from socialfusion.transfer.records import Effect, TransferRecord, VariantCard

__all__ = ["matrix_figure", "pairwise_variants"]

HATCH = "////"
COLUMN, ROW = 0.82, 0.42  # inches a task and a question
ALL = "all others"
LETTERS = 10  # letters on a line under a column
GAP = 0.2  # columns between the single partners and all of them


def pairwise_variants(record: TransferRecord) -> list[VariantCard]:
    """The variants in which every two of three tasks or more were trained together.

    With two tasks, the pair is all there is.
    """
    return [one for one in record.variants if one.pairwise and len(record.tasks) > 2]


def matrix_figure(
    record: TransferRecord, title: str, stem: Path, notes: dict[str, str], *, margin: float
) -> Path:
    """Draw the declared metric of each question by the task that was trained beside it.

    Args:
        record: With pairs in one variant or more.
        title: What was trained, over the figure.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.
        margin: Points below which a change is too small to matter; colours reach twice as far at
            least.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    variants = pairwise_variants(record)
    cells = {one.name: _cells(one) for one in variants}
    rows = [(one.question, one.metric) for one in declared(variants[0].joint or _any(variants[0]))]
    shown = [abs(one.change.value) for found in cells.values() for one in found.values()]
    end = float(np.ceil(max([2 * margin, 1.0, *shown])))
    columns = [*record.tasks, ALL]
    with figure_style():
        width = COLUMN * (len(columns) + GAP)
        figure = new_figure(2.0 + (width + 0.5) * len(variants), 2.7 + ROW * len(rows))
        grid = figure.subplots(1, len(variants), squeeze=False, sharey=True)[0]
        for axes, one in zip(grid, variants, strict=True):
            _draw(axes, cells[one.name], rows, columns, end)
            axes.set_title(capital(variant_words(one)))
            axes.set_xlabel("trained together with")
        names = question_words(question for question, _ in rows)
        grid[0].set_yticks(
            [i + 0.5 for i in range(len(rows))],
            [f"{drawable(names[one])}\n{drawable(metric_words(metric))}" for one, metric in rows],
            fontsize=8.5,
        )
        headline(figure, drawable(record.name), title)
        bar = figure.colorbar(
            ScalarMappable(Normalize(-end, end), DIVERGING),
            ax=list(grid), location="bottom", pad=0.08, fraction=0.05, aspect=40, shrink=0.7,
        )  # fmt: skip
        bar.set_label("together less alone (points, negative = worse)")
        bar.outline.set_visible(False)
        whole_ticks(bar.ax.xaxis)
        handles = [
            Patch(facecolor="white", edgecolor=MUTED, hatch=HATCH, label="interval holds 0"),
            Patch(facecolor=BAND, label="the task itself"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=1.6)
        return save_figure(figure, _data(variants, cells), stem, notes)


def _effects(variant: VariantCard) -> list[Effect]:
    """Declared effects of all tasks together, and of every two."""
    pairs = (one for effects in variant.pairwise.values() for one in effects)
    return declared((*variant.joint, *pairs))


def _cells(variant: VariantCard) -> dict[tuple[str, str], Effect]:
    """Effects of declared metrics by question and column."""
    found = {
        (one.question, partner): one
        for partner, effects in variant.pairwise.items()
        for one in declared(effects)
    }
    return found | {(one.question, ALL): one for one in declared(variant.joint)}


def _draw(
    axes: Axes,
    cells: Mapping[tuple[str, str], Effect],
    rows: Sequence[tuple[str, str]],
    columns: Sequence[str],
    end: float,
) -> None:
    """One map, the first question at the top."""
    lefts = [i + (GAP if name == ALL else 0.0) for i, name in enumerate(columns)]
    for i, (question, _) in enumerate(rows):
        for left, partner in zip(lefts, columns, strict=True):
            effect = cells.get((question, partner))
            if effect is not None:
                _draw_cell(axes, left, float(i), effect, end)
            elif question.partition("/")[0] == partner:
                axes.add_patch(Rectangle((left, i), 1, 1, facecolor=BAND, edgecolor="white"))
            else:
                axes.text(left + 0.5, i + 0.5, "–", ha="center", va="center", color=MUTED)
    axes.set_xticks(
        [left + 0.5 for left in lefts],
        [_wrapped(name) for name in columns],
        fontsize=8,
    )
    axes.set_xlim(-0.02, lefts[-1] + 1.02)
    axes.set_ylim(len(rows) + 0.03, -0.03)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _wrapped(task: str) -> str:
    """A task on short lines, broken at its hyphens."""
    return "\n".join(textwrap.wrap(drawable(task), LETTERS))


def _draw_cell(axes: Axes, left: float, top: float, effect: Effect, end: float) -> None:
    """One change: its colour, its number, hatched where it may be nothing."""
    colour = DIVERGING(0.5 + 0.5 * effect.change.value / end)
    ink = INK if float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114))) > 0.5 else "white"
    open_ = not certain(effect)
    place = {"xy": (left, top), "width": 1, "height": 1}
    axes.add_patch(
        Rectangle(
            **place,
            facecolor=colour,
            edgecolor=(*to_rgb(ink), 0.45),
            linewidth=0,
            hatch=HATCH if open_ else None,
        )
    )
    axes.add_patch(Rectangle(**place, fill=False, edgecolor="white", linewidth=0.8))
    axes.text(
        left + 0.5, top + 0.5, signed(effect.change.value), ha="center", va="center", color=ink,
        fontsize=8, zorder=5, path_effects=[withStroke(linewidth=3, foreground=colour)],
    )  # fmt: skip


def _data(
    variants: Sequence[VariantCard], cells: Mapping[str, Mapping[tuple[str, str], Effect]]
) -> pd.DataFrame:
    """The plotted numbers."""
    columns = ["variant", "question", "metric", "together_with", "alone", "together", "change",
               "low", "high", "word"]  # fmt: skip
    rows = [
        (variant.name, question, one.metric, partner, one.before, one.after, one.change.value,
         one.change.low, one.change.high, one.word)
        for variant in variants
        for (question, partner), one in cells[variant.name].items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
