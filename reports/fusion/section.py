"""The part of the report on trained models: SocialFusion, transfer, ablations, conflict.

The verdict comes first, in sentences, with the proof that frozen parts stayed frozen; then each
comparison under its own heading; then runs that no comparison was made of.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from probes.records import RunRecord
from reports.csv_files import write_csv
from reports.formats import estimate, points
from reports.fusion.baselines import Beside, baselines
from reports.fusion.curves_figure import curves_figure
from reports.fusion.load import Trainings
from reports.fusion.stops import stops_words
from reports.fusion.written import written_section
from reports.load import Conflict
from reports.markdown import code, escape, folded, table
from reports.names import file_stem
from reports.pictures import captioned
from reports.transfer.ablations import ablation_section, ablation_sentences
from reports.transfer.against_figure import against_figure, rho_words
from reports.transfer.section import transfer_section, transfer_sentences
from reports.transfer.words import (
    capital,
    change_text,
    declared,
    key_of,
    metric_cell,
    model_words,
    question_words,
    variant_words,
)
from socialfusion.records import FusionRecord
from socialfusion.transfer.records import Effect, TransferRecord

__all__ = ["fusion_parts", "fusion_sentences"]

NONE = "–"
TITLE = "Trained for people: SocialFusion"
AGAINST = ("Chance", "Linear probe", "Trained model")
DRAWN = 4
"""Most runs without a comparison that have figures of their own."""


def fusion_sentences(found: Trainings) -> str:
    """Whether training on all tasks at once helps, a paragraph a comparison; as Markdown."""
    return "\n\n".join(transfer_sentences(one) for one in found.transfers)


def fusion_parts(
    found: Trainings,
    conflicts: Sequence[Conflict],
    probed: Sequence[RunRecord],
    figures: Path,
    notes: dict[str, str],
) -> Iterator[str]:
    """Headings and sections; none where nothing was trained.

    Args:
        found: The trained models of the results.
        conflicts: Gradient conflict, with or without its comparison with transfer.
        probed: Runs of `sdiag probe`, for the linear probes beside.
        figures: Existing folder `figures` of the report.
        notes: Text chunks for the PNGs; each gets the signature of its own record.
    """
    if not found:
        return
    yield f"## {TITLE}"
    yield _verdict(found)
    yield _frozen(list(found.runs.values()))
    yield _side_by_side(found.transfers)
    for one in found.transfers:
        yield f"### Alone or together: {code(one.name)}"
        yield transfer_section(one, found, probed, figures, notes)
    yield from _against(found, conflicts, figures, notes)
    for one in found.ablations:
        yield f"### One setting changed: {code(one.name)}"
        yield ablation_section(one, figures, notes)
    yield from _further_runs(found, probed, figures, notes)
    if written := written_section(list(found.runs.values())):
        yield "### Answers as they were written"
        yield written


def _verdict(found: Trainings) -> str:
    """Every comparison in sentences, one a line."""
    lines = [f"- {transfer_sentences(one)}" for one in found.transfers]
    lines += [f"- {ablation_sentences(one)}" for one in found.ablations]
    if not lines:
        return (
            "Models were trained, but not compared: "
            f"{code('sdiag transfer')} compares training on all tasks together with training on "
            f"each alone, {code('sdiag ablate')} one setting with another."
        )
    return "\n".join(lines)


def _frozen(runs: Sequence[FusionRecord]) -> str:
    """Whether what was to stay frozen did, by digests before and after."""
    if not runs:
        return ""
    changed = [
        run.run
        for run in runs
        if run.frozen.language_model_before != run.frozen.language_model_after
        or (
            run.frozen.encoder_before != run.frozen.encoder_after
            and not (run.settings.train_vision or run.settings.train_encoder)
        )
    ]
    if changed:
        names = ", ".join(map(code, changed))
        return f"> **Not frozen.** Weights that were to stay as they were changed in {names}."
    n = len(runs)
    all_ = "the one run" if n == 1 else f"all {n} runs"
    cached = sum(not run.settings.from_pictures and not run.settings.vlm for run in runs)
    said = [
        f"Frozen stayed frozen: in {all_} the digests of the frozen weights after training are "
        "those before it."
    ]
    if cached:
        which = "its" if n == 1 else "their" if cached == n else f"In {cached}, the"
        said.append(
            f"{capital(which)} tokens come from the cache, where the encoder is not loaded at all."
        )
    trained: dict[str, None] = {}
    for run in runs:
        parts = ", ".join(f"{name} {size:,}" for name, size in run.trained.parameters.items())
        trained[parts] = None
    said.append(f"Trained numbers: {escape('; or '.join(trained))}.")
    return " ".join(said)


def _side_by_side(transfers: Sequence[TransferRecord]) -> str:
    """Transfer of several models on the same questions: encoders before and after, or a VLM."""
    if len(transfers) < 2:
        return ""
    columns: list[tuple[str, dict[tuple[str, str], Effect]]] = []
    for one in transfers:
        first = one.variants[0]
        model = model_words(one.settings).rstrip(",")
        head = f"{capital(model)} ({one.name}, {variant_words(first)})"
        columns.append((head, {key_of(effect): effect for effect in declared(first.joint)}))
    keys = list(dict.fromkeys(key for _, effects in columns for key in effects))
    names = question_words(question for question, _ in keys)
    rows = [
        (
            escape(names[question]),
            escape(metric_cell(metric)),
            *(_alone_together(effects.get((question, metric))) for _, effects in columns),
        )
        for question, metric in keys
    ]
    intro = (
        "Declared metrics side by side: alone → together, and the change with its interval. "
        "Columns are not compared by a test; rows and settings may differ."
    )
    heads = [escape(head) for head, _ in columns]
    return f"{intro}\n\n{table(('Question', 'Metric', *heads), rows)}"


def _alone_together(effect: Effect | None) -> str:
    if effect is None:
        return NONE
    return f"{points(effect.before)} → {points(effect.after)}, {change_text(effect)}"


def _against(
    found: Trainings, conflicts: Sequence[Conflict], figures: Path, notes: dict[str, str]
) -> Iterator[str]:
    """Conflict of each two tasks against their transfer, for each model that it was measured on."""
    for one in conflicts:
        if one.against is None or not one.against.comparisons:
            continue
        comparisons = one.against.comparisons
        signatures = [side.signature for side in one.record.sides]
        signatures += [
            each.signature
            for each in found.transfers
            if each.name in {comparison.transfer for comparison in comparisons}
        ]
        png = against_figure(
            one.name, comparisons, figures / file_stem("conflict-transfer", one.name),
            notes | {"Signature": "\n".join(signatures)},
        )  # fmt: skip
        said = "; ".join(f"{each.side}, {each.variant}: {rho_words(each)}" for each in comparisons)
        yield f"### Gradient conflict against transfer: {code(one.name)}"
        yield (
            "If conflict does harm, tasks that conflict more help each other less, and ρ, "
            f"Spearman's rank correlation, is negative. {escape(said)}. Pairs share tasks: the "
            "interval leaves out one task after another, p relabels them."
        )
        yield captioned(
            f"Transfer between pairs of tasks over their degree of gradient conflict. {said}.",
            png,
            "**Does conflict foretell transfer?** One point a pair of tasks. Transfer is in % of "
            "what a single task reads above chance.",
        )
        left_out = {what: why for each in comparisons for what, why in each.left_out.items()}
        if left_out:
            yield "\n".join(
                f"- Left out: {escape(what)}, {escape(why)}" for what, why in left_out.items()
            )


def _further_runs(
    found: Trainings, probed: Sequence[RunRecord], figures: Path, notes: dict[str, str]
) -> Iterator[str]:
    """Runs that no comparison was made of, with their scores and curves."""
    compared = {
        card.run for one in found.transfers for variant in one.variants for card in variant.runs
    } | {
        card.run
        for one in found.ablations
        for cards in (one.runs, *(each.runs for each in one.ablated))
        for card in cards
    }
    runs = [run for name, run in found.runs.items() if name not in compared]
    if not runs:
        return
    yield "### Further runs"
    if len(runs) > DRAWN:
        yield folded(f"Declared metrics of {len(runs)} runs", _declared_scores(runs, probed))
        return
    for run in runs:
        yield from _further_run(run, probed, figures, notes)


def _further_run(
    run: FusionRecord, probed: Sequence[RunRecord], figures: Path, notes: dict[str, str]
) -> Iterator[str]:
    """One run: what it was, its scores and its curves."""
    tasks = len(run.settings.tasks)
    yield (
        f"{code(run.run)}: {escape(model_words(run.settings).rstrip(','))}, trained on {tasks} "
        f"task{'s' * (tasks > 1)} for {run.steps_run} steps, seed {run.settings.seed}. "
        f"{stops_words([run])}"
    )
    numbers = figures / f"{file_stem('scores', run.run)}.csv"
    write_csv(_score_numbers(run), numbers)
    every = f"[Every metric]({figures.name}/{numbers.name})"
    shown = f"{_declared_scores([run], probed)}\n\n{every}"
    if run.undefined:
        lines = (f"- {escape(what)}: {escape(why)}" for what, why in run.undefined.items())
        shown += "\n\n" + "\n".join(lines)
    if run.losses:
        signatures = "\n".join(dict.fromkeys(one.signature for one in run.scores))
        stem = figures / file_stem("losses", run.run)
        png = curves_figure([run], run.run, stem, notes | {"Signature": signatures})
        shown += "\n\n" + captioned(
            f"Losses of the run {run.run} by step.", png, "**Losses** while it was trained."
        )
    yield folded(f"Scores and losses of {run.run}", shown)


def _declared_scores(runs: Sequence[FusionRecord], probed: Sequence[RunRecord]) -> str:
    """The first metric of every question of many runs."""
    names = question_words(one.label for run in runs for one in run.questions)
    rows = []
    for run in runs:
        first = {(one.label, one.metrics[0]): one for one in run.questions}
        beside = baselines([run], probed)
        rows += [
            (
                code(run.run), escape(run.encoder.name), str(run.settings.seed),
                str(run.steps_run), escape(names[one.question]),
                escape(metric_cell(one.metric, first[one.question, one.metric].classes)),
                *_read_against(beside[one.question, one.metric]), estimate(one.estimate),
            )
            for one in run.scores
            if (one.question, one.metric) in first
        ]  # fmt: skip
    header = ("Run", "Encoder", "Seed", "Steps", "Question", "Metric", *AGAINST)
    return table(header, rows, right=(2, 3, 6, 7, 8))


def _read_against(beside: Beside) -> tuple[str, str]:
    """Chance and the linear probe, as cells."""
    return (
        NONE if beside.chance is None else points(beside.chance),
        estimate(beside.probe) if beside.probe else NONE,
    )


def _score_numbers(run: FusionRecord) -> pd.DataFrame:
    """Every metric of one run, unrounded, in points."""
    return pd.DataFrame(
        [one.model_dump(exclude={"estimate"}) | one.estimate.model_dump() for one in run.scores]
    )
