"""The tables of a report as data frames of unrounded numbers, in points."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from probes.records import RunRecord
from reports.formats import GLYPHS
from reports.names import PLANTED, training_step
from reports.planted import holds
from reports.verdicts.cells import Cell, by_pair, judged_cells

__all__ = [
    "arms_table",
    "baseline_table",
    "changes_table",
    "declared_table",
    "left_out_table",
    "numbers_table",
    "provenance_table",
    "self_test_table",
    "steps_table",
    "verdict_table",
]


NUMBERS = [
    "pair", "question", "task", "group", "metric",
    "pre", "pre_low", "pre_high", "post", "post_low", "post_high",
    "delta", "delta_low", "delta_high", "p", "p_adjusted", "family", "verdict",
    "n", "clusters", "block", "probe", "confirmatory", "higher_is_better",
    "block_pre", "block_post", "broken", "fixed", "p_mcnemar", "p_permutation", "p_equivalence",
    "percentile_low", "percentile_high", "bca_low", "bca_high", "se", "dof", "interval", "warning",
    "signature",
]  # fmt: skip
NOT_IN_VERDICTS = NUMBERS[NUMBERS.index("probe") + 1 :]


def verdict_table(
    records: Iterable[RunRecord], *, margin: float = 2.0, alpha: float = 0.05
) -> pd.DataFrame:
    """The confirmatory comparisons, one a row: by pair, social questions before control ones.

    Args:
        records: Runs, of one or several pairs.
        margin: Equivalence margin in points.
        alpha: Level of the tests, after Holm's correction (see `judged_cells`).

    Returns:
        Columns pair, question, task, group, metric, pre, pre_low, pre_high, post, post_low,
        post_high, delta, delta_low, delta_high, p, p_adjusted, family, verdict, n, clusters,
        block, probe.
        Scores, errors and deltas are in points; a negative delta means worse, for errors too.
    """
    return declared_table(judged_cells(tuple(records), margin=margin, alpha=alpha))


def declared_table(cells: Iterable[Cell]) -> pd.DataFrame:
    """`verdict_table` of cells that are judged already."""
    return numbers_table(confirmatory(cells)).drop(columns=NOT_IN_VERDICTS)


def confirmatory(cells: Iterable[Cell]) -> list[Cell]:
    """The cells declared before looking."""
    return [cell for cell in cells if cell.comparison.confirmatory]


def numbers_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Every comparison, one a row, with its verdict and its signature."""
    return pd.DataFrame([_numbers(cell) for cell in cells], columns=NUMBERS)


def _numbers(cell: Cell) -> dict[str, object]:
    """All numbers of one comparison."""
    c = cell.comparison
    row: dict[str, object] = {
        "pair": cell.pair.name,
        "question": cell.label,
        "task": cell.task.label,
        "group": "social" if cell.task.social else "control",
        "metric": cell.metric,
    }
    for name, estimate in (("pre", c.pre), ("post", c.post), ("delta", c.delta)):
        row |= {
            name: estimate.value,
            f"{name}_low": estimate.low,
            f"{name}_high": estimate.high,
        }
    return row | {
        "p": c.p,
        "p_adjusted": cell.p_adjusted,
        "family": cell.family,
        "verdict": cell.verdict,
        "n": c.n,
        "clusters": c.clusters,
        "block": c.block,
        "probe": c.probe,
        "confirmatory": c.confirmatory,
        "higher_is_better": c.higher_is_better,
        "block_pre": _blocks(cell)[0],
        "block_post": _blocks(cell)[1],
        "broken": c.broken,
        "fixed": c.fixed,
        "p_mcnemar": c.p_mcnemar,
        "p_permutation": c.p_permutation,
        "p_equivalence": cell.p_equivalence,
        "percentile_low": c.percentile_low,
        "percentile_high": c.percentile_high,
        "bca_low": c.bca_low,
        "bca_high": c.bca_high,
        "se": c.se,
        "dof": c.dof,
        "interval": c.interval,
        "warning": c.warning,
        "signature": c.signature,
    }


def _blocks(cell: Cell) -> tuple[int, int]:
    """The block of each side, which differ only where each was read at its best."""
    return cell.comparison.blocks_chosen or (cell.comparison.block,) * 2


def changes_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Rows broken and fixed, at the confirmatory block and probe of each question, once a question.

    Returns:
        Columns pair, question, n, broken, fixed, p_mcnemar; empty where no outcome of the
        questions is right or wrong.
    """
    declared = {_place(cell) for cell in confirmatory(cells)}
    rows = [
        {
            "pair": cell.pair.name,
            "question": cell.label,
            "n": cell.comparison.n,
            "broken": cell.comparison.broken,
            "fixed": cell.comparison.fixed,
            "p_mcnemar": cell.comparison.p_mcnemar,
        }
        for cell in cells
        if cell.comparison.p_mcnemar is not None and _place(cell) in declared
    ]
    return pd.DataFrame(rows, columns=["pair", "question", "n", "broken", "fixed", "p_mcnemar"])


def arms_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Each declared cell with the other arms of its question, in its metric and at its block.

    The arm that reads each side at its best block has two blocks and stands here as well.

    Returns:
        Columns pair, question, metric, arm (empty for the declared one), regions, balanced,
        block_pre, block_post, pre, post, delta, delta_low, delta_high and same_sign: whether the
        delta has the sign of the declared one, None for that itself and where either is 0. Empty
        without other arms.
    """
    columns = ["pair", "question", "metric", "arm", "regions", "balanced", "block_pre",
               "block_post", "pre", "post", "delta", "delta_low", "delta_high",
               "same_sign"]  # fmt: skip
    rows = []
    for declared in confirmatory(cells):
        others = [
            cell
            for cell in cells
            if cell.comparison.arm
            and (cell.pair.name, cell.label) == (declared.pair.name, declared.label)
            and (
                cell.comparison.blocks_chosen or cell.comparison.block == declared.comparison.block
            )
            and cell.comparison.metric == declared.comparison.metric
        ]
        rows += [_arm(cell, declared) for cell in (declared, *others) if others]
    return pd.DataFrame(rows, columns=columns)


def _arm(cell: Cell, declared: Cell) -> dict[str, object]:
    """One arm of a question beside the declared one."""
    c, name = cell.comparison, cell.comparison.arm
    read = next((arm for arm in cell.task.arms if arm.name == name), cell.task)
    product = c.delta.value * declared.comparison.delta.value
    return {
        "pair": cell.pair.name,
        "question": cell.label,
        "metric": cell.metric,
        "arm": name,
        "regions": " + ".join(read.regions),
        "balanced": read.balanced,
        "block_pre": _blocks(cell)[0],
        "block_post": _blocks(cell)[1],
        "pre": c.pre.value,
        "post": c.post.value,
        "delta": c.delta.value,
        "delta_low": c.delta.low,
        "delta_high": c.delta.high,
        "same_sign": product > 0 if name and product else None,
    }


def _place(cell: Cell) -> tuple[str, str, int, str]:
    """Pair, question, block and probe of a cell."""
    return cell.pair.name, cell.label, cell.comparison.block, cell.comparison.probe


def baseline_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """What is read with and without the encoder, at the confirmatory cells of one pair.

    Returns:
        Columns question, group, metric, higher_is_better, reader, value, low, high; the readers
        are `trained features, pre` and `..., post` and the baselines.
    """
    rows = []
    for cell in confirmatory(cells):
        readers = [
            ("trained features, pre", cell.comparison.pre),
            ("trained features, post", cell.comparison.post),
            *((baseline.name, baseline.estimate) for baseline in cell.baselines),
        ]
        rows += [
            {
                "question": cell.label,
                "group": "social" if cell.task.social else "control",
                "metric": cell.metric,
                "higher_is_better": cell.comparison.higher_is_better,
                "reader": reader,
                "value": estimate.value,
                "low": estimate.low,
                "high": estimate.high,
            }
            for reader, estimate in readers
        ]
    return pd.DataFrame(rows)


def steps_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """Confirmatory deltas of the pairs named `BASE@STEP`, and of BASE itself as the step `end`.

    Returns:
        Columns base, question, group, metric, step (text), place (of the step in its training run,
        from 1), delta, delta_low, delta_high, p_adjusted, verdict; sorted by base, question, place.
    """
    steps = [(training_step(cell.pair.name), cell) for cell in confirmatory(cells)]
    bases = {step[0] for step, _ in steps if step}
    found = [
        {"base": step[0], "number": step[1]} | _numbers(cell)
        if step
        else {"base": cell.pair.name, "number": math.inf} | _numbers(cell)
        for step, cell in steps
        if step or cell.pair.name in bases
    ]
    table = pd.DataFrame(found)
    if table.empty:
        return table
    table["step"] = [f"{n:.0f}" if math.isfinite(n) else "end" for n in table["number"]]
    table["place"] = table.groupby("base")["number"].rank(method="dense").astype(int)
    order = {label: i for i, label in enumerate(dict.fromkeys(cell.label for cell in cells))}
    table = table.sort_values(
        ["base", "question", "place"], key=lambda c: c.map(order) if c.name == "question" else c
    )
    return table[
        ["base", "question", "group", "metric", "step", "place", "delta", "delta_low",
         "delta_high", "p_adjusted", "verdict"]
    ].reset_index(drop=True)  # fmt: skip


def self_test_table(cells: Sequence[Cell]) -> pd.DataFrame:
    """What the tool says of the planted pairs, against what is known of them.

    Returns:
        Columns pair, known, then the number of confirmatory questions by verdict word, the
        questions degraded, the largest absolute delta in points, and holds: whether the
        measurement agrees with what is known.
    """
    rows = []
    for pair, members in by_pair(confirmatory(cells)).items():
        if pair not in PLANTED:
            continue
        verdicts = [cell.verdict for cell in members]
        deltas = [abs(cell.comparison.delta.value) for cell in members]
        degraded = [cell.label for cell in members if cell.verdict == "degraded"]
        rows.append(
            {"pair": pair, "known": PLANTED[pair]}
            | {word: verdicts.count(word) for word in GLYPHS}
            | {
                "questions_degraded": ", ".join(degraded),
                "largest_delta": max(deltas),
                "holds": holds(pair, members),
            }
        )
    return pd.DataFrame(rows)


def left_out_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """Rows left out by task, split and reason; equal for all pairs of a task, or said for each."""
    seen: dict[tuple[str, str, str, int, int], list[str]] = {}
    for record in records:
        for split, card in record.splits.items():
            for reason, count in card.left_out.items():
                key = (record.task.label, split, reason, count, card.n)
                seen.setdefault(key, []).append(record.pair.name)
    rows = [
        {"task": task, "split": split, "reason": reason, "left_out": count, "used": n,
         "pairs": ", ".join(pairs)}
        for (task, split, reason, count, n), pairs in seen.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["task", "split", "reason", "left_out", "used", "pairs"])


def provenance_table(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One run a row: what was compared on which rows, with digests, seed, draws and version."""
    return pd.DataFrame(
        [
            {
                "pair": record.pair.name,
                "task": record.task.label,
                "rows": "; ".join(
                    f"{split} {card.n} rows in {card.clusters} clusters, {card.rows_digest[:12]}"
                    for split, card in record.splits.items()
                ),
                "seed": record.seed,
                "draws": record.draws,
                "predictions": record.predictions_sha256[:12],
                "version": record.tool_version,
            }
            for record in records
        ]
    )
