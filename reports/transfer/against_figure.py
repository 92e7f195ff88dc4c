"""The figure of gradient conflict against measured transfer, one point a pair of tasks."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from reports.conflict.pairs import cosine_interval
from reports.formats import p_value
from reports.style import (
    GRID,
    INK,
    POST,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
)
from socialfusion.transfer.against_conflict import Comparison

__all__ = ["against_figure", "rho_words"]

WIDTH, HEIGHT = 3.5, 3.5  # inches a panel
KEY = 2.6  # inches for the names of the pairs
COLUMNS, LETTERS = 2, 40


def rho_words(one: Comparison) -> str:
    """Rank correlation, interval and p, in plain text."""
    rho = cosine_interval(one.rho)
    if one.rho.low is None or one.rho.high is None:
        rho = f"{one.rho.value:+.2f}".replace("-", "−") + ", no interval"
    p = p_value(one.p)
    return f"ρ = {rho}, Mantel p {p if p.startswith('<') else f'= {p}'}"


def against_figure(
    name: str, comparisons: Sequence[Comparison], stem: Path, notes: dict[str, str]
) -> Path:
    """Draw transfer over conflict, with the rank correlation over each panel.

    Args:
        name: Of the model that conflict was measured on.
        comparisons: One a panel.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    pairs = list(
        dict.fromkeys((one.first, one.second) for each in comparisons for one in each.pairs)
    )
    columns = min(COLUMNS, len(comparisons))
    lines = -(-len(comparisons) // columns)
    with figure_style():
        figure = new_figure(
            KEY + 0.4 + WIDTH * columns, 0.9 + max(HEIGHT * lines, 0.17 * len(pairs))
        )
        grid = figure.subplots(
            lines, columns + 1, squeeze=False, width_ratios=[*[WIDTH] * columns, KEY]
        )
        panels = [axes for line in grid for axes in line[:-1]]
        for axes, one in zip(panels, comparisons, strict=False):
            _draw(axes, one, pairs)
        for axes in (*panels[len(comparisons) :], *grid[:, -1]):
            axes.set_axis_off()
        key = [f"{i}  {drawable(a)} × {drawable(b)}" for i, (a, b) in enumerate(pairs, 1)]
        grid[0, -1].text(0, 1, "\n".join(key), va="top", fontsize=8, linespacing=1.6)
        headline(figure, name, "does gradient conflict foretell transfer?")
        return save_figure(figure, _data(comparisons), stem, notes)


def _draw(axes: Axes, one: Comparison, pairs: Sequence[tuple[str, str]]) -> None:
    """One comparison; points are numbered as in the key."""
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1)
    axes.axvline(1, color=INK, linewidth=0.9, linestyle=":", zorder=1)
    for point in one.pairs:
        axes.plot(
            [point.gcd], [point.transfer], linestyle="none", markeredgecolor=POST["color"],
            zorder=3, **POST,
        )  # fmt: skip
        axes.annotate(
            str(pairs.index((point.first, point.second)) + 1), (point.gcd, point.transfer), (5, 4),
            textcoords="offset points", fontsize=8, zorder=4,
        )  # fmt: skip
    title = "\n".join(textwrap.wrap(drawable(f"{one.side}, {one.variant}"), LETTERS))
    axes.set_title(f"{title}\n{rho_words(one)}", fontsize=8.5)
    axes.set_xlabel("corrected degree of conflict (1 = unrelated)")
    axes.set_ylabel("transfer (%, negative = harm)")
    axes.margins(0.12)
    axes.grid(color=GRID)


def _data(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """The plotted numbers."""
    columns = ["side", "part", "transfer", "variant", "first", "second", "gcd", "mean_transfer",
               "to_first", "to_second"]  # fmt: skip
    rows = [
        (one.side, one.part, one.transfer, one.variant, point.first, point.second, point.gcd,
         point.transfer, point.to_first, point.to_second)
        for one in comparisons
        for point in one.pairs
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)
