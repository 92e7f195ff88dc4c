"""The section on gradient conflict: do the questions pull the encoder together or apart?

The raw degree of conflict stands beside what one question scores against itself, since most of it
is noise; what can be believed is the corrected cosine with its interval.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from probes.conflict.records import ConflictRecord, PairNumbers, SideRecord
from reports.conflict.figure import conflict_figure
from reports.conflict.numbers import pair_numbers, question_numbers, sides_signatures
from reports.conflict.pairs import (
    CONTROL,
    GLYPHS,
    MIXED,
    SOCIAL,
    WHOLE,
    Asked,
    asked_pairs,
    bounded,
    changes_between,
    compared_sides,
    cosine_interval,
    measured_on,
    own_sides,
    question_names,
    side_title,
    told_from_zero,
    two_places,
)
from reports.conflict.parts_figure import mapped_parts, parts_figure
from reports.conflict.sizes_figure import sizes_figure
from reports.conflict.steps_figure import steps_figure
from reports.csv_files import write_csv
from reports.formats import count
from reports.markdown import code, escape, folded, table
from reports.names import file_stem
from reports.pictures import captioned

__all__ = ["conflict_section", "conflict_sentences"]

NONE = "–"
NAMED = 3
"""Most changed pairs that a sentence names."""
NEARLY = 0.1
"""How far from 1 a raw number may be that would be read as orthogonal."""
FEW = 6
"""Most pairs that all have a row in the table; of more, those of which something is told."""
PHRASES = {
    "conflict": "in conflict",
    "aligned": "aligned",
    "unclear": "unclear",
    "below floor": "below the floor",
}
COLUMNS = (
    "*Raw GCD* is 1 − cosine of the gradients of two batches: 0 where they agree, 1 where they "
    "have nothing to do with each other, 2 where they are opposite. The *floor* is what a question "
    "scores against itself on other pictures, for noise alone. The *corrected cosine* is free of "
    "that noise, is not cut at ±1, and has its 95 % interval: ▼ *conflict* where it lies below 0, "
    "▲ *aligned* where it lies above, ? *unclear* where 0 is inside, ∅ *below floor* where the "
    "gradient of a question cannot be told from noise. An interval is *open* where noise leaves "
    "any value possible."
)
NUMBERS = (
    "[All numbers of every pair]({}), and [rows, heads and losses of every question]({}). There, "
    "`of_means` is 1 − cosine of the gradients averaged over all batches; `norm_ratio` the length "
    "of the first gradient over that of the second: the longer one has its way; `below_zero` the "
    "share of batches with a cosine below 0, near 0.5 where only noise is seen; `null` holds 95 % "
    "of the corrected cosines when the gradients of the two questions are exchanged at random "
    "within batches, and `p` says how often they then differ as much: a small one means that the "
    "questions do not point the same way, not that they conflict."
)


def conflict_section(record: ConflictRecord | None, figures: Path, notes: dict[str, str]) -> str:
    """The section of one pair or model as Markdown, without its heading; empty without a record.

    Args:
        record: From `sdiag gcd`.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNGs; their signature is that of the record.
    """
    if record is None:
        return ""
    notes = notes | {"Signature": "\n".join(side.signature for side in record.sides)}
    pairs = asked_pairs(record)
    social, _ = _split(pairs)
    parts = [conflict_sentences(record), *_figures(record, social, figures, notes)]
    told = pairs if len(pairs) <= FEW else [one for one in pairs if _told(record, one)]
    if told:
        parts.append(_table(record, told))
    if len(told) < len(pairs):
        parts.append(_silent(pairs, told))
    paths = []
    for kind, numbers in (
        ("conflict-pairs", pair_numbers(record, pairs)),
        ("conflict-questions", question_numbers(record)),
    ):
        path = figures / f"{file_stem(kind, _name(record))}.csv"
        write_csv(numbers, path)
        paths.append(f"{figures.name}/{path.name}")
    about = (COLUMNS, NUMBERS.format(*paths), _measured(record), sides_signatures(record))
    parts.append(folded("What the numbers mean, rows, and signatures", "\n\n".join(about)))
    return "\n\n".join(parts)


def _told(record: ConflictRecord, pair: Asked) -> bool:
    """Whether anything is told from 0 of a pair: on a side, or the change between two."""
    sides = compared_sides(record)
    found = [numbers.get((pair.key, WHOLE)) for numbers in map(measured_on, sides)]
    found.append(changes_between(record, sides).get((pair.key, WHOLE)))
    return any(one is not None and told_from_zero(one.cosine) for one in found)


def _silent(pairs: Sequence[Asked], told: Sequence[Asked]) -> str:
    """How many pairs have no row in the table, and of which kinds."""
    left = [one for one in pairs if one not in told]
    kinds = [(group, sum(one.group == group for one in left)) for group in (SOCIAL, MIXED, CONTROL)]
    named = ", ".join(f"{n} {group}" for group, n in kinds if n)
    return (
        f"Of {len(left)} {'other ' * bool(told)}pairs ({named}) nothing can be told from 0, "
        "neither a side nor a change."
    )


def _name(record: ConflictRecord) -> str:
    """What was measured: a pair of encoders, or a model."""
    return record.model if record.pair is None else record.pair.name


def _split(pairs: Sequence[Asked]) -> tuple[Sequence[Asked], Sequence[Asked]]:
    """The pairs that the section is about, social ones if there are any, and the others."""
    social = [pair for pair in pairs if pair.group == SOCIAL]
    if not social:
        return pairs, ()
    return social, [pair for pair in pairs if pair.group != SOCIAL]


def conflict_sentences(record: ConflictRecord) -> str:
    """What was found, without a word more than the intervals say."""
    pairs, _ = _split(asked_pairs(record))
    kind = "social questions" if pairs[0].group == SOCIAL else "questions"
    what = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of {kind}"
    sides = compared_sides(record)
    counts = "; ".join(f"{escape(side_title(side))}: {_counts(side, pairs)}" for side in sides)
    said = [f"Of {what}, by the gradients of {escape(record.parameters)}: {counts}."]
    if not any(bounded(measured_on(sides[-1])[pair.key, WHOLE].cosine) for pair in pairs):
        said.append(
            "These gradients cannot be told from noise: of conflict nothing is known yet, and more "
            "rows are needed."
        )
    elif len(sides) > 1:
        said.append(_changed(record, sides, pairs))
    said.append(_trap(record, sides[-1], pairs))
    return " ".join(said)


def _counts(side: SideRecord, pairs: Sequence[Asked]) -> str:
    """How many pairs have each word on one side."""
    found = measured_on(side)
    own = [found[pair.key, WHOLE] for pair in pairs]
    words = [one.word for one in own]
    said = {word: f"{words.count(word)} {phrase}" for word, phrase in PHRASES.items()}
    unbounded = sum(one.cosine is not None and not bounded(one.cosine) for one in own)
    if unbounded:
        how_many = "all" if unbounded == words.count("unclear") else str(unbounded)
        said["unclear"] += f" ({how_many} with an open interval)"
    return ", ".join(text for word, text in said.items() if word in words)


def _changed(record: ConflictRecord, sides: Sequence[SideRecord], pairs: Sequence[Asked]) -> str:
    """Which pairs changed for certain between two sides."""
    changes = changes_between(record, sides)
    known = [
        (pair, found.cosine)
        for pair in pairs
        if (found := changes.get((pair.key, WHOLE))) is not None and found.cosine is not None
    ]
    if not known:
        return "No change can be told: a question is below the floor in every pair."
    sure = sorted(
        ((pair, number) for pair, number in known if told_from_zero(number)),
        key=lambda each: each[1].value,
    )
    chance = f"{0.05 * len(known):.1f} would by chance alone"
    if not sure:
        return (
            f"No pair changed with an interval that leaves 0 out, of {len(known)} that could be "
            "compared."
        )
    named = [
        f"{escape(pair.name)} by {escape(cosine_interval(number))}"
        for pair, number in sorted(sure, key=lambda each: -abs(each[1].value))[:NAMED]
    ]
    more = len(sure) - len(named)
    rest = f" and {more} more" if more else ""
    return (
        f"The corrected cosine changed in {len(sure)} of {len(known)} with an interval that leaves "
        f"0 out ({chance}): {'; '.join(named)}{rest}."
    )


def _trap(record: ConflictRecord, side: SideRecord, pairs: Sequence[Asked]) -> str:
    """What the raw number would be taken for, and what it is worth."""
    found = [measured_on(side)[pair.key, WHOLE] for pair in pairs]
    raw, floor = (median(getattr(one, name) for one in found) for name in ("raw", "floor"))
    orthogonal = abs(raw - 1) <= NEARLY
    taken_for = " is what nearly orthogonal gradients give," if orthogonal else " looks clear,"
    return (
        f"Mind the raw number: at {record.batch_size} rows a batch its median, "
        f"{two_places(raw, sign=False)} ({escape(side_title(side))}),{taken_for}"
        f" but a question scores {two_places(floor, sign=False)} against itself."
    )


def _measured(record: ConflictRecord) -> str:
    """What was differentiated, on which rows, in which arithmetic."""
    asked = (
        f" ({record.batches_asked} were asked for)" if record.batches_asked > record.batches else ""
    )
    sketches = f"sketches of {count(record.sketch)} numbers a gradient"
    products = (
        f"values from exact products, intervals from {sketches}"
        if record.exact
        else f"all from {sketches}"
    )
    scaler = record.preconditioner
    scaled = "" if scaler == "none" else f" Gradients are scaled: {escape(scaler)}."
    listed = f" of the list {code(record.row_list)}" if record.row_list else ""
    return (
        f"{escape(record.definition.rstrip('.'))}. {record.batches} batches{asked} of "
        f"{record.batch_size} rows from {escape(record.split)}{listed}, the same on every side; "
        f"{escape(record.reduction)}; passes in {escape(record.arithmetic)}, {products}.{scaled}"
    )


def _table(record: ConflictRecord, pairs: Sequence[Asked]) -> str:
    """One row a pair of questions, both sides in it."""
    sides = compared_sides(record)
    found = [measured_on(side) for side in sides]
    changes = changes_between(record, sides)
    rows = []
    for pair in pairs:
        own = [numbers[pair.key, WHOLE] for numbers in found if (pair.key, WHOLE) in numbers]
        change = changes.get((pair.key, WHOLE))
        cells = [
            escape(pair.name),
            " → ".join(two_places(one.raw, sign=False) for one in own),
            " → ".join(two_places(one.floor, sign=False) for one in own),
            *(escape(_cosine(one, record)) for one in own),
            " → ".join(dict.fromkeys(f"{GLYPHS[one.word]} {one.word}" for one in own)),
        ]
        if len(sides) > 1:
            number = None if change is None else change.cosine
            cells.insert(5, escape(cosine_interval(number)) if number else NONE)
        rows.append(cells)
    header = [
        "Questions", "Raw GCD", "Floor",
        *(f"Corrected cosine, {escape(side_title(side))}" for side in sides),
        *(["Change"] if len(sides) > 1 else []),
        "Word",
    ]  # fmt: skip
    return table(header, rows, right=range(1, len(header) - 1))


def _cosine(one: PairNumbers, record: ConflictRecord) -> str:
    """A corrected cosine with its interval, or which question stands in its way."""
    if one.cosine is not None:
        return cosine_interval(one.cosine)
    names = question_names(record.questions)
    return f"{NONE} ({', '.join(names[label] for label in one.below_floor)} below floor)"


def _figures(
    record: ConflictRecord, pairs: Sequence[Asked], figures: Path, notes: dict[str, str]
) -> Iterator[str]:
    """The maps and curves, each with its caption."""
    name = _name(record)
    sides = " and ".join(side_title(side) for side in compared_sides(record))

    def stem(kind: str) -> Path:
        return figures / file_stem(kind, name)

    png = conflict_figure(record, stem("conflict"), notes)
    yield captioned(
        f"Corrected cosine of every two questions of {name}, {sides}: {conflict_sentences(record)}",
        png,
        "**Question against question.** The corrected cosine on all chosen parameters. Hatched: 0 "
        "lies within the 95 % interval, or a question is below the floor. On the diagonal, in "
        "grey, the floor as a degree of conflict: what a question scores against itself.",
    )
    if len(mapped_parts(record)) > 1:
        png = parts_figure(record, pairs, stem("conflict-parts"), notes)
        yield captioned(
            f"Corrected cosine of {len(pairs)} pairs of questions by block and kind of module of "
            f"{name}, {sides}.",
            png,
            "**Where in the model.** The same by part; blocks from below, then kinds of module, "
            "then everything. Cells without a number are below the floor. Intervals are 95 % each, "
            "not corrected for the number of cells.",
        )
    if any(side.sizes for side in compared_sides(record)):
        png = sizes_figure(record, pairs, stem("conflict-sizes"), notes)
        yield captioned(
            f"Raw degree of conflict, floor and corrected degree of {name} by batch size, {sides}.",
            png,
            "**Why the raw number misleads.** Small batches are mostly noise, so raw number and "
            "floor both lie near 1 and come down together as batches grow; the corrected number, "
            "of pairs whose interval is not open, does not depend on the batch size. Thin lines "
            "are single pairs, bold ones their medians.",
        )
    if len(own_sides(record)) > 2:
        png = steps_figure(record, pairs, stem("conflict-steps"), notes)
        yield captioned(
            f"Corrected cosine of {len(pairs)} pairs of questions of {name} by training step.",
            png,
            "**While it was trained.** The corrected cosine of each pair at every step measured, "
            "with 95 % intervals.",
        )
