"""The section on transfer: does a model read people better if it is trained on all tasks at once?

The verdict comes first, in sentences; then the numbers of every metric, alone and together, beside
chance and a linear probe on the same rows; then what each task does to each other.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from probes.records import RunRecord
from reports.csv_files import write_csv
from reports.formats import estimate, points
from reports.fusion.baselines import Beside, baselines
from reports.fusion.curves_figure import curves_figure
from reports.fusion.load import Trainings
from reports.fusion.stops import stops_words
from reports.markdown import code, escape, folded, table
from reports.names import file_stem
from reports.pictures import captioned
from reports.transfer.change_figure import change_figure
from reports.transfer.matrix_figure import matrix_figure, pairwise_variants
from reports.transfer.numbers import transfer_numbers
from reports.transfer.words import (
    FEWEST,
    Key,
    capital,
    certain,
    change_cell,
    declared,
    key_of,
    metric_cell,
    model_words,
    question_words,
    seeds_words,
    variant_words,
)
from socialfusion.transfer.records import Effect, RunCard, TransferRecord, VariantCard

__all__ = ["transfer_section", "transfer_sentences"]

NONE = "–"
AXIS = "together less alone (points, negative = worse)"
COLUMNS = (
    "Scores, errors and changes are in points. *Alone* and *together* are means over training "
    "seeds{first}; the change is flipped for errors, so positive means that training together "
    "helps; its 95 % interval holds other test rows and, from three seeds on, other training "
    "seeds, and is bold where it leaves 0 out. Verdicts: {verdicts}. Metrics marked \\* are those "
    "by which transfers are counted. *Linear probe*: what it reads from the same frozen encoder on "
    "the same test rows, where that was measured; it stands beside, and is not compared by a test. "
    "Chance: what the training rows alone reach. [All metrics]({path}), with p, the change in % of "
    "what is read above chance, and each seed."
)
VERDICTS = (
    "≈ *equivalent* where the 90 % interval lies within ±{margin:g} points, else ▲ *improved* or "
    "▼ *degraded* where p, corrected for all metrics, is at most 0.05, else ? *undecided*"
)
BUDGETS = (
    "*Equal samples*: together, every question sees as many rows as alone. *Equal steps*: every "
    "training has as many steps of as many rows, so that together each question sees fewer."
)
LISTED = "*Rows*: those of a list, such as the ones without leaks between tasks."


def transfer_sentences(record: TransferRecord) -> str:
    """What training together does to the counted metrics, in sentences; as Markdown."""
    model, tasks = model_words(record.settings), len(record.tasks)
    head = f"{escape(capital(model))} trained on {tasks} tasks together, against "
    said = [f"{head}each task alone."]
    counts = [f"{escape(variant_words(one))}: **{_counted(one)}**" for one in record.variants]
    said.append(f"By {'; by '.join(counts)}.")
    if any(one.count.surely_positive or one.count.surely_negative for one in record.variants):
        said.append("Of intervals at 95 %, 1 in 20 leaves 0 out by chance alone.")
    said.append(seeds_words(record.seeds))
    return " ".join(said)


def _counted(variant: VariantCard) -> str:
    """How many of the counted metrics change, and how many with an interval that says so."""
    n = variant.count
    if not n.of:
        return "no metric has a value"
    return (
        f"{n.positive} of {n.of} counted metrics are read better ({n.surely_positive} with an "
        f"interval above 0), {n.negative} worse ({n.surely_negative} with one below 0)"
    )


def transfer_section(
    record: TransferRecord,
    found: Trainings,
    probed: Sequence[RunRecord],
    figures: Path,
    notes: dict[str, str],
) -> str:
    """The section of one record as Markdown, without its heading.

    Args:
        record: From `sdiag transfer`.
        found: All trained models of the results.
        probed: Runs of `sdiag probe`, for the linear probes beside.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNGs; their signature is that of the record.
    """
    notes = notes | {"Signature": record.signature}
    first = record.variants[0]
    by_variant = {one.name: _beside(one, found, probed) for one in record.variants}
    beside = by_variant[first.name]
    numbers = figures / f"{file_stem('transfer-numbers', record.name)}.csv"
    write_csv(transfer_numbers(record, by_variant), numbers)
    # The verdict in sentences stands above all sections (`transfer_sentences`).
    parts = ["" if record.settings.vlm else _against_probe(first, beside)]
    parts += [_table(record, beside), _legend(record, f"{figures.name}/{numbers.name}")]
    parts += _careful(record)
    parts += _figures(record, figures, notes)
    parts += _curves(record, found, figures, notes)
    parts.append(folded("Runs and signature", f"{_runs(record)}\n\n{code(record.signature)}"))
    return "\n\n".join(part for part in parts if part)


def _legend(record: TransferRecord, numbers: str) -> str:
    """What the columns of the table mean."""
    several = len(record.variants) > 1
    judged = len(record.seeds) >= FEWEST
    said = [
        COLUMNS.format(
            first=f", by {escape(variant_words(record.variants[0]))}" if several else "",
            verdicts=VERDICTS.format(margin=record.margin) if judged else "none here",
            path=numbers,
        )
    ]
    if several:
        said.append(BUDGETS)
    if any(one.row_list for one in record.variants):
        said.append(LISTED)
    return " ".join(said)


def _beside(
    variant: VariantCard, found: Trainings, probed: Sequence[RunRecord]
) -> dict[Key, Beside]:
    """Chance and linear probe of the rows of a variant."""
    return baselines(found.runs_of(variant.runs), probed)


def _against_probe(variant: VariantCard, beside: Mapping[Key, Beside]) -> str:
    """How many metrics are read better than by the linear probe; empty without one."""
    said = []
    for name in ("after", "before"):
        verdicts = [
            better
            for one in variant.joint
            if key_of(one) in beside
            and (better := beside[key_of(one)].exceeds_probe(getattr(one, name))) is not None
        ]
        said.append(sum(verdicts))
    if not verdicts:
        return (
            "How this compares with a linear probe on the same encoder is not known: "
            f"{code('sdiag probe')} measures it, on the same rows."
        )
    return (
        f"Of {len(verdicts)} metrics that a linear probe was fitted for on the same encoder and "
        f"rows, {said[0]} are read better than by it when trained together, {said[1]} when trained "
        "alone; these are point estimates, without a test."
    )


def _table(record: TransferRecord, beside: Mapping[Key, Beside]) -> str:
    """Every metric, alone and together, and its change by each variant."""
    names = _names(record)
    by_key = [{key_of(one): one for one in variant.joint} for variant in record.variants]
    first: dict[Key, Effect] = {}
    for found in reversed(by_key):
        first |= found
    rows = []
    for key in (key for key, one in first.items() if one.declared or one.counted):
        question, metric = key
        known = beside.get(key)
        chance = known.chance if known else None
        rows.append(
            (
                escape(names[question]),
                escape(metric_cell(metric)) + (r" \*" if first[key].counted else ""),
                NONE if chance is None else points(chance),
                estimate(known.probe) if known and known.probe else NONE,
                points(first[key].before),
                points(first[key].after),
                *(change_cell(found[key]) if key in found else NONE for found in by_key),
            )
        )
    heads = ["Together less alone"]
    if len(record.variants) > 1:
        heads = [f"Change, {escape(variant_words(one))}" for one in record.variants]
    header = ("Question", "Metric", "Chance", "Linear probe", "Alone", "Together", *heads)
    return table(header, rows, right=(2, 3, 4, 5))


def _names(record: TransferRecord) -> dict[str, str]:
    """Questions as people read them, the same in the whole section."""
    effects = [
        one
        for variant in record.variants
        for group in (variant.joint, *variant.pairwise.values())
        for one in group
    ]
    return question_words(one.question for one in effects)


def _careful(record: TransferRecord) -> Iterator[str]:
    """Warnings of few clusters, and metrics without a value."""
    warned: dict[str, list[str]] = {}
    names = _names(record)
    for one in record.variants[0].joint:
        for said in filter(None, one.warning.split("; ")):
            if "training seed" not in said:
                warned.setdefault(said, []).append(names[one.question])
    lines = [
        f"- **Careful** with {escape(', '.join(dict.fromkeys(labels)))}: {escape(said)}."
        for said, labels in warned.items()
    ]
    lines += [
        f"- Without a value ({escape(variant_words(variant))}): {escape(what)}, {escape(why)}"
        for variant in record.variants
        for what, why in variant.undefined.items()
    ]
    if lines:
        yield "\n".join(lines)


def _figures(record: TransferRecord, figures: Path, notes: dict[str, str]) -> Iterator[str]:
    """The dot plot of all changes, and the matrix of pairs."""
    tasks = len(record.tasks)
    panels = {capital(variant_words(one)): one.joint for one in record.variants if one.joint}
    if panels:
        counts = "; ".join(f"{variant_words(one)}: {_counted(one)}" for one in record.variants)
        png = change_figure(
            panels, (record.name, f"{tasks} tasks together against each alone"), AXIS,
            figures / file_stem("transfer", record.name), notes, margin=record.margin,
        )  # fmt: skip
        yield captioned(
            f"Change of every metric with its interval, {tasks} tasks trained together against "
            f"each alone: {counts}.",
            png,
            "**Together against alone.** Each metric with its 95 % interval; the ticks are single "
            "training seeds. Errors are flipped: to the right is better.",
        )
    if len(record.tasks) < 3:
        return
    variants = pairwise_variants(record)
    if not variants:
        yield (
            "Which task helps which was not measured: "
            f"{code('sdiag transfer --pairwise')} trains every two together."
        )
        return
    png = matrix_figure(
        record, "what training together does to a question",
        figures / file_stem("transfer-pairs", record.name), notes, margin=record.margin,
    )  # fmt: skip
    counts = [capital(_pair_counts(one)) for one in variants]
    yield captioned(
        f"Map of transfer between {tasks} tasks: {_pair_counts(variants[0])}",
        png,
        "**Which task helps which.** Rows are what is read, columns what was trained together with "
        "it. Hatched: the 95 % interval holds 0. Intervals are not corrected for the number of "
        f"cells: {' '.join(counts)}",
    )


def _pair_counts(variant: VariantCard) -> str:
    """How many cells of the matrix are certain."""
    cells = [one for effects in variant.pairwise.values() for one in declared(effects)]
    up, down = (
        sum(certain(one) and (one.change.value > 0) == better for one in cells)
        for better in (True, False)
    )
    return (
        f"of {len(cells)} pairs of a question and another task ({variant_words(variant)}), {up} "
        f"have an interval above 0 and {down} one below."
    )


def _curves(
    record: TransferRecord, found: Trainings, figures: Path, notes: dict[str, str]
) -> Iterator[str]:
    """Losses of the first variant while it was trained, folded away."""
    first = record.variants[0]
    own = [
        run
        for run in found.runs_of(first.runs)
        if len(run.settings.tasks) in (1, len(record.tasks)) and run.losses
    ]
    if not own:
        return
    png = curves_figure(
        own, record.name, figures / file_stem("transfer-losses", record.name), notes
    )
    alone = sum(len(run.settings.tasks) == 1 for run in own)
    yield folded(
        f"Losses while it was trained, and why it stopped, {variant_words(first)}",
        captioned(
            f"Losses by step of {alone} trainings on one task and {len(own) - alone} on all "
            "together.",
            png,
            "**Losses.** Bold lines are means over seeds, thin ones single seeds; dashed: "
            "the validation rows. A loss is no score: what counts stands above. "
            f"{stops_words(own)}",
        ),
    )


def _runs(record: TransferRecord) -> str:
    """Every run behind the record, those of the same tasks and budget in a row."""
    alike: dict[tuple[tuple[str, ...], int, int], dict[str, RunCard]] = {}
    for card in (card for variant in record.variants for card in variant.runs):
        place = (card.tasks, card.steps_run, sum(card.samples_seen.values()))
        alike.setdefault(place, {})[card.run] = card
    rows = [
        (", ".join(map(escape, tasks)), ", ".join(str(card.seed) for card in cards.values()),
         str(steps), str(seen), ", ".join(f"{card.seconds:.0f}" for card in cards.values()),
         ", ".join(map(code, cards)))
        for (tasks, steps, seen), cards in alike.items()
    ]  # fmt: skip
    header = ("Tasks", "Seeds", "Steps", "Rows seen", "Seconds", "Runs")
    return table(header, rows, right=(2, 3))
