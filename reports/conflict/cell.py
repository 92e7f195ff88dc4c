"""One cell of a map of gradient conflict: the same colours, hatching and marks in every map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Patch, Rectangle
from matplotlib.path import Path as Path2D
from matplotlib.textpath import TextPath

from probes.conflict.records import Change, Interval, PairNumbers
from reports.conflict.pairs import GLYPHS, bounded, told_from_zero, two_places
from reports.style import BAND, DIVERGING, INK, MUTED

__all__ = ["AXIS", "cell_legend", "cell_values", "colour_bar", "draw_cell", "draw_floor"]

HATCH = "////"
UNSURE = "0 in the interval (white: it is open), or below floor"
AXIS = "corrected cosine of gradients (negative = they conflict)"
END = 1.0
"""Cosine at the ends of the colours; a corrected one may lie beyond, its number says so."""


def draw_cell(
    axes: Axes, place: tuple[float, float], found: PairNumbers | Change | None, *, text: float
) -> None:
    """One pair of questions: colour, hatching where nothing is shown, number and mark.

    Args:
        axes: Where.
        place: Left and bottom of the cell, which is 1 wide and 1 high.
        found: A cosine of one side, or its change between sides; None leaves the cell empty.
        text: Size of the number in points; 0 for none.
    """
    if found is None:
        return
    number = found.cosine
    # A number without any bound says nothing yet, so it has no colour.
    colour = _colour(number.value) if number is not None and bounded(number) else "white"
    sure = told_from_zero(number)
    ink = INK if _luminance(colour) > 0.5 else "white"
    axes.add_patch(
        Rectangle(
            place, 1, 1, facecolor=colour,
            edgecolor="white" if sure else (*to_rgb(MUTED if number is None else ink), 0.45),
            linewidth=0.8 if sure else 0, hatch=None if sure else HATCH,
        )
    )  # fmt: skip
    if text:
        axes.text(
            place[0] + 0.5, place[1] + 0.48, _text(number, sure), ha="center", va="center",
            color=ink, fontsize=text, linespacing=1.05, zorder=5, in_layout=False,
            # A patch behind the number keeps the hatching off it.
            bbox=None if sure else {"facecolor": colour, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip


def draw_floor(axes: Axes, place: tuple[float, float], floor: float | None, *, text: float) -> None:
    """A question against itself: the same-task floor as a plain number on grey."""
    axes.add_patch(Rectangle(place, 1, 1, facecolor=BAND, edgecolor="white"))
    if floor is not None:
        axes.text(
            place[0] + 0.5, place[1] + 0.48, two_places(floor, sign=False), ha="center",
            va="center", color=MUTED, fontsize=text, in_layout=False,
        )  # fmt: skip


def _text(number: Interval | None, sure: bool) -> str:
    if number is None:
        return "floor"
    said = two_places(number.value)
    return f"{said}\n{GLYPHS['conflict' if number.value < 0 else 'aligned']}" if sure else said


def _colour(value: float) -> tuple[float, float, float, float]:
    return DIVERGING(0.5 + 0.5 * float(np.clip(value / END, -1, 1)))


def _luminance(colour: str | tuple[float, ...]) -> float:
    return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))


def colour_bar(figure: Figure, axes: Sequence[Axes], label: str) -> Colorbar:
    """The scale of all cells, below the maps."""
    bar = figure.colorbar(
        ScalarMappable(Normalize(-END, END), DIVERGING),
        ax=list(axes), location="bottom", pad=0.02, fraction=0.04, aspect=45, shrink=0.7,
        extend="both",
    )  # fmt: skip
    bar.set_label(label)
    bar.outline.set_visible(False)
    bar.set_ticks([-1, -0.5, 0, 0.5, 1], labels=["−1", "−0.5", "0", "0.5", "1"])
    return bar


def cell_legend(*, changes: bool, diagonal: bool) -> list[Patch | Line2D]:
    """What hatching, marks and grey mean."""
    signs = {"conflict": "below 0", "aligned": "above 0"}
    more = {"conflict": ", or fell", "aligned": ", or rose"} if changes else {}
    marks: list[Patch | Line2D] = [
        Line2D(
            [], [], linestyle="none", marker=_glyph(GLYPHS[word]), color=INK,
            label=f"{word} ({said}{more.get(word, '')} for certain)",
        )
        for word, said in signs.items()
    ]  # fmt: skip
    marks.append(Patch(facecolor="white", edgecolor=MUTED, hatch=HATCH, label=UNSURE))
    if diagonal:
        marks.append(Patch(facecolor=BAND, label="same-task floor, as GCD"))
    return marks


def _glyph(character: str) -> MarkerStyle:
    """A character as a centred marker."""
    path = TextPath((0, 0), character)
    box = path.get_extents()
    centre = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    return MarkerStyle(Path2D(path.vertices - centre, path.codes))


def cell_values(found: PairNumbers | Change) -> dict[str, object]:
    """The plotted numbers of a cell."""
    number = found.cosine
    return {
        "cosine": None if number is None else number.value,
        "low": None if number is None else number.low,
        "high": None if number is None else number.high,
        "word": found.word if isinstance(found, PairNumbers) else "",
    }
