"""The figures of the diagnosis: deltas by probe and by map, and scores by number of samples."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

from probes.diagnosis.records import CurvePoint, QuestionDiagnosis
from probes.records import Estimate
from reports.style import (
    BAND,
    GRID,
    INK,
    MUTED,
    POST,
    PRE,
    Look,
    drawable,
    figure_style,
    headline,
    legend_by_look,
    new_figure,
    save_figure,
    whole_ticks,
)

__all__ = ["Named", "losses_figure", "samples_figure"]


class Named(NamedTuple):
    """A question and its metric as they are labelled in the report, and its diagnosis."""

    label: str
    metric: str
    found: QuestionDiagnosis


_GREEN, _PURPLE, _BROWN, _SKY = (sns.color_palette("colorblind").as_hex()[i] for i in (2, 4, 5, 9))
LINEAR: Look = {"color": INK, "marker": "o", "markerfacecolor": INK}
PROBES: dict[str, Look] = {
    "linear": LINEAR,
    "MLP": {"color": _PURPLE, "marker": "^", "markerfacecolor": "white"},
    "attentive": {"color": _SKY, "marker": "P", "markerfacecolor": _SKY},
}
MAPS: dict[str, Look] = {
    "as they are": {"color": MUTED, "marker": "x", "markerfacecolor": MUTED},
    "rotated": {"color": _BROWN, "marker": "D", "markerfacecolor": "white"},
    "mapped linearly": {"color": _GREEN, "marker": "s", "markerfacecolor": _GREEN},
    "probe fitted anew": LINEAR,
}
MAP_NAMES = {"raw": "as they are", "orthogonal": "rotated", "affine": "mapped linearly"}
ROW, GAP = 0.62, 0.21  # inches a question, and rows between two marks of one
COLUMNS = 4


def losses_figure(
    named: Sequence[Named], pair: str, stem: Path, notes: dict[str, str], margin: float
) -> Path:
    """Draw the deltas of every question: by probe at the left, of the old probe at the right.

    Args:
        named: Questions of one pair, in order.
        pair: Name of the pair.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.
        margin: Points below which a difference is too small to matter, drawn as a band.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    left = [_by_probe(one.found) for one in named]
    right = [_by_map(one.found) for one in named]
    with figure_style():
        figure = new_figure(9.6, ROW * len(named) + 1.7)
        axes = figure.subplots(1, 2, sharey=True)
        for ax, marks, title in (
            (axes[0], left, "Probes fitted on each side"),
            (axes[1], right, "Features after, read by the old probe"),
        ):
            _draw_rows(ax, marks, PROBES if ax is axes[0] else MAPS, margin)
            ax.set_title(title)
            ax.set_xlabel("delta (points, negative = worse)")
        axes[0].set_ylim(len(named) - 0.5, -0.5)
        axes[0].set_yticks(
            range(len(named)),
            [f"{drawable(one.label)}\n{one.found.word}" for one in named],
        )
        headline(figure, pair, "what is lost, to which probe")
        shown = {name: look for name, look in PROBES.items() if any(name in row for row in left)}
        handles = legend_by_look(shown) + legend_by_look(
            {name: MAPS[name] for name in MAPS if name != "probe fitted anew"}, "old probe: "
        )
        handles.append(Patch(color=BAND, label=f"within ±{margin:g} points"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        return save_figure(figure, _losses_data(named), stem, notes)


def _by_probe(found: QuestionDiagnosis) -> dict[str, Estimate]:
    names = {"mlp": "MLP", "attentive": "attentive"}
    return {names.get(one.probe, "linear"): one.numbers.delta for one in found.capacity}


def _by_map(found: QuestionDiagnosis) -> dict[str, Estimate]:
    marks = {MAP_NAMES[step.map]: step.numbers.delta for step in found.transfer}
    return marks | {"probe fitted anew": found.capacity[0].numbers.delta}


def _draw_rows(
    axes: Axes, rows: Sequence[dict[str, Estimate]], looks: dict[str, Look], margin: float
) -> None:
    """One row a question, its marks under each other."""
    axes.axvspan(-margin, margin, color=BAND, zorder=0)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    for row, marks in enumerate(rows):
        names = [name for name in looks if name in marks]
        for place, name in enumerate(names):
            y, delta = row + GAP * (place - (len(names) - 1) / 2), marks[name]
            look = looks[name]
            axes.plot([delta.low, delta.high], [y, y], color=look["color"], zorder=2)
            axes.plot(
                [delta.value], [y], linestyle="none", markersize=5,
                markeredgecolor=look["color"], zorder=3, **look,
            )  # fmt: skip
        if row:
            axes.axhline(row - 0.5, color=GRID, linewidth=0.7)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.04)
    whole_ticks(axes.xaxis)


def _losses_data(named: Sequence[Named]) -> pd.DataFrame:
    """The plotted numbers."""
    return pd.DataFrame(
        [
            {
                "question": label, "block": found.block, "diagnosis": found.word, "probe": probe,
                "delta": delta.value, "delta_low": delta.low, "delta_high": delta.high,
            }
            for label, _, found in named
            for marks, prefix in ((_by_probe(found), ""), (_by_map(found), "old probe, "))
            for probe, delta in ((f"{prefix}{name}", one) for name, one in marks.items())
            if probe != "old probe, probe fitted anew"
        ]
    )  # fmt: skip


def samples_figure(named: Sequence[Named], pair: str, stem: Path, notes: dict[str, str]) -> Path:
    """Draw the score of the linear probe against the share of the training clusters.

    Args:
        named: Questions of one pair that have a curve.
        pair: Name of the pair.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG; the plotted numbers lie beside it as CSV.
    """
    lines = ceil(len(named) / COLUMNS)
    columns = max(2, ceil(len(named) / lines))
    with figure_style():
        figure = new_figure(0.8 + 2.35 * columns, 1.0 + 2.15 * lines)
        axes = figure.subplots(lines, columns, squeeze=False)
        for ax, (label, metric, found) in zip(axes.flat, named, strict=False):
            _draw_curve(ax, found)
            ax.set_title(f"{drawable(label)}\n{drawable(metric)}", fontsize=9)
        for ax in axes.flat[len(named) :]:
            ax.set_axis_off()
        for ax in axes.flat[max(0, len(named) - columns) : len(named)]:
            ax.set_xlabel("training clusters (%)")
        figure.supylabel("score or error (points)", fontsize=9)
        headline(figure, pair, "what the linear probe reads from fewer samples")
        handles: list[Line2D] = legend_by_look({"pre": PRE, "post": POST})
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        return save_figure(figure, _samples_data(named), stem, notes)


def _draw_curve(axes: Axes, found: QuestionDiagnosis) -> None:
    """Both sides with their intervals over a logarithmic axis."""
    shares = [100 * point.share for point in found.curve]
    for name, look in (("pre", PRE), ("post", POST)):
        sides: list[Estimate] = [getattr(point, name) for point in found.curve]
        axes.fill_between(
            shares, [one.low for one in sides], [one.high for one in sides],
            color=look["color"], alpha=0.18, linewidth=0,
        )  # fmt: skip
        axes.plot(
            shares, [one.value for one in sides], markersize=4.5,
            markeredgecolor=look["color"], **look,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(_labelled(found.curve))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.grid(axis="y")
    whole_ticks(axes.yaxis)


def _labelled(curve: Sequence[CurvePoint]) -> list[float]:
    """Shares that get a tick: neighbours less than a factor of two apart would touch."""
    ticks: list[float] = []
    for share in sorted((100 * point.share for point in curve), reverse=True):
        if not ticks or share <= ticks[-1] / 2:
            ticks.append(share)
    return ticks


def _samples_data(named: Sequence[Named]) -> pd.DataFrame:
    """The plotted numbers."""
    rows = []
    for label, _, found in named:
        for point in found.curve:
            row: dict[str, object] = {
                "question": label, "block": found.block, "metric": found.metric,
                "share": point.share, "rows": point.rows, "subsets": point.subsets,
            }  # fmt: skip
            for name in ("pre", "post", "delta"):
                one: Estimate = getattr(point, name)
                row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
            rows.append(row)
    return pd.DataFrame(rows)
