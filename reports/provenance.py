"""The account of `sdiag provenance`: where a tower comes from, in words, numbers and a figure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from degradation.errors import ConfigError
from degradation.provenance import Check, Provenance
from degradation.weight_distance import KINDS, STATES, Comparison, Sums
from reports.csv_files import write_csv
from reports.formats import count
from reports.markdown import code, escape, fenced, picture, table
from reports.origins import origins_table
from reports.style import (
    INK,
    Look,
    drawable,
    figure_style,
    headline,
    new_figure,
    save_figure,
)

__all__ = [
    "ProvenanceFiles",
    "distance_table",
    "provenance_figure",
    "sentences",
    "tensor_table",
    "write_provenance",
]

MARKERS = "osD^vPX*"
WHOLE, BEFORE, ALL = "whole tower", "before the blocks", "all"
SHOWN = 8  # tensors that a list in the Markdown names; the CSV has them all


@dataclass(frozen=True, slots=True)
class ProvenanceFiles:
    """What was written.

    Attributes:
        document: The Markdown.
        figure: The PNG, its numbers beside it as CSV; None if no candidate has any counterpart.
        tensors: Every tensor of every comparison, as CSV.
    """

    document: Path
    figure: Path | None
    tensors: Path


def sentences(provenance: Provenance, checks: Sequence[Check] = ()) -> list[str]:
    """The verdict, what is exactly equal, and the self-tests, one sentence each, as plain text."""
    nearest = provenance.comparisons[0]
    origins = " and ".join(provenance.origins)
    total = nearest.total
    if not nearest.ranked:
        said = [
            f"{provenance.post} descends from none of the candidates: at most "
            f"{nearest.coverage:.0%} of its entries have a counterpart. They are other "
            "architectures."
        ]
    elif not origins:
        said = [
            f"{provenance.post} descends from none of the candidates: the nearest, "
            f"{nearest.candidate}, is at {total.share:.0%} of the distance that chance gives."
        ]
    else:
        equally = ", which are equally near" if len(provenance.origins) > 1 else ""
        said = [
            f"{provenance.post} descends from {origins}{equally}: relative distance "
            f"{total.distance:.3g}, where chance gives {total.floor:.3g}"
            f"{_margin(provenance)}."
        ]
    said += [text for one in provenance.comparisons for text in _exact(provenance.post, one)]
    return said + [_check(one) for one in checks]


def _margin(provenance: Provenance) -> str:
    """How much farther the runner-up is."""
    if provenance.margin is None:
        return ""
    ranked = [one for one in provenance.comparisons if one.ranked]
    runner_up = ranked[len(provenance.origins)]
    return (
        f"; the runner-up {runner_up.candidate} is at {runner_up.total.distance:.3g}, so the "
        f"nearest is {provenance.margin:.0%} nearer"
    )


def _exact(post: str, one: Comparison) -> Iterator[str]:
    """What can be said without a probe: equal weights, moved tensors, other switches."""
    differ = ", ".join(f"{name} {a} → {b}" for name, (a, b) in one.switches.items())
    counts = one.counts
    if one.identical:
        yield f"{post} and {one.candidate} have identical weights: every delta is exactly 0."
    elif one.same_weights:
        yield (
            f"{post} and {one.candidate} have identical weights but other configurations "
            f"({differ}): deltas need not be 0."
        )
    elif counts["rounded"] and counts["identical"] + counts["rounded"] == len(one.tensors):
        yield (
            f"{post} is {one.candidate} rounded to half precision: deltas are 0 up to that "
            "rounding."
        )
    if counts["renamed"]:
        yield (
            f"{counts['renamed']} tensors of {post} stand in {one.candidate} under other names: "
            "a map of names is wrong, or the weights were permuted."
        )


def _check(one: Check) -> str:
    """The outcome of a self-test."""
    where = f"under {one.prefix}" if one.prefix else "of the tower"
    rounded = f", {one.rounded} of them up to rounding" if one.rounded else ""
    outcome = "passed" if one.passed else "FAILED"
    return (
        f"Self-test {outcome}: {one.same} of {one.n} tensors {where} are equal to those of the "
        f"pre side{rounded}; all were expected to be."
    )


def distance_table(provenance: Provenance) -> pd.DataFrame:
    """Distances by candidate, part of the tower and kind of module, whole tower first.

    Columns: candidate, part, kind, place (position on the depth axis; empty for the whole
    tower), n, relative_l2, cosine, floor, share (relative_l2 over floor).
    """
    data = pd.DataFrame([row for one in provenance.comparisons for row in _rows(one)])
    return data if data.empty else data.astype({"place": "Int64"})


def _rows(one: Comparison) -> Iterator[dict[str, object]]:
    """The rows of one candidate; parts without aligned tensors are left out."""
    parts: list[tuple[str, int | None, list[int | None]]] = [(WHOLE, None, one.depths)]
    parts += [
        (BEFORE, -1, [block]) if block is None else (f"block {block}", block, [block])
        for block in one.depths
    ]
    for part, place, blocks in parts:
        for kind in (ALL, *KINDS):
            sums = one.sums(
                lambda record, blocks=blocks, kind=kind: (
                    record.block in blocks and kind in (ALL, record.kind)
                )
            )
            if sums.n:
                names = {"candidate": one.candidate, "part": part, "kind": kind, "place": place}
                yield names | _numbers(sums)


def _numbers(sums: Sums) -> dict[str, int | float]:
    """The measures of some sums, as columns."""
    return {
        "n": sums.n,
        "relative_l2": sums.distance,
        "cosine": sums.cosine,
        "floor": sums.floor,
        "share": sums.share,
    }


def tensor_table(provenance: Provenance) -> pd.DataFrame:
    """Every tensor of every comparison: what became of it, and its distance where aligned."""
    data = pd.DataFrame(
        [
            {
                "candidate": one.candidate,
                "tensor": record.name,
                "block": record.block,
                "kind": record.kind,
                "state": record.state,
                "origin": record.origin,
                "entries": record.n,
            }
            | (_numbers(record.sums) if record.sums else {})
            for one in provenance.comparisons
            for record in one.tensors
        ]
    )
    return data.drop(columns="n", errors="ignore").astype({"block": "Int64"})


def provenance_figure(provenance: Provenance, stem: Path, notes: dict[str, str]) -> Path | None:
    """Draw the distance at every depth, one line for each candidate, and the floor of the nearest.

    Args:
        provenance: What was found.
        stem: Path of the files without suffix.
        notes: Text chunks for the PNG.

    Returns:
        The path of the PNG, the numbers beside it as CSV; None if nothing is aligned.
    """
    data = distance_table(provenance)
    if data.empty:
        return None
    drawn = data[(data["kind"] == ALL) & data["place"].notna()]
    candidates = list(dict.fromkeys(drawn["candidate"]))
    depths = sorted(set(drawn["place"].tolist()))
    origins = provenance.origins
    with figure_style():
        width = min(10.0, 5.2 + 0.13 * len(depths))
        figure = new_figure(width, 4.4)
        axes = figure.subplots()
        for name, look in zip(candidates, _looks(len(candidates)), strict=True):
            rows = drawn[drawn["candidate"] == name]
            near = name in origins
            axes.plot(
                rows["place"], rows["relative_l2"], label=drawable(name),
                linewidth=2.2 if near else 1.1, markeredgecolor=look["color"], zorder=3,
                clip_on=False, **look,
            )  # fmt: skip
        floor = drawn[drawn["candidate"] == candidates[0]]
        axes.plot(floor["place"], floor["floor"], color=INK, linestyle="--", linewidth=1.1)
        _dress(axes, depths, float(drawn[["relative_l2", "floor"]].replace(inf, 0).max().max()))
        headline(figure, provenance.post, "relative distance to each candidate")
        handles, _ = axes.get_legend_handles_labels()
        chance = Line2D([], [], color=INK, linestyle="--", label="what chance gives")
        entry = 0.7 + 0.075 * max(len(str(handle.get_label())) for handle in (*handles, chance))
        columns = max(1, min(3, int(width / entry)))
        figure.legend(handles=[*handles, chance], loc="outside lower center", ncols=columns)
        return save_figure(figure, data, stem, notes)


def _looks(n: int) -> list[Look]:
    """As many looks as there are candidates, told apart by marker as well as by colour."""
    colours = sns.color_palette("colorblind", n).as_hex()
    return [
        {
            "color": colours[i],
            "marker": MARKERS[i % len(MARKERS)],
            "markerfacecolor": "white" if i % 2 else colours[i],
        }
        for i in range(n)
    ]


def _dress(axes: Axes, depths: Sequence[int], top: float) -> None:
    """Scale, ticks and labels: zero is shown, and small distances are spread out."""
    axes.set_yscale("function", functions=(_root, np.square))
    axes.set_ylim(0, 1.08 * top)
    steps = [0, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 1.5, 2, 3, 5]
    axes.set_yticks([y for y in steps if y <= 1.08 * top])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    every = -(-len(depths) // 14)
    # Where ticks are dense, the word "before" needs the room of block 0.
    first = 0 if every == 1 else every
    shown = [place for place in depths if place < 0 or place in range(first, place + 1, every)]
    axes.set_xticks(shown, ["before" if place < 0 else str(place) for place in shown])
    axes.set_xlabel("block")
    axes.set_ylabel("‖post − pre‖ / ‖pre‖ (root scale)")
    axes.grid(axis="y")
    axes.margins(x=0.04)


def _root(y: np.ndarray) -> np.ndarray:
    """The square root; matplotlib also asks for places below zero, which are not drawn."""
    return np.sqrt(np.maximum(y, 0))


def write_provenance(
    provenance: Provenance, checks: Sequence[Check], out: Path, command: str | None = None
) -> ProvenanceFiles:
    """Write `provenance.md`, `provenance.png`, `provenance.csv` and `tensors.csv` into a folder.

    Args:
        provenance: What was found.
        checks: The self-tests that were run.
        out: The folder; made if need be, earlier files of these names are replaced.
        command: Command line, for the last section.

    Raises:
        ConfigError: The folder cannot be written.
    """
    said = sentences(provenance, checks)
    notes = {"Software": "sdiag", "Description": said[0]}
    try:
        out.mkdir(parents=True, exist_ok=True)
        figure = provenance_figure(provenance, out / "provenance", notes)
        files = ProvenanceFiles(out / "provenance.md", figure, out / "tensors.csv")
        write_csv(tensor_table(provenance), files.tensors)
        text = _document(provenance, said, files, command)
        files.document.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise ConfigError(
            f"Could not write into {out}: {error.strerror}. Free some space or name another "
            "folder with --out."
        ) from error
    return files


def _document(
    provenance: Provenance, said: Sequence[str], files: ProvenanceFiles, command: str | None
) -> str:
    """The Markdown."""
    alt = f"Distance of {provenance.post} to each candidate at every depth"
    parts = [
        f"# Where {escape(provenance.post)} comes from",
        "\n".join(f"- {escape(sentence)}" for sentence in said),
        picture(alt, files.figure.name) if files.figure else "",
        "## Candidates",
        "Distance is ‖post − pre‖ / ‖pre‖ over all entries that have a counterpart. Chance is "
        "what the candidate's own values would give in random order; two unrelated towers are at "
        "about 100 % of it.",
        _candidates(provenance),
        "## Where the weights were read" if provenance.sources else "",
        origins_table(provenance.sources.items()),
        "## By kind of module",
        "Distance, and in brackets what chance gives.",
        _by_kind(provenance),
        "## What has no counterpart, or another configuration",
        _odd_ones(provenance) or "None.",
        f"All tensors: {code(files.tensors.name)}. All distances: {code('provenance.csv')}.",
        fenced([command], "sh") if command else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _candidates(provenance: Provenance) -> str:
    """One row for each candidate, nearest first."""
    header = ["candidate", "distance", "chance", "of chance", "cosine", "entries aligned", *STATES]
    rows = [
        [
            code(one.candidate),
            *(f"{value:.3g}" for value in (one.total.distance, one.total.floor)),
            f"{one.total.share:.0%}",
            f"{one.total.cosine:.4f}",
            f"{one.coverage:.0%}",
            *(count(n) for n in one.counts.values()),
        ]
        for one in provenance.comparisons
    ]
    legend = "; ".join(f"{state}: {meaning}" for state, meaning in STATES.items())
    return f"{table(header, rows, right=range(1, len(header)))}\n\n{escape(legend)}."


def _by_kind(provenance: Provenance) -> str:
    """Distances by candidate and kind of module."""
    rows = []
    for one in provenance.comparisons:
        cells = [one.sums(lambda record, kind=kind: record.kind == kind) for kind in KINDS]
        rows.append(
            [
                code(one.candidate),
                *(f"{sums.distance:.3g} ({sums.floor:.3g})" if sums.n else "–" for sums in cells),
            ]
        )
    return table(["candidate", *KINDS], rows, right=range(1, 1 + len(KINDS)))


def _odd_ones(provenance: Provenance) -> str:
    """What has no counterpart, and the switches that differ, candidate by candidate."""
    lines = []
    for one in provenance.comparisons:
        for state in ("renamed", "misshapen", "post only", "pre only"):
            names = [
                f"{record.name} (there {record.origin})" if record.origin else record.name
                for record in one.tensors
                if record.state == state
            ]
            if names:
                rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                listed = ", ".join(code(name) for name in names[:SHOWN])
                lines.append(f"- {code(one.candidate)}, {state}: {listed}{rest}")
        if one.switches:
            differ = ", ".join(code(f"{name} {a} → {b}") for name, (a, b) in one.switches.items())
            lines.append(f"- {code(one.candidate)}, configuration pre → post: {differ}")
    return "\n".join(lines)
