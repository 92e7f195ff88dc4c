"""The figure of batch sizes: the raw degree of conflict drifts with them, the corrected not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from probes.conflict.records import ConflictRecord, SideRecord
from reports.conflict.pairs import WHOLE, Asked, bounded, compared_sides, measured_on, side_title
from reports.style import (
    GRID,
    INK,
    MUTED,
    POST,
    PRE,
    Look,
    figure_style,
    headline,
    new_figure,
    save_figure,
)

__all__ = ["batch_sizes", "sizes_figure"]

RAW, FLOOR, CORRECTED = "raw", "floor", "corrected"
THIN = 0.3  # opacity of a single pair


def batch_sizes(record: ConflictRecord, side: SideRecord, pairs: Sequence[Asked]) -> pd.DataFrame:
    """Raw, floor and corrected degree of conflict by batch size, on all parameters.

    Returns:
        Columns side, first, second, batch_size, batches, raw, floor and corrected (1 minus the
        corrected cosine; NaN below floor, and for pairs whose interval is open at the size that was
        measured), by rising size; that one comes first, larger ones are sums of consecutive
        batches.
    """
    wanted = {pair.key for pair in pairs}
    told = {
        key
        for (key, part), one in measured_on(side).items()
        if part == WHOLE and bounded(one.cosine)
    }
    found = [
        (one, record.batch_size, record.batches) for one in side.pairs if one.part == WHOLE
    ] + [
        (one, one.batch_size, one.batches)
        for one in side.sizes
        if one.batch_size != record.batch_size
    ]
    rows = [
        {
            "side": side_title(side),
            "first": one.first,
            "second": one.second,
            "batch_size": size,
            "batches": batches,
            RAW: one.raw,
            FLOOR: one.floor,
            CORRECTED: 1 - one.cosine.value
            if one.cosine is not None and frozenset((one.first, one.second)) in told
            else np.nan,
        }
        for one, size, batches in sorted(found, key=lambda each: each[1])
        if frozenset((one.first, one.second)) in wanted
    ]
    columns = ["side", "first", "second", "batch_size", "batches", RAW, FLOOR, CORRECTED]
    return pd.DataFrame(rows, columns=columns)


def sizes_figure(
    record: ConflictRecord, pairs: Sequence[Asked], stem: Path, notes: dict[str, str]
) -> Path:
    """Draw how raw number and floor depend on the batch size, one panel a side.

    Args:
        record: Of one pair of encoders, or one model.
        pairs: The pairs of questions to draw.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    sides = compared_sides(record)
    data = pd.concat([batch_sizes(record, side, pairs) for side in sides], ignore_index=True)
    with figure_style():
        figure = new_figure(0.8 + 3.6 * max(len(sides), 2), 4.1)
        panels = figure.subplots(1, len(sides), squeeze=False, sharey=True)[0]
        for axes, side, look in zip(panels, sides, (PRE, POST), strict=False):
            _draw(axes, data[data["side"] == side_title(side)], look)
            axes.set_title(side_title(side))
            axes.set_xlabel("rows in a batch")
        panels[0].set_ylabel("1 − cosine (1 = unrelated)")
        headline(figure, record.model, "conflict by batch size")
        handles = _legend([side_title(side) for side in sides])
        if data[CORRECTED].isna().all():
            handles.pop()
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        return save_figure(figure, data, stem, notes)


def _draw(axes: Axes, data: pd.DataFrame, look: Look) -> None:
    """Single pairs thin, the median over pairs bold."""
    axes.axhline(1, color=INK, linewidth=0.9, zorder=1)
    for _, pair in data.groupby(["first", "second"], sort=False):
        axes.plot(pair["batch_size"], pair[RAW], color=look["color"], alpha=THIN, linewidth=0.9)
        axes.plot(pair["batch_size"], pair[FLOOR], color=MUTED, alpha=THIN, linewidth=0.9,
                  linestyle="--")  # fmt: skip
    middle = data.groupby("batch_size")[[RAW, FLOOR, CORRECTED]].median()
    axes.plot(middle.index, middle[FLOOR], color=MUTED, linestyle="--", linewidth=2.2)
    axes.plot(middle.index, middle[RAW], linewidth=2.2, markeredgecolor=look["color"], **look)
    axes.plot(middle.index, middle[CORRECTED], color=INK, linestyle=":", marker="D",
              markerfacecolor="white", markersize=5)  # fmt: skip
    axes.set_xscale("log", base=2)
    sizes = list(middle.index)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(axis="y", color=GRID)


def _legend(sides: Sequence[str]) -> list[Line2D]:
    """What the bold lines mean."""
    raw = [
        Line2D([], [], linewidth=2.2, markeredgecolor=look["color"], label=f"raw GCD, {side}",
               **look)
        for look, side in zip((PRE, POST), sides, strict=False)
    ]  # fmt: skip
    return [
        *raw,
        Line2D([], [], color=MUTED, linestyle="--", linewidth=2.2,
               label="floor: a question against itself"),
        Line2D([], [], color=INK, linestyle=":", marker="D", markerfacecolor="white",
               label="corrected GCD"),
    ]  # fmt: skip
