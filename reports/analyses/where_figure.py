"""Maps of the delta of single tokens: by cell of the picture, and relative to a box."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize, to_rgb
from matplotlib.patches import Patch, Rectangle

from probes.slices.records import CellMap, WhereRecord
from probes.statistics.differences import benjamini_hochberg
from reports.formats import count, signed
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

__all__ = ["where_figure"]

ALPHA = 0.05
HATCH = "////"
NUMBERED = 12
"""Most columns of a map whose cells have room for their number."""


def where_figure(
    record: WhereRecord, question: str, label: str, stem: Path, notes: dict[str, str]
) -> tuple[Path, float]:
    """Draw the maps of one question on one colour scale.

    Args:
        record: From `sdiag where`.
        question: One of its questions.
        label: The question as people read it.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG, beside which the plotted numbers lie as CSV; and the median half width
        of the 95 % intervals of the cells of the picture, in points.
    """
    maps = [one for one in record.maps if one.question == question]
    data = pd.concat([_data(one) for one in maps], ignore_index=True)
    end = max(2.0, float(data["delta"].abs().max()))
    with figure_style():
        figure = new_figure(4.3 * len(maps), 5.3)
        axes = np.atleast_1d(figure.subplots(1, len(maps)))
        for ax, one in zip(axes, maps, strict=True):
            _draw(ax, one, data[data["frame"] == one.frame], end)
        headline(figure, record.pair.name, f"{drawable(label)} by place")
        bar = figure.colorbar(
            ScalarMappable(Normalize(-end, end), DIVERGING),
            ax=list(axes), location="bottom", pad=0.03, fraction=0.05, aspect=40, shrink=0.7,
        )  # fmt: skip
        bar.set_label("delta of the accuracy of single tokens (points, negative = worse)")
        bar.outline.set_visible(False)
        whole_ticks(bar.ax.xaxis)
        figure.legend(
            handles=[
                Patch(facecolor="white", edgecolor=MUTED, hatch=HATCH, label="not told from zero"),
                Patch(facecolor=BAND, label="too few clusters"),
            ],
            loc="outside lower center", ncols=2,
        )  # fmt: skip
        png = save_figure(figure, data, stem, notes)
    whole = data[data["frame"] == "picture"]
    half = float((whole["delta_high"] - whole["delta_low"]).median() / 2)
    return png, half


def _draw(axes: Axes, one: CellMap, data: pd.DataFrame, end: float) -> None:
    """One map, its first row at the top, with the box in it if it is relative to one."""
    # Cells that look alike are one artist: hundreds of them would take a while.
    alike: dict[str, list[tuple[Rectangle, tuple[float, ...] | str]]] = {}
    for cell in data.itertuples():
        known = np.isfinite(cell.delta)
        colour = DIVERGING(0.5 + 0.5 * cell.delta / end) if known else BAND
        luminance = float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))
        ink = INK if luminance > 0.5 else "white"
        unsure = known and cell.p_adjusted > ALPHA
        place = Rectangle((cell.column, cell.row), 1, 1)
        alike.setdefault(ink if unsure else "", []).append((place, colour))
        if known and one.columns <= NUMBERED:
            whole = signed(float(round(cell.delta))).partition(".")[0]
            axes.text(
                cell.column + 0.5, cell.row + 0.5, whole,
                ha="center", va="center", fontsize=7, color=ink, in_layout=False,
            )  # fmt: skip
    for ink, cells in alike.items():
        places, colours = zip(*cells, strict=True)
        axes.add_collection(
            PatchCollection(
                places, facecolors=colours, edgecolor=(*to_rgb(ink), 0.45) if ink else "white",
                linewidth=0 if ink else 0.5, hatch=HATCH if ink else None, zorder=1,
            )
        )  # fmt: skip
    boxed = one.frame != "picture"
    if boxed:
        axes.add_patch(
            Rectangle(
                (one.columns / 4, one.rows / 4), one.columns / 2, one.rows / 2,
                fill=False, edgecolor=INK, linewidth=2, zorder=5,
            )
        )  # fmt: skip
    axes.set_xlim(0, one.columns)
    axes.set_ylim(one.rows, 0)
    axes.set_aspect("equal")
    name = f"relative to the {drawable(one.frame)} box" if boxed else "in the picture"
    several = "up to " if len(set(one.n)) > 1 else ""
    axes.set_title(f"{name}, n {several}{count(max(one.n))}")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _data(one: CellMap) -> pd.DataFrame:
    """The plotted numbers, one row a cell; p corrected over the cells of the map."""
    row, column = np.divmod(np.arange(one.rows * one.columns), one.columns)
    delta, low, high, p = map(_floats, (one.delta, one.low, one.high, one.p))
    known = np.isfinite(delta)
    corrected = np.full(len(p), np.nan)
    if known.any():
        corrected[known] = benjamini_hochberg(p[known].tolist())
    return pd.DataFrame(
        {
            "question": one.question,
            "frame": one.frame,
            "row": row,
            "column": column,
            "n": one.n,
            "delta": delta,
            "delta_low": low,
            "delta_high": high,
            "p": p,
            "p_adjusted": corrected,
        }
    )


def _floats(values: tuple[float | None, ...]) -> Float64[np.ndarray, " m"]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
