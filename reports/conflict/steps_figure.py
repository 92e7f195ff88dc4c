"""The figure of gradient conflict against training steps, one panel a pair of questions."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from probes.conflict.records import ConflictRecord
from reports.conflict.cell import cell_values
from reports.conflict.pairs import WHOLE, Asked, measured_on, own_sides, side_title
from reports.style import INK, POST, drawable, figure_style, headline, new_figure, save_figure

__all__ = ["steps_figure"]

COLUMNS = 5
OUTERMOST = 1.15
"""Cosine at which the axes end at the latest; intervals may go on."""


def steps_figure(
    record: ConflictRecord, pairs: Sequence[Asked], stem: Path, notes: dict[str, str]
) -> Path:
    """Draw the corrected cosine of pairs of questions at every step measured.

    Args:
        record: Of one model at several steps; they stand side by side in their order.
        pairs: The pairs of questions to draw.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    sides = own_sides(record)
    data = pd.DataFrame(
        [
            {"first": pair.first, "second": pair.second, "place": place,
             "side": side_title(side)} | cell_values(found)
            for place, side in enumerate(sides)
            for pair in pairs
            if (found := measured_on(side).get((pair.key, WHOLE))) is not None
        ]
    )  # fmt: skip
    lines = ceil(len(pairs) / COLUMNS)
    columns = ceil(len(pairs) / lines)
    with figure_style():
        figure = new_figure(1.0 + 1.9 * max(columns, 3), 1.0 + 1.9 * lines)
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for ax, pair in zip(axes.flat, pairs, strict=False):
            own = data[(data["first"] == pair.first) & (data["second"] == pair.second)]
            _draw(ax, own)
            ax.set_title(" ×\n".join(map(drawable, pair.names)), fontsize=9)
        for ax in axes.flat[len(pairs) :]:
            ax.set_axis_off()
        for ax in axes.flat[max(0, len(pairs) - columns) : len(pairs)]:
            ax.tick_params(labelbottom=True)
            ax.set_xlabel("training step")
        names = [str(side.step) if side.step is not None else side.name for side in sides]
        axes[0, 0].set_xticks(range(len(sides)), names)
        ends = data[["cosine", "low", "high"]].astype(float)
        low, high = min(-0.2, ends.min().min()), max(0.2, ends.max().max())
        axes[0, 0].set_ylim(max(-OUTERMOST, low - 0.05), min(OUTERMOST, high + 0.05))
        figure.supylabel("corrected cosine (negative = conflict)", fontsize=9)
        headline(figure, record.model, "conflict against training step")
        return save_figure(figure, data, stem, notes)


def _draw(axes: Axes, data: pd.DataFrame) -> None:
    """One pair: zero, and the cosines with their intervals; open ends go on beyond the axes."""
    axes.axhline(0, color=INK, linewidth=0.9, zorder=1)
    known = data[data["cosine"].notna()]
    for row in known.itertuples():
        low = row.low if pd.notna(row.low) else -2 * OUTERMOST
        high = row.high if pd.notna(row.high) else 2 * OUTERMOST
        axes.plot([row.place] * 2, [low, high], color=POST["color"], zorder=2)
    axes.plot(known["place"], known["cosine"], markeredgecolor=POST["color"], zorder=3, **POST)
    axes.grid(axis="y")
    axes.margins(x=0.1)
