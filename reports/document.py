"""The report as one document: its sections in the order in which they are read."""

import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from degradation.errors import DataError
from probes.cards import tool_version
from probes.records import PairCard, RunRecord
from probes.statistics.contrast import Contrast, social_contrast
from probes.summary import METHOD
from reports.analyses.diagnosis import diagnosis_section
from reports.analyses.drift import drift_section
from reports.analyses.slices import slices_section
from reports.analyses.where import where_section
from reports.audits import joint_leaks
from reports.cautions import cautions
from reports.conflict.section import conflict_section
from reports.contents import contents_line
from reports.csv_files import write_csv
from reports.declared import declared_block_words, row_lists_words, weights_words
from reports.explanations import (
    conflict_finding,
    decodability_finding,
    explanations_section,
    explanations_sentence,
)
from reports.fusion.section import fusion_parts, fusion_sentences
from reports.heatmap import colour_range, mapped_cells
from reports.load import Analyses, Conflict, Results
from reports.markdown import code, escape, fenced, folded
from reports.methods import methods_section
from reports.names import PLANTED, training_step
from reports.sentences import incomplete, kinds_of_loss, verdict_paragraph
from reports.verdicts.cells import Cell, by_pair
from reports.verdicts.contrast import contrast_section, contrast_sentence
from reports.verdicts.published import published_section
from reports.verdicts.robustness import robustness_section
from reports.verdicts.sections import (
    analyses_section,
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
from reports.verdicts.tables import confirmatory, numbers_table, steps_table
from socialfusion.transfer.records import TransferRecord

__all__ = ["MARKER", "Document", "Settings", "compose"]

MARKER = "<!-- sdiag report -->"
"""First line of every report: by it an earlier one is known and may be replaced."""

INTERVALS = {
    METHOD: "Student's t on the jackknife over clusters (how often it covers: docs/calibration.md)",
}
"""Methods of intervals in records, for people."""


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


@dataclass(slots=True)
class _Pair:
    """All that was found out about one pair."""

    name: str
    cells: Sequence[Cell]
    records: Sequence[RunRecord]
    analyses: Analyses
    conflict: Conflict | None = None
    trained: Sequence[TransferRecord] = ()
    contrasts: list[Contrast] = field(default_factory=list)

    @property
    def transfers(self) -> list[TransferRecord]:
        """Joint against single training on one of its encoders."""
        digests = (self.card.pre_digest, self.card.post_digest)
        return [one for one in self.trained if one.encoder_digest in digests]

    @property
    def card(self) -> PairCard:
        """Both encoders, as the first record of the pair tells of them."""
        measured = [self.conflict.record] if self.conflict else []
        return next(
            one.pair for one in (*self.records, *self.analyses, *measured) if one.pair is not None
        )


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
    write_csv(numbers_table(cells), numbers)
    shown = _shown(cells, results)
    missing = (
        *incomplete(results),
        *(line for one in shown for line in _add_contrast(one, results)),
    )
    parts: list[str] = []
    end = colour_range([c for one in shown for c in mapped_cells(one.cells)], settings.margin)
    for one in shown:
        parts += _pair_parts(one, settings, figures, end, alone=len(shown) == 1)
    parts += _training_parts(cells, settings, figures)
    parts += fusion_parts(
        results.trainings, results.conflicts, results.records, figures, _notes([])
    )
    parts += _model_parts(results, figures)
    if any(cell.pair.name in PLANTED for cell in confirmatory(cells)):
        parts += [
            "## Self-test",
            "Planted pairs, whose answer is known: what the verdicts say of them.",
            self_test_section(cells),
        ]
    if results.records:
        parts += ["## Rows left out", left_out_section(results.records)]
        parts += ["## Signatures", _signatures(cells)]
    if methods := methods_section(results, margin=settings.margin, alpha=settings.alpha):
        parts += ["## How it was measured", methods]
    parts += ["## How to reproduce", _reproduction(results, settings)]
    head = [MARKER, "# What the encoder still reads", _opening(shown, results, settings, missing)]
    every = (*head, contents_line(parts), *parts)
    return Document("\n\n".join(part for part in every if part) + "\n", missing)


def _shown(cells: Sequence[Cell], results: Results) -> list[_Pair]:
    """The pairs with a section of their own: neither checkpoints nor planted, unless all are."""
    judged = by_pair(cells)
    names = {name for name, found in judged.items() if confirmatory(found)}
    conflicts = {one.name: one for one in results.conflicts if one.record.pair is not None}
    names |= {one.pair.name for one in results.analyses} | conflicts.keys()
    own = {name for name in names if training_step(name) is None and name not in PLANTED}
    return [
        _Pair(
            name,
            judged.get(name, []),
            [record for record in results.records if record.pair.name == name],
            results.analyses.of(name),
            conflicts.get(name),
            results.trainings.transfers,
        )
        for name in sorted(own or names)
    ]


def _add_contrast(one: _Pair, results: Results) -> Iterator[str]:
    """Add the contrast of a pair that was asked both kinds of questions, or say why not."""
    places = {
        results.folders[record.pair.name, record.task.label]: Path(one.name, record.task.label)
        for record in one.records
    }
    roots = {folder.parent.parent for folder in places}
    try:
        if len(roots) == 1 and all(root / own == f for f, own in places.items() for root in roots):
            one.contrasts = social_contrast(roots.pop(), one.records)
    except DataError as error:
        said = escape(str(error))
        yield f"{code(one.name)} has no contrast of social and control questions: {said}"


def _opening(
    shown: Sequence[_Pair], results: Results, settings: Settings, missing: Sequence[str]
) -> str:
    """The verdicts in sentences, and before anything else what they do not cover."""
    parts = []
    for one in shown:
        if declared := confirmatory(one.cells):
            parts.append(verdict_paragraph(declared, settings.margin))
        else:
            parts.append(
                f"Nothing is judged of {code(one.name)}, for no run of {code('sdiag probe')} was "
                "found: what follows says what changed, not what was lost."
            )
        more = [contrast_sentence(each) for each in one.contrasts if not each.row_list]
        more += [kinds_of_loss(one.analyses.diagnose), _explanation(one)]
        if said := " ".join(filter(None, more)):
            parts.append(said)
        margin, alpha = settings.margin, settings.alpha
        if careful := cautions(one.cells, one.records, results.audits, margin=margin, alpha=alpha):
            parts.append(_quoted("Bear in mind.", careful))
    if said := fusion_sentences(results.trainings):
        parts.append(said)
    if met := [*joint_leaks(results.trainings.runs.values(), results.audits)]:
        parts.append(_quoted("Bear in mind.", met))
    if missing:
        parts.append(_quoted("Not complete.", missing))
    return "\n\n".join(parts)


def _quoted(title: str, lines: Sequence[str]) -> str:
    """Lines that stand out under a title."""
    return "\n".join([f"> **{title}**", *(f"> - {line}" for line in lines)])


def _explanation(one: _Pair) -> str:
    """What explains the loss, in a sentence; empty where conflict was not measured."""
    if one.conflict is None:
        return ""
    return explanations_sentence(
        (
            decodability_finding(one.cells, one.analyses.diagnose, one.contrasts),
            conflict_finding(one.conflict.record),
        )
    )


def _pair_parts(
    one: _Pair, settings: Settings, figures: Path, end: float, *, alone: bool
) -> Iterator[str]:
    """The sections of one pair; their headings are one level deeper where there are several."""
    level = "##" if alone else "###"
    if not alone:
        yield f"## {code(one.name)}"
    if confirmatory(one.cells):
        yield f"{level} Verdicts"
        yield from _verdict_parts(one, settings, figures, end)
    else:
        yield f"The pair: {escape(one.card.lineage)} Compared by {escape(one.card.protocol)}."
    for heading, section in _further_sections(one, settings, figures):
        if section:
            yield f"{level} {heading}"
            yield section


def _verdict_parts(one: _Pair, settings: Settings, figures: Path, end: float) -> Iterator[str]:
    """What was compared, the table of verdicts and how to read it, and the two main figures."""
    cells, notes = one.cells, _notes(one.cells)
    imported = " Its features were computed elsewhere and imported." if one.card.imported else ""
    yield (
        f"The pair: {escape(one.card.lineage)} Compared by {escape(one.card.protocol)}, "
        f"{declared_block_words(cells)}.{imported} {weights_words(cells)}{row_lists_words(cells)}"
    )
    yield verdict_section(cells)
    yield _legend(cells, settings)
    yield _few_clusters(cells)
    yield scores_section(cells, figures, notes, settings.margin)
    yield map_section(cells, figures, notes, end)


def _further_sections(one: _Pair, settings: Settings, figures: Path) -> Iterator[tuple[str, str]]:
    """Headings and sections after the verdicts, from what they mean to where to look further."""
    cells, found = one.cells, one.analyses
    notes = _notes(cells)
    yield "Social against control questions", contrast_section(one.contrasts, figures)
    yield "Which kind of loss", _diagnosis(found, settings, figures, notes)
    conflict = one.conflict
    yield "Gradient conflict", conflict_section(conflict.record, figures, notes) if conflict else ""
    if conflict or (found.diagnose and confirmatory(cells)):
        yield (
            "Which explanation",
            explanations_section(cells, found.diagnose, one.contrasts, conflict, one.transfers),
        )
    yield "How far the features moved", drift_section(found.drift, one.records, figures, notes)
    yield "Against reading without the encoder", readers_section(cells, figures, notes)
    yield "Beside published numbers", published_section(cells)
    yield (
        "With other strengths and other training rows",
        robustness_section(cells, one.records, figures, notes, settings.margin),
    )
    yield "Other ways to read the same features", arms_section(cells)
    yield "Broken and fixed", changes_section(cells)
    yield "On which rows", slices_section(found.slices, figures, notes)
    yield "Where in the picture", where_section(found.where, figures, notes)


def _diagnosis(found: Analyses, settings: Settings, figures: Path, notes: dict[str, str]) -> str:
    """The diagnosis, with a word where it was made with another margin."""
    section = diagnosis_section(found.diagnose, figures, notes)
    others = sorted({one.margin for one in found.diagnose} - {settings.margin})
    if not others:
        return section
    margins = " or ".join(f"{margin:g}" for margin in others)
    return (
        f"{section}\n\nThe diagnosis was made with a margin of {margins} points, this report with "
        f"one of {settings.margin:g}."
    )


def _legend(cells: Sequence[Cell], settings: Settings) -> str:
    """How to read the table, in a few sentences of statistics."""
    declared = confirmatory(cells)
    methods = dict.fromkeys(cell.comparison.interval for cell in declared)
    how = " or ".join(escape(INTERVALS.get(method, method)) for method in methods)
    return (
        "Scores, errors and deltas are in points (× 100). Delta is post minus pre; negative = "
        f"worse, for errors too. Intervals and p: {how}. *Equivalent*: the "
        f"90 % interval of the delta lies within ±{settings.margin:g} points. Otherwise *degraded* "
        f"or *improved*, if p is at most {settings.alpha:g} after correction, "
        f"{escape(declared[0].family)}. Otherwise *undecided*."
    )


def _few_clusters(cells: Sequence[Cell]) -> str:
    """What to bear in mind where clusters are few; empty where they are not."""
    warned: dict[str, list[str]] = {}
    for cell in confirmatory(cells):
        if cell.comparison.warning:
            warned.setdefault(cell.comparison.warning, []).append(escape(cell.label))
    return "\n".join(
        f"- **Careful** with {', '.join(labels)}: {escape(said)}."
        for said, labels in warned.items()
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


def _model_parts(results: Results, figures: Path) -> Iterator[str]:
    """Gradient conflict in models that are no pair of encoders: SocialFusion while it trains."""
    for one in results.conflicts:
        if one.record.pair is None:
            yield f"## Gradient conflict in {code(one.name)}"
            yield conflict_section(one.record, figures, _notes([]))


def _notes(cells: Sequence[Cell]) -> dict[str, str]:
    """Text chunks for a figure: the signatures behind it and the software that measured."""
    signatures = dict.fromkeys(c.comparison.signature for c in confirmatory(cells))
    return {"Software": f"sdiag {tool_version()}", "Signature": "\n".join(signatures)}


def _signatures(cells: Sequence[Cell]) -> str:
    """The signature of every declared number, folded away; all others stand in the CSV."""
    declared = confirmatory(cells)
    lines = []
    for cell in declared:
        c = cell.comparison
        lines.append(f"{cell.pair.name} {cell.label} {cell.metric}: {c.signature}")
    return (
        "One line pins all definitions behind a number. Those of the declared comparisons follow; "
        "all comparisons, with their signatures, stand in [numbers.csv](numbers.csv).\n\n"
        + folded(f"{len(declared)} signatures", fenced(lines))
    )


def _reproduction(results: Results, settings: Settings) -> str:
    """Command, settings, versions, seeds and digests."""
    how = (
        f"Judged with a margin of {settings.margin:g} points and a level of {settings.alpha:g}; "
        f"drawn by sdiag {tool_version()}, matplotlib {version('matplotlib')} and Python "
        f"{platform.python_version()}. A report reads nothing but the records below and their "
        "predictions; the same records give the same bytes."
    )
    command = fenced([settings.command], "console") if settings.command else ""
    runs = runs_section(results.records) if results.records else ""
    parts = (command, how, runs, analyses_section(results.analyses, results.conflicts))
    return "\n\n".join(part for part in parts if part)
