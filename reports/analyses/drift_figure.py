"""The figure of drift: similarity between blocks, and what the spectrum holds of the classes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from probes.drift.records import BlockMap, Curve, DriftRecord, Number
from reports.style import (
    INK,
    POST,
    PRE,
    Look,
    drawable,
    figure_style,
    headline,
    legend_by_look,
    new_figure,
    save_figure,
)

__all__ = ["drift_figure"]

SHADES = mpl.colormaps["cividis"]
"""Dark to light and blue to yellow: read alike by colour-blind eyes and in grey."""
NUMBERED = 8  # blocks up to which cells carry their numbers
TICKS = 9  # most block numbers on an axis
TITLES = {
    "variance_top": "Variance",
    "class_top": "Class signal",
    "fisher_top": "Fisher ratio",
}
PANELS = 3  # most panels in a line, unless there are more questions


def drift_figure(record: DriftRecord, stem: Path, notes: dict[str, str]) -> Path:
    """Draw one task: CKA maps above, running shares over principal components below.

    Args:
        record: Drift of one pair on one task.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    maps = [one for one in record.maps if one.measure == "linear_cka"]
    curves = _drawn_curves(record)
    columns = max(PANELS, len(curves))
    with figure_style():
        # On a page of seven inches letters of a wider figure could not be read.
        figure = new_figure(0.7 + (2.9 if columns == PANELS else 2.4) * columns, 6.2)
        upper, lower = figure.subfigures(2, 1, height_ratios=[1.05, 1.0])
        _draw_maps(upper, maps)
        _draw_curves(lower, curves)
        pair = record.pair
        headline(
            figure, f"{pair.name} on {record.task.label}",
            f"{drawable(pair.pre)} → {drawable(pair.post)}",
        )  # fmt: skip
        return save_figure(figure, _data(maps, curves), stem, notes)


def _drawn_curves(record: DriftRecord) -> list[Curve]:
    """Those of the declared block; the Fisher ratio only where there is room for it."""
    found = {
        name: [one for one in record.curves if (one.measure, one.block) == (name, record.block)]
        for name in TITLES
    }
    drawn = found["variance_top"] + found["class_top"]
    return drawn + (found["fisher_top"] if len(drawn) + len(found["fisher_top"]) <= PANELS else [])


def _draw_maps(figure: SubFigure, maps: Sequence[BlockMap]) -> None:
    """Similarity between the blocks of both sides, on one scale."""
    axes = figure.subplots(1, len(maps), squeeze=False)[0]
    images = [_draw_map(ax, one) for ax, one in zip(axes, maps, strict=True)]
    bar = figure.colorbar(images[-1], ax=list(axes), fraction=0.025, pad=0.02, aspect=18)
    bar.set_label("linear CKA (unbiased)")
    bar.outline.set_visible(False)


def _draw_map(axes: Axes, one: BlockMap) -> AxesImage:
    """One map, first block at the lower left."""
    values = np.array(one.values, dtype=float)
    image = axes.imshow(values, cmap=SHADES, norm=Normalize(0, 1), origin="lower", aspect="equal")
    first, second = one.sides.split("-")
    axes.set_title(f"{first} and {second}")
    axes.set_xlabel(f"block of {second}")
    axes.set_ylabel(f"block of {first}")
    every = -(-len(one.blocks) // TICKS)
    places = range(0, len(one.blocks), every)
    axes.set_xticks(places, [str(one.blocks[i]) for i in places])
    axes.set_yticks(places, [str(one.blocks[i]) for i in places])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if len(one.blocks) <= NUMBERED:
        for (i, j), value in np.ndenumerate(values):
            luminance = float(np.dot(SHADES(float(value))[:3], (0.299, 0.587, 0.114)))
            ink = INK if luminance > 0.5 or np.isnan(value) else "white"
            text = "none" if np.isnan(value) else f"{value:.2f}"
            axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=8, in_layout=False)
    return image


def _draw_curves(figure: SubFigure, curves: Sequence[Curve]) -> None:
    """Running shares of both sides, one panel a curve."""
    panels = figure.subplots(1, max(PANELS, len(curves)), squeeze=False, sharey=True)[0]
    for axes, one in zip(panels, curves, strict=False):
        title = TITLES[one.measure]
        axes.set_title(f"{title}: {drawable(one.question)}" if one.question else title)
        axes.axhline(1, color=INK, linewidth=0.7, linestyle=":")
        axes.axhline(0, color=INK, linewidth=0.7)
        for numbers, look, nudge in ((one.pre, PRE, 0.97), (one.post, POST, 1.03)):
            _draw_curve(axes, np.array(one.components) * nudge, numbers, look)
        if not one.pre or not one.post:
            side = "post" if one.pre else "pre"
            axes.text(0.97, 0.12, f"{side}: no signal\nabove chance",
                      transform=axes.transAxes, ha="right", va="bottom", fontsize=8,
                      path_effects=[withStroke(linewidth=3, foreground="white")])  # fmt: skip
        axes.set_xscale("log", base=2)
        ticks = one.components[:: -(-len(one.components) // 6)]
        axes.set_xticks(ticks, [str(k) for k in ticks])
        axes.minorticks_off()
        axes.set_xlabel("first principal components")
        axes.grid(axis="y")
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    panels[0].set_ylabel("running share")
    figure.legend(
        handles=legend_by_look({"pre": PRE, "post": POST}), loc="outside lower center", ncols=2
    )


def _draw_curve(axes: Axes, places: np.ndarray, numbers: Sequence[Number], look: Look) -> None:
    """One side with its intervals."""
    if not numbers:
        return
    values = np.array([one.value for one in numbers])
    low, high = (np.array([getattr(one, end) for one in numbers]) for end in ("low", "high"))
    axes.vlines(places, low, high, color=look["color"], linewidth=1.4)
    axes.plot(places, values, markeredgecolor=look["color"], markersize=5, **look)


def _data(maps: Sequence[BlockMap], curves: Sequence[Curve]) -> pd.DataFrame:
    """The plotted numbers."""
    rows: list[dict[str, object]] = []
    for one in maps:
        rows += [
            {"panel": "map", "measure": one.measure, "side": one.sides, "first_block": a,
             "second_block": b, "n": one.n, "value": one.values[i][j], "low": one.low[i][j],
             "high": one.high[i][j]}
            for i, a in enumerate(one.blocks)
            for j, b in enumerate(one.blocks)
        ]  # fmt: skip
    for curve in curves:
        for side, numbers in (("pre", curve.pre), ("post", curve.post)):
            rows += [
                {"panel": "curve", "measure": curve.measure, "question": curve.question,
                 "side": side, "components": k, "n": curve.n,
                 "value": one.value, "low": one.low, "high": one.high}
                for k, one in zip(curve.components, numbers, strict=False)
            ]  # fmt: skip
    return pd.DataFrame(rows)
