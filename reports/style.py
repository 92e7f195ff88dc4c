"""One look for all figures, and the one way in which a figure reaches the disk.

Colour never carries meaning alone: a side has its marker, a verdict its glyph and its hatching.
Nothing here touches matplotlib's global settings; figures are drawn inside `figure_style()`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import UInt8
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from reports.csv_files import write_csv
from reports.markdown import visible

__all__ = [
    "BAND",
    "BASELINE_LOOKS",
    "DIVERGING",
    "GRID",
    "INK",
    "MUTED",
    "POST",
    "PRE",
    "VERDICT_LOOKS",
    "Look",
    "drawable",
    "figure_style",
    "headline",
    "legend_by_look",
    "new_figure",
    "save_figure",
    "whole_ticks",
]

Look = dict[str, str]
"""Colour, marker and fill of a mark, as matplotlib's `plot` takes them."""

DPI = 160
"""Of a PNG, for pages and drafts; an SVG lies beside it for print."""
COLOURS = 256
"""Of a PNG: lines and maps have few, and their soft edges some more."""
INK, MUTED, GRID, BAND = "#222222", "#6b6b6b", "#dddddd", "#ececec"
LONGEST_NAME = 30  # characters of a name that a figure shows
_PALETTE = sns.color_palette("colorblind").as_hex()
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE, _BROWN = _PALETTE[:6]
_SKY = _PALETTE[9]

PRE: Look = {"color": _BLUE, "marker": "o", "markerfacecolor": "white"}
POST: Look = {"color": _ORANGE, "marker": "s", "markerfacecolor": _ORANGE}
"""Looks of the two sides: open circles before, filled squares after."""

VERDICT_LOOKS: dict[str, Look] = {
    "degraded": {"color": _RED, "marker": "v", "markerfacecolor": _RED},
    "improved": {"color": _BLUE, "marker": "^", "markerfacecolor": _BLUE},
    "equivalent": {"color": _GREEN, "marker": "o", "markerfacecolor": _GREEN},
    "undecided": {"color": MUTED, "marker": "D", "markerfacecolor": "white"},
}
BASELINE_LOOKS: dict[str, Look] = {
    "random-tower": {"color": _SKY, "marker": "h", "markerfacecolor": _SKY},
    "pixels": {"color": _GREEN, "marker": "s", "markerfacecolor": _GREEN},
    "histogram": {"color": _PURPLE, "marker": "^", "markerfacecolor": "white"},
    "boxes": {"color": _BROWN, "marker": "D", "markerfacecolor": "white"},
    "head-position": {"color": _BROWN, "marker": "D", "markerfacecolor": "white"},
    "shuffled-pre": {"color": MUTED, "marker": "d", "markerfacecolor": "white"},
    "shuffled-post": {"color": MUTED, "marker": "d", "markerfacecolor": "white"},
    "human": {"color": INK, "marker": "P", "markerfacecolor": "white"},
    "prior": {"color": MUTED, "marker": "x", "markerfacecolor": MUTED},
    "centre": {"color": MUTED, "marker": "x", "markerfacecolor": MUTED},
}

DIVERGING = mpl.colormaps["RdBu"].resampled(41)
"""Worse is red and better is blue; the pair stays apart for the colour-blind, white is zero.

In steps, so that a cell has a colour that can be found on the scale, in few colours too.
"""

_RC = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs on every machine
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # nothing stands above our axes that a title would have to clear
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
    "hatch.linewidth": 0.7,
    "text.usetex": False,
    "text.parse_math": False,  # a name with two dollar signs is a name, not a formula
    "figure.facecolor": "white",
    "savefig.bbox": None,
}

_VECTOR = {
    "svg.fonttype": "path",  # looks the same where the font is not installed
    "svg.hashsalt": "sdiag",  # the ids inside are drawn at random without one
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw with the house style; a user's own matplotlib settings neither act nor change."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches with constrained layout, outside of pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, data: pd.DataFrame, stem: Path, notes: Mapping[str, str]) -> Path:
    """Write `stem`.png, the same as `stem`.svg for print, and the plotted numbers as `stem`.csv.

    The bytes depend only on the figure, the data and the notes: no time, no host, no chance.

    Args:
        figure: What was drawn.
        data: What was drawn, as numbers, unrounded.
        stem: Path without suffix, in a folder that exists.
        notes: Text chunks for the PNG, such as `Signature` and `Software`; the SVG has them as its
            description and creator.

    Returns:
        The path of the PNG.
    """
    notes = {name: visible(text) for name, text in notes.items()}
    png, svg, csv = (stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg", "csv"))
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if not axis.get_label_text():
            axis.set_label_coords(0, 0)  # or a place is sought for no label, at every draw
    # Places are found once, for both files; left to `savefig`, each file is drawn twice.
    figure.get_layout_engine().execute(figure)
    figure.set_layout_engine(None)
    _write_png(figure, png, notes)
    with mpl.rc_context(_VECTOR):
        figure.savefig(svg, metadata=_described(notes))
    write_csv(data, csv)
    return png


def _write_png(figure: Figure, path: Path, notes: Mapping[str, str]) -> None:
    """The figure in few colours: a third of the bytes, and the eye sees no difference."""
    figure.canvas.draw()
    chunks = PngInfo()
    for name, text in notes.items():
        chunks.add_text(name, text)
    few = _few_colours(np.asarray(figure.canvas.buffer_rgba()))
    few.save(path, dpi=(DPI, DPI), pnginfo=chunks, compress_level=7)


def _few_colours(drawn: UInt8[np.ndarray, "h w 4"]) -> Image.Image:
    """An opaque picture with a palette; of a run of equal pixels, a few stand for all."""
    pixels = drawn.view(np.uint32).ravel()
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    lengths = np.diff(starts, append=len(pixels))
    weights = np.minimum(lengths, 32)  # areas still count for more than the edges of letters
    shown = np.repeat(pixels[starts], weights).tobytes()
    few = Image.frombytes("RGBA", (len(shown) // 4, 1), shown).convert("RGB")
    few = few.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    of_runs = np.asarray(few).ravel()[np.cumsum(weights) - 1]
    whole = Image.fromarray(np.repeat(of_runs, lengths).reshape(drawn.shape[:2]))
    whole.putpalette(few.getpalette())
    return whole


def _described(notes: Mapping[str, str]) -> dict[str, str | None]:
    """The notes as metadata of an SVG, without the time at which it was written."""
    others = "\n".join(f"{name}: {text}" for name, text in notes.items() if name != "Software")
    return {"Creator": notes.get("Software"), "Description": others, "Date": None}


def headline(figure: Figure, name: str, text: str) -> None:
    """Put a name and a text over the whole figure, at the left, on two lines if they are long."""
    parts = (drawable(name), text)
    line = ": ".join(parts)
    figure.suptitle(
        line if len(line) <= 2 * LONGEST_NAME else ":\n".join(parts),
        x=0.01,
        ha="left",
        fontsize=10.5,
        fontweight="bold",
    )


def whole_ticks(axis: Axis) -> None:
    """Mark an axis at round numbers without decimals."""
    axis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 5, 10], integer=True))


def legend_by_look(looks: Mapping[str, Look], prefix: str = "") -> list[Line2D]:
    """Legend entries for names by look; names that look alike share one entry."""
    shared: dict[tuple[str, ...], list[str]] = {}
    for name, look in looks.items():
        shared.setdefault((look["marker"], look["markerfacecolor"], look["color"]), []).append(name)
    return [
        Line2D(
            [], [], marker=marker, markerfacecolor=face, color=colour, markeredgecolor=colour,
            label=prefix + " or ".join(drawable(name) for name in names),
        )
        for (marker, face, colour), names in shared.items()
    ]  # fmt: skip


def drawable(name: str) -> str:
    """A name as a figure can show it: on one line, shortened, glyphs that the font lacks as `�`."""
    font = get_font(findfont("DejaVu Sans"))
    plain = "".join(
        c if font.get_char_index(ord(c)) else "�" for c in visible(" ".join(name.split()))
    )
    return plain if len(plain) <= LONGEST_NAME else f"{plain[: LONGEST_NAME - 1]}…"
