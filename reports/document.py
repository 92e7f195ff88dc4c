"""The report as one document: its sections in the order in which they are read."""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from reports.cells import Cell, by_pair
from reports.heatmap import colour_range, mapped_cells
from reports.load import Results
from reports.markdown import code, escape, fenced, folded
from reports.names import PLANTED, training_step
from reports.sections import (
    arms_section,
    changes_section,
    left_out_section,
    map_section,
    readers_section,
    runs_section,
    scores_section,
    self_test_section,
    steps_section,
    verdict_section,
)
from reports.sentences import incomplete, verdict_paragraph
from reports.tables import confirmatory, numbers_table, steps_table

__all__ = ["MARKER", "Document", "Settings", "compose"]

MARKER = "<!-- sdiag report -->"
"""First line of every report: by it an earlier one is known and may be replaced."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the records are judged: margin in points, level of the tests, and the command line."""

    margin: float
    alpha: float
    command: str | None


@dataclass(frozen=True, slots=True)
class Document:
    """The Markdown, and what it says is missing."""

    text: str
    incomplete: tuple[str, ...]


def compose(
    results: Results, cells: Sequence[Cell], settings: Settings, figures: Path, numbers: Path
) -> Document:
    """Write the figures and the table of all numbers, and return the Markdown that shows them.

    Args:
        results: What was read.
        cells: The judged cells of all its records.
        settings: How they were judged.
        figures: Existing folder for the figures and their data.
        numbers: Path of the CSV of every comparison.
    """
    numbers_table(cells).to_csv(numbers, index=False, lineterminator="\n")
    missing = tuple(incomplete(results))
    shown = _shown(cells)
    parts = [MARKER, "# What the encoder still reads", _opening(shown, settings, missing)]
    end = colour_range(
        [c for members in shown.values() for c in mapped_cells(members)], settings.margin
    )
    for pair, members in shown.items():
        parts += _pair_parts(pair, members, settings, figures, end, alone=len(shown) == 1)
    parts += _training_parts(cells, settings, figures)
    if any(cell.pair.name in PLANTED for cell in confirmatory(cells)):
        parts += [
            "## Self-test",
            "Planted pairs, whose answer is known: what the verdicts say of them.",
            self_test_section(cells),
        ]
    parts += ["## Rows left out", left_out_section(results.records)]
    parts += ["## Signatures", _signatures(cells)]
    parts += ["## How to reproduce", _reproduction(results, settings)]
    return Document("\n\n".join(part for part in parts if part) + "\n", missing)


def _shown(cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The pairs with a section of their own: neither checkpoints nor planted, unless all are."""
    pairs = {name: found for name, found in by_pair(cells).items() if confirmatory(found)}
    own = {
        name: found
        for name, found in pairs.items()
        if training_step(name) is None and name not in PLANTED
    }
    return own or pairs


def _opening(shown: dict[str, list[Cell]], settings: Settings, missing: Sequence[str]) -> str:
    """The verdicts in sentences, and before anything else what they do not cover."""
    declared = confirmatory(cell for members in shown.values() for cell in members)
    parts = [verdict_paragraph(declared, settings.margin)]
    if missing:
        parts.append("\n".join(["> **Not complete.**", *(f"> - {line}" for line in missing)]))
    return "\n\n".join(parts)


def _pair_parts(
    pair: str, cells: Sequence[Cell], settings: Settings, figures: Path, end: float, *, alone: bool
) -> Iterator[str]:
    """The sections of one pair; their headings are one level deeper where there are several."""
    level = "##" if alone else "###"
    card = cells[0].pair
    notes = _notes(cells)
    if not alone:
        yield f"## {code(pair)}"
    imported = " Its features were computed elsewhere and imported." if card.imported else ""
    yield f"{level} Verdicts"
    yield (
        f"The pair: {escape(card.lineage)} Compared by {escape(card.protocol)}, "
        f"{_declared_block(cells)}.{imported} {_weights(cells)}{_row_lists(cells)}"
    )
    yield verdict_section(cells)
    yield _legend(cells, settings)
    yield scores_section(cells, figures, notes, settings.margin)
    yield map_section(cells, figures, notes, end)
    if readers := readers_section(cells, figures, notes):
        yield f"{level} Against reading without the encoder"
        yield readers
    if arms := arms_section(cells):
        yield f"{level} Other ways to read the same features"
        yield arms
    if changes := changes_section(cells):
        yield f"{level} Broken and fixed"
        yield changes


def _declared_block(cells: Sequence[Cell]) -> str:
    """The block or blocks of the confirmatory cells."""
    blocks = sorted({cell.comparison.block for cell in confirmatory(cells)})
    return f"block{'s' if len(blocks) > 1 else ''} {', '.join(map(str, blocks))}"


def _weights(cells: Sequence[Cell]) -> str:
    """Which declared fits gave every class the same weight."""
    declared = confirmatory(cells)
    balanced = [escape(c.label) for c in declared if c.task.balanced]
    if not balanced:
        return "Every training row has the same weight in the fits."
    rest = ", in all others every row" if len(balanced) < len(declared) else ""
    return (
        f"In the fits of {', '.join(dict.fromkeys(balanced))} every class has the same weight, "
        f"by n / (c × rows of the class), and so in the loss that chooses their strength{rest}."
    )


def _row_lists(cells: Sequence[Cell]) -> str:
    """Which rows the questions that are marked with a row list were probed on."""
    names = sorted({cell.task.row_list for cell in confirmatory(cells)} - {""})
    if not names:
        return ""
    return (
        f" Questions marked {', '.join(f'@{escape(name)}' for name in names)} were probed on the "
        "rows of the list of that name only; all others on all rows of the official splits."
    )


def _legend(cells: Sequence[Cell], settings: Settings) -> str:
    """How to read the table, in a few sentences of statistics."""
    family = confirmatory(cells)[0].family
    return (
        "Scores, errors and deltas are in points (× 100). Delta is post minus pre; negative = "
        "worse, for errors too. Intervals come from a paired cluster bootstrap. *Equivalent*: the "
        f"90 % interval of the delta lies within ±{settings.margin:g} points. Otherwise *degraded* "
        f"or *improved*, if p is at most {settings.alpha:g} after correction, "
        f"{escape(family)}. Otherwise *undecided*."
    )


def _training_parts(cells: Sequence[Cell], settings: Settings, figures: Path) -> Iterator[str]:
    """A section for each training run with checkpoints among the pairs."""
    steps = steps_table(cells)
    if steps.empty:
        return
    for base, rows in steps.groupby("base", sort=False):
        members = [c for c in cells if base in (c.pair.name, *(training_step(c.pair.name) or ()))]
        yield f"## {code(str(base))} while it was trained"
        yield steps_section(rows, figures, _notes(members), settings.margin)


def _notes(cells: Sequence[Cell]) -> dict[str, str]:
    """Text chunks for a figure: the signatures behind it and the software that measured."""
    signatures = dict.fromkeys(c.comparison.signature for c in confirmatory(cells))
    return {"Software": f"sdiag {_own_version()}", "Signature": "\n".join(signatures)}


def _own_version() -> str:
    """Version of the installed package."""
    try:
        return version("sdiag")
    except PackageNotFoundError:
        return "not installed"


def _signatures(cells: Sequence[Cell]) -> str:
    """The signature of every declared number, folded away; all others stand in the CSV."""
    declared = confirmatory(cells)
    lines = []
    for cell in declared:
        c = cell.comparison
        lines += [
            f"{cell.pair.name} | {cell.label} | {cell.metric} | block {c.block}",
            f"    {c.signature}",
        ]
    return (
        "One line pins all definitions behind a number. Those of the declared comparisons follow; "
        "all comparisons, with their signatures, stand in [numbers.csv](numbers.csv).\n\n"
        + folded(f"{len(declared)} signatures", fenced(lines))
    )


def _reproduction(results: Results, settings: Settings) -> str:
    """Command, settings, versions, seeds and digests."""
    how = (
        f"Judged with a margin of {settings.margin:g} points and a level of {settings.alpha:g}; "
        f"drawn by sdiag {_own_version()}, matplotlib {version('matplotlib')} and Python "
        f"{platform.python_version()}. A report reads nothing but the records below; the same "
        "records give the same bytes."
    )
    command = fenced([settings.command], "console") if settings.command else ""
    return "\n\n".join(part for part in (command, how, runs_section(results.records)) if part)
