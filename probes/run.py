"""From cached features of a pair to the result record of one task."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from degradation.axes import SIDES, Side
from degradation.cache import PairEntry
from degradation.device import check_device
from degradation.errors import CacheError, ConfigError
from probes.asking import Asked, Extras, ask
from probes.cards import pair_card, task_card, tool_version
from probes.controls import LEAK, suspicious
from probes.folders import record_folder
from probes.metrics import Metric, resolve
from probes.predictions import encode
from probes.questions import declared_arm
from probes.records import (
    Baseline,
    ClassCard,
    Comparison,
    Numbers,
    RunRecord,
    SplitCard,
    Undefined,
)
from probes.robustness import robustness
from probes.runs import write_run
from probes.selection import REFITS
from probes.summary import METHOD, summarise
from probes.table import Table, open_pair

__all__ = ["probe_pair"]

log = logging.getLogger(__name__)

LOOSE = 1e-4
"""A gap above this is worth a warning; differences in log-loss that matter are larger."""


def probe_pair(
    root: Path,
    task: str,
    pair: str,
    *,
    results: Path,
    blocks: Sequence[int] | None = None,
    seed: int = 0,
    draws: int = 2000,
    metrics: Sequence[str] | None = None,
    arms: bool = True,
    row_list: str = "",
    curve: bool = True,
    refits: int = 5,
    device: str = "cpu",
    memory: float | None = None,
) -> RunRecord:
    """Probe both sides of a pair on one task and write the result.

    Args:
        root: Root of all caches.
        task: Name of the task.
        pair: Name of the pair.
        results: The run goes to `<results>/<pair>/<task>/`, or `<task>@<row list>/`.
        blocks: Blocks to probe; by default all that both sides have in every split.
        seed: Decides folds and bootstrap draws.
        draws: Bootstrap draws.
        metrics: Metrics instead of the task's, for every question to which they apply.
        arms: Whether to probe the task's arms beside the declared one: at the blocks named, or
            else at the declared block; and whether to compare each side at its best block.
        row_list: Name of the row lists, one a split, whose rows alone are used; empty for all.
        curve: Whether to read the declared block with every strength, for the tuning curve.
        refits: How often to fit it on training clusters drawn anew, for the variance that comes
            from training; 0, or 3 to `probes.selection.REFITS`.
        device: Where the probes are fitted: `cpu`, `cuda`, `cuda:1`.
        memory: Bytes of features of a block that may be held, an eighth of the machine's memory
            by default (a fit holds some copies); larger ones are read from disk at each pass.

    Returns:
        The record, as written.

    Raises:
        CacheError: If the pair is not in the cache.
        ConfigError: If a block is not cached, a metric applies to no question, or a split has no
            such row list; if the device is not to be had, or one or two refits are asked for.
        PairingError: If the sides hold other rows or pixels.
        DataError: If there are too few rows, clusters or classes.
    """
    if refits not in (0, *range(3, REFITS + 1)):
        raise ConfigError(
            f"Expected 0 refits, or 3 to {REFITS} to tell training from sampling; found {refits}."
        )
    check_device(device, torch.float64)
    table, entry = open_pair(root, task, pair, row_list=row_list)
    declared = table.declared_block(entry)
    named = None if blocks is None else tuple(blocks)
    blocks = _chosen_blocks(table, named)
    wanted = _metrics(table, metrics)
    log.info("Probing %s on %s: %d questions, %d blocks", pair, task, len(wanted), len(blocks))
    beside = tuple(block for block in blocks if named is not None or block == declared)
    plan = {declared_arm(table.spec): blocks}
    plan |= {arm: beside for arm in table.spec.arms if arms and beside}
    extras = Extras(
        block=declared if declared in blocks else None,
        curve=curve,
        refits=refits,
        best_block=arms,
        device=device,
        memory=_physical_memory() / 8 if memory is None else memory,
    )
    asked, refused = ask(table, list(wanted), plan, seed=seed, extras=extras)
    run = _Run(table, entry, table.cards(), declared=declared, seed=seed, draws=draws)
    baselines: list[Baseline] = []
    comparisons: list[Comparison] = []
    undefined = [
        Undefined(question=question, arm=arm, metric=metric.name, reason=reason)
        for (question, arm), reason in refused.items()
        for metric in wanted[question]
    ]
    for found in asked:
        _warn_if_loose(found)
        metrics_of = wanted[found.question]
        one = summarise(found.predictions, metrics_of, draws=draws, seed=seed)
        baselines += one.baselines
        for fault in suspicious(one.baselines, metrics_of):
            log.warning("%s: %s. %s", found.question, fault, LEAK)
        undefined += [
            Undefined(question=found.question, arm=found.arm.name, metric=name, reason=reason)
            for name, reason in one.undefined.items()
        ]
        comparisons += [
            run.comparison(found, metric, block, one.numbers[block, found.probe, metric.name])
            for block in ((-1,) if found.blocks_chosen else plan[found.arm])
            for metric in metrics_of
            if metric.name not in one.undefined
        ]
    data = encode(one for found in asked for one in (*found.predictions, *found.variants))
    judged = [
        robustness(found.variants, wanted[found.question][0], draws=draws, seed=seed)
        for found in asked
    ]
    record = RunRecord(
        tool_version=tool_version(),
        task=task_card(table, tuple(dict.fromkeys(one.arm for one in asked if one.arm.name))),
        pair=pair_card(table, entry),
        splits=run.splits,
        seed=seed,
        draws=draws,
        classes=tuple(card for found in asked for card in _class_cards(table, found)),
        undefined=tuple(undefined),
        baselines=tuple(baselines),
        comparisons=tuple(comparisons),
        robustness=tuple(one for one in judged if one is not None),
        predictions_sha256=hashlib.sha256(data).hexdigest(),
    )
    write_run(record_folder(results, pair, record.task.label), record, data)
    return record


def _physical_memory() -> int:
    """Bytes of memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _chosen_blocks(table: Table, blocks: Sequence[int] | None) -> tuple[int, ...]:
    if not table.blocks:
        raise CacheError("Both sides share no cached block. Extract them with the same --blocks.")
    if blocks is None:
        return table.blocks
    if missing := sorted(set(blocks) - set(table.blocks)):
        raise ConfigError(f"Blocks {missing} are not cached; choose among {list(table.blocks)}.")
    return tuple(sorted(set(blocks)))


def _metrics(table: Table, names: Sequence[str] | None) -> Mapping[str, list[Metric]]:
    """Metrics by question; accuracy is always among those of a question with classes."""
    found: dict[str, list[Metric]] = {}
    refused: list[ConfigError] = []
    for question, declared in table.spec.metrics.items():
        classes = table.spec.label_sets.get(question, ())
        asked = [*(names or declared), *(["accuracy"] if classes else [])]
        if "auc_score" in asked and not classes and not (table.sizes > 0).all():
            asked.append("auc_on_grid")  # the other is then recorded as undefined
        for name in dict.fromkeys(asked):
            try:
                found.setdefault(question, []).append(resolve(name, classes))
            except ConfigError as error:
                if names is None:
                    raise
                refused.append(error)
    known = {metric.name for one in found.values() for metric in one}
    if names and (refused and not set(names) <= known):
        raise refused[0]
    return found


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """What all comparisons of a run have in common."""

    table: Table
    entry: PairEntry
    splits: Mapping[str, SplitCard]
    declared: int
    seed: int
    draws: int

    def comparison(self, asked: Asked, metric: Metric, block: int, numbers: Numbers) -> Comparison:
        """Pre against post in one metric and block, with all definitions behind it."""
        spec, first = self.table.spec, metric.name == self.table.spec.metrics[asked.question][0]
        return Comparison(
            question=asked.question,
            block=block,
            probe=asked.probe,
            metric=metric.name,
            higher_is_better=metric.higher_is_better,
            confirmatory=block == self.declared and first and not asked.arm.name,
            strength_pre=asked.readouts[block, "pre"].strength,
            strength_post=asked.readouts[block, "post"].strength,
            selection=asked.rule,
            blocks_chosen=asked.blocks_chosen,
            signature="|".join(
                [
                    f"task={spec.name}",
                    f"rows={self._rows()}",
                    f"pair={self.entry.pair}",
                    *(f"{side}={self._encoder(side)}" for side in SIDES),
                    f"pixels={self.entry.protocol}",
                    f"block={_block_words(asked, block)}",
                    f"pool={'+'.join(asked.arm.regions)}",
                    f"probe={asked.probe}",
                    f"weights={'balanced' if asked.arm.balanced else 'none'}",
                    f"select={asked.rule}",
                    f"question={asked.question}",
                    f"metric={metric.name}",
                    f"ci={METHOD}, by {spec.cluster}",
                    f"seed={self.seed}",
                    f"sdiag={tool_version()}",
                ]
            ),
            **dict(numbers),
        )

    def _rows(self) -> str:
        """Digest of the rows of all splits, after the name of their list if one chose them."""
        digests = " ".join(f"{split}:{card.rows_digest}" for split, card in self.splits.items())
        digest = hashlib.sha256(digests.encode()).hexdigest()[:12]
        return f"{self.table.row_list}:{digest}" if self.table.row_list else digest

    def _encoder(self, side: Side) -> str:
        return self.table.features[self.entry.split][side].encoder.digest[:12]


def _block_words(asked: Asked, block: int) -> str:
    """The block, or those that the sides were read at."""
    if asked.blocks_chosen is None:
        return str(block)
    return "lowest held-out loss: {} and {}".format(*asked.blocks_chosen)


def _class_cards(table: Table, asked: Asked) -> list[ClassCard]:
    """Rows of each class of a question, fitted and predicted; none for gaze and for other arms."""
    if asked.arm.name or asked.question not in table.labels:
        return []
    labels, names = table.labels[asked.question], table.spec.label_sets[asked.question]
    fitted = np.unique(np.concatenate([stage.train for stage in asked.plan.stages]))
    counts = [
        np.bincount(labels[rows], minlength=len(names)) for rows in (fitted, asked.plan.predicted)
    ]
    return [
        ClassCard(question=asked.question, name=name, fitted=int(fit), predicted=int(predict))
        for name, fit, predict in zip(names, *counts, strict=True)
    ]


def _warn_if_loose(asked: Asked) -> None:
    for (block, side), readout in asked.readouts.items():
        if not readout.gap <= LOOSE:  # NaN too
            log.warning(
                "%s by %s, block %d, %s: the fit may be %.1e above its optimum.",
                asked.question, asked.probe, block, side, readout.gap,
            )  # fmt: skip
