"""One function a section of the report: cells in, Markdown out, figures written on the way."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from probes.records import Estimate, RunRecord
from probes.variants import BEST_BLOCK
from reports.formats import GLYPHS, count, estimate, p_value, points, signed, verdict
from reports.heatmap import heatmap_figure, mapped_cells
from reports.load import KINDS, Analyses, Conflict
from reports.markdown import code, escape, table
from reports.names import file_stem, reader_label
from reports.origins import origins_table, recorded_origins
from reports.pictures import captioned
from reports.verdicts.cells import Cell
from reports.verdicts.readers import readers_figure
from reports.verdicts.scores import scores_figure
from reports.verdicts.steps import steps_figure
from reports.verdicts.tables import (
    arms_table,
    changes_table,
    confirmatory,
    left_out_table,
    provenance_table,
    self_test_table,
)

__all__ = [
    "analyses_section",
    "arms_section",
    "changes_section",
    "left_out_section",
    "map_section",
    "readers_section",
    "runs_section",
    "scores_section",
    "self_test_section",
    "steps_section",
    "verdict_section",
]


def verdict_section(cells: Sequence[Cell]) -> str:
    """The confirmatory cells as a table."""
    header = (
        "Question", "Group", "Metric", "Pre", "Post", "Delta [95 % interval]", "Holm p", "Verdict",
    )  # fmt: skip
    rows = [
        (
            escape(cell.label),
            "social" if cell.task.social else "control",
            escape(_metric(cell)),
            points(cell.comparison.pre.value),
            points(cell.comparison.post.value),
            escape(estimate(cell.comparison.delta, delta=True)),
            p_value(cell.p_adjusted),
            verdict(cell.verdict),
        )
        for cell in confirmatory(cells)
    ]
    return table(header, rows, right=(3, 4, 5, 6))


def _metric(cell: Cell) -> str:
    """The metric, with its direction where low is good."""
    name = cell.metric
    return name if cell.comparison.higher_is_better else f"{name} (low is good)"


def scores_section(
    cells: Sequence[Cell], folder: Path, notes: dict[str, str], margin: float
) -> str:
    """The figure of scores of one pair."""
    declared = confirmatory(cells)
    pair = declared[0].pair
    png = scores_figure(declared, folder / file_stem("scores", pair.name), notes, margin)
    said = "; ".join(
        f"{cell.label} {points(cell.comparison.pre.value)} before and "
        f"{points(cell.comparison.post.value)} after, {cell.verdict}"
        for cell in declared
    )
    caption = (
        "**Scores before and after.** Left: what the probe reads from either side, with 95 % "
        "intervals, the best reading without the encoder, and chance. Right: the paired delta; its "
        "interval is the narrower one, since both sides saw the same samples."
    )
    return captioned(f"Scores of {pair.name}: {said}.", png, caption)


def map_section(cells: Sequence[Cell], folder: Path, notes: dict[str, str], end: float) -> str:
    """The map of deltas of one pair."""
    mapped = mapped_cells(cells)
    pair = mapped[0].pair
    png = heatmap_figure(mapped, folder / file_stem("map", pair.name), notes, end)
    worst = min(mapped, key=lambda cell: cell.comparison.delta.value)
    alt = (
        f"Delta of {pair.name} by block and question; the lowest is "
        f"{signed(worst.comparison.delta.value)} points for {worst.label} at block "
        f"{worst.comparison.block}."
    )
    caption = (
        "**Delta by block.** Framed cells were declared beforehand and are the verdicts above; the "
        "others are exploratory, corrected for the false discovery rate. Hatched cells are "
        "undecided. All maps of this report share one colour scale."
    )
    return captioned(alt, png, caption)


def readers_section(cells: Sequence[Cell], folder: Path, notes: dict[str, str]) -> str:
    """What is read without the encoder, as a table and a figure; empty without baselines."""
    declared = [cell for cell in confirmatory(cells) if cell.baselines]
    if not declared:
        return ""
    names = list(dict.fromkeys(reader_label(b.name) for c in declared for b in c.baselines))
    rows = []
    for cell in declared:
        found = {reader_label(b.name): estimate(b.estimate) for b in cell.baselines}
        rows.append(
            (
                f"{escape(cell.label)}, {escape(_metric(cell))}",
                escape(estimate(cell.comparison.pre)),
                escape(estimate(cell.comparison.post)),
                *(escape(found.get(name, "–")) for name in names),
            )
        )
    header = ("Question and metric", "Pre", "Post", *map(escape, names))
    pair = declared[0].pair
    png = readers_figure(declared, folder / file_stem("baselines", pair.name), notes)
    alt = f"What the probe reads from the features of {pair.pre}, and from {', '.join(names)}."
    caption = (
        "**Is it the encoder that knows?** A question on which pixels, colour histograms or boxes "
        "score like the features says little about the encoder. *Prior* sees nothing and gives "
        "every sample the class shares of the training rows: its accuracy is that of always "
        "answering with the most frequent class; for gaze, *centre* is the mean target."
        + _controls(names)
    )
    return f"{table(header, rows, right=range(1, len(header)))}\n\n{captioned(alt, png, caption)}"


def _controls(names: Sequence[str]) -> str:
    """What the baselines are that are read from features; only of those that there are."""
    text = ""
    if reader_label("random-tower") in names:
        text += (
            " *Random tower* is the architecture of the encoder with fresh weights: what it lets a "
            "probe read before any training."
        )
    if reader_label("shuffled-pre") in names:
        text += (
            " *Shuffled labels* are those of other clusters, given to the same features before the "
            "fit, and scored on the true ones: what this probe reaches where there is nothing to "
            "learn. That is chance; average precision, which favours any order over none, then "
            "lies somewhat above that of *prior*."
        )
    return text


def arms_section(cells: Sequence[Cell]) -> str:
    """The same features read in other ways, under the declared one; empty without other arms."""
    arms = arms_table(cells)
    if arms.empty:
        return ""
    rows = [
        (
            escape(row.question),
            escape(row.metric),
            escape(row.arm) if row.arm else "as declared",
            escape(row.regions),
            "balanced" if row.balanced else "none",
            _both(row.block_pre, row.block_post),
            points(row.pre),
            points(row.post),
            escape(_delta(row)),
            {True: "yes", False: "**no**"}.get(row.same_sign, "–"),
        )
        for row in arms.itertuples()
    ]
    header = (
        "Question", "Metric", "Arm", "Regions", "Weights", "Block", "Pre", "Post",
        "Delta [95 % interval]", "Sign as declared",
    )  # fmt: skip
    best = (
        f" *{BEST_BLOCK}* reads each side at a block of its own, the one with its lowest held-out "
        "loss: it asks whether the best that is left is worse, where the declared reading asks "
        "about one place."
        if BEST_BLOCK in set(arms["arm"])
        else ""
    )
    return (
        "The features read in ways that were not declared: from other regions, with other class "
        f"weights or at other blocks.{best} These arms explore: no verdict and no figure rests on "
        "them. Where the sign is not as declared and the interval excludes 0, the answer depends "
        "on how one reads.\n\n" + table(header, rows, right=(6, 7, 8))
    )


def _both(pre: int, post: int) -> str:
    """The block of both sides, or of each."""
    return str(pre) if pre == post else f"{pre} → {post}"


def changes_section(cells: Sequence[Cell]) -> str:
    """Rows broken and fixed; empty where no outcome is right or wrong."""
    changes = changes_table(cells)
    if changes.empty:
        return ""
    rows = [
        (
            escape(row.question),
            count(int(row.n)),
            count(int(row.broken)),
            count(int(row.fixed)),
            p_value(row.p_mcnemar),
        )
        for row in changes.itertuples()
    ]
    return (
        "Single samples, right before and wrong after (broken) or the other way round (fixed), at "
        "the declared block; McNemar's p is exact and not adjusted.\n\n"
        + table(("Question", "Samples", "Broken", "Fixed", "McNemar p"), rows, right=(1, 2, 3, 4))
    )


def steps_section(steps: pd.DataFrame, folder: Path, notes: dict[str, str], margin: float) -> str:
    """The deltas of one training run's checkpoints, as a figure and a table."""
    base = str(steps["base"].iloc[0])
    png = steps_figure(steps, folder / file_stem("steps", base), notes, margin)
    names = dict(sorted(zip(steps["place"], steps["step"], strict=True)))
    last = steps[steps["place"] == max(names)]
    said = "; ".join(f"{row.question} {signed(row.delta)}" for row in last.itertuples())
    alt = f"Delta of {base} against training step; at the last, {names[max(names)]}: {said}."
    by_place = {(row.question, row.place): row for row in steps.itertuples()}
    rows = [
        (escape(question), *(_step_cell(by_place.get((question, place))) for place in names))
        for question in dict.fromkeys(steps["question"])
    ]
    header = ("Question", *(_step_name(name) for name in names.values()))
    caption = (
        "**Delta against training step.** Each checkpoint against the side before training, at the "
        "declared block and metric; the line starts at the side before training, where the delta "
        "is 0."
    )
    grid = table(header, rows, right=range(1, len(header)))
    return f"{captioned(alt, png, caption)}\n\n{grid}"


def _step_name(step: str) -> str:
    return f"Step {count(int(step))}" if step.isdigit() else step.capitalize()


def _step_cell(row: object) -> str:
    """One checkpoint on one question: delta, interval and verdict; a dash if it was not probed."""
    if row is None:
        return "–"
    return f"{escape(_delta(row))} {verdict(row.verdict)}"


def _delta(row: object) -> str:
    """The delta of a row of a table, with its interval."""
    delta = Estimate(value=row.delta, low=row.delta_low, high=row.delta_high)
    return estimate(delta, delta=True)


def self_test_section(cells: Sequence[Cell]) -> str:
    """What the tool says of planted pairs, against what is known of them."""
    test = self_test_table(cells)
    rows = [
        (
            code(row.pair),
            row.known,
            str(row.degraded),
            str(row.improved),
            str(row.equivalent),
            str(row.undecided),
            escape(row.questions_degraded) or "–",
            f"{row.largest_delta:.4g}",
            "yes" if row.holds else "**NO**",
        )
        for row in test.itertuples()
    ]
    header = (
        "Pair", "Known", *GLYPHS.values(), "Questions degraded", "Largest delta", "Holds",
    )  # fmt: skip
    return table(header, rows, right=(2, 3, 4, 5, 7))


def left_out_section(records: Sequence[RunRecord]) -> str:
    """Rows left out, by task, split and reason."""
    left_out = left_out_table(records)
    if left_out.empty:
        return "No row was left out."
    rows = [
        (code(row.task), escape(row.split), escape(row.reason), count(int(row.left_out)),
         count(int(row.used)), escape(row.pairs))
        for row in left_out.itertuples()
    ]  # fmt: skip
    return table(("Task", "Split", "Reason", "Left out", "Used", "Pairs"), rows, right=(3, 4))


def runs_section(records: Sequence[RunRecord]) -> str:
    """Pairs with the digests of their weights, where these were read, and runs with their rows."""
    cards = {record.pair.name: record.pair for record in records}
    pairs = [
        (code(name), code(card.pre), code(card.pre_digest[:12]), code(card.post),
         code(card.post_digest[:12]), escape(card.source) or "–")
        for name, card in cards.items()
    ]  # fmt: skip
    runs = [
        (code(run.pair), code(run.task), escape(run.rows), str(run.seed), str(run.draws),
         code(run.predictions), escape(run.version))
        for run in provenance_table(records).itertuples()
    ]  # fmt: skip
    tables = (
        table(("Pair", "Pre", "Weights", "Post", "Weights", "Stated in"), pairs),
        origins_table(recorded_origins(records)),
        table(
            ("Pair", "Task", "Rows and their digest", "Seed", "Draws", "Predictions", "sdiag"),
            runs,
            right=(3, 4),
        ),
    )
    return "\n\n".join(part for part in tables if part)


def analyses_section(analyses: Analyses, conflicts: Sequence[Conflict] = ()) -> str:
    """Which further analyses the report holds, with their seeds and versions; empty without."""
    tasks: dict[tuple[str, ...], list[str]] = {}
    for name in KINDS:
        for one in getattr(analyses, name):
            made = (f"sdiag {name}", one.pair.name, str(one.seed), one.tool_version)
            tasks.setdefault(made, []).append(one.task.label)
    for one in conflicts:
        made = ("sdiag gcd", one.name, str(one.record.seed), one.record.tool_version)
        tasks[made] = list(dict.fromkeys(card.task for card in one.record.questions))
    rows = [
        (code(command), code(pair), ", ".join(map(code, labels)), seed, escape(version))
        for (command, pair, seed, version), labels in tasks.items()
    ]
    header = ("Analysis", "Pair", "Tasks", "Seed", "sdiag")
    return table(header, rows, right=(3,)) if rows else ""
