"""From cached features of a pair to the result record of one task."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from degradation.cache import PairEntry, pairs
from degradation.encoders.encoder import Origin
from degradation.errors import CacheError, ConfigError
from probes.metrics import Metric, resolve
from probes.predictions import encode
from probes.questions import CLASS_PROBE, GAZE_PROBE, Asked, ask
from probes.records import (
    Baseline,
    Comparison,
    Numbers,
    OriginCard,
    PairCard,
    RunRecord,
    TaskCard,
)
from probes.runs import write_run
from probes.summary import summarise
from probes.table import Table, open_table

__all__ = ["probe_pair"]

log = logging.getLogger(__name__)

LOOSE = 1e-4
"""A certified gap above this is worth a warning; differences in log-loss that matter are larger."""


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
) -> RunRecord:
    """Probe both sides of a pair on one task and write the result.

    Args:
        root: Root of all caches.
        task: Name of the task.
        pair: Name of the pair.
        results: The run goes to `<results>/<pair>/<task>/`.
        blocks: Blocks to probe; by default all that both sides have in every split.
        seed: Decides folds and bootstrap draws.
        draws: Bootstrap draws.
        metrics: Metrics instead of the task's, for every question to which they apply.

    Returns:
        The record, as written.

    Raises:
        CacheError: If the pair is not in the cache.
        ConfigError: If a block is not cached or a metric applies to no question.
        PairingError: If the sides hold other rows or pixels.
        DataError: If there are too few rows, clusters or classes.
    """
    entries = {e.split: e for e in pairs(root) if e.task == task and e.pair == pair}
    if not entries:
        raise CacheError(
            f"The cache {root} holds no features of the pair {pair} on {task}. "
            f"Run `sdiag extract --task {task} --model {pair}`; `sdiag cache ls` lists the rest."
        )
    table = open_table(root, entries)
    entry = next(iter(entries.values()))
    blocks = _chosen_blocks(table, blocks)
    wanted = _metrics(table, metrics)
    log.info("Probing %s on %s: %d questions, %d blocks", pair, task, len(wanted), len(blocks))
    asked = ask(table, list(wanted), blocks, seed=seed)
    declared = max(table.blocks) if entry.block is None else entry.block
    baselines: list[Baseline] = []
    comparisons: list[Comparison] = []
    for question, found in asked.items():
        _warn_if_loose(question, found)
        one, numbers = summarise(found.predictions, wanted[question], draws=draws, seed=seed)
        baselines += one
        comparisons += [
            _comparison(table, entry, question, found, metric, block, numbers[block, metric.name],
                        confirmatory=block == declared, seed=seed, draws=draws)
            for block in blocks
            for metric in wanted[question]
        ]  # fmt: skip
    data = encode(one for found in asked.values() for one in found.predictions)
    record = RunRecord(
        tool_version=_tool_version(),
        task=_task_card(table),
        pair=_pair_card(table, entry),
        splits=table.cards(),
        seed=seed,
        draws=draws,
        baselines=tuple(baselines),
        comparisons=tuple(comparisons),
        predictions_sha256=hashlib.sha256(data).hexdigest(),
    )
    write_run(results / pair / task, record, data)
    return record


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
        for name in dict.fromkeys([*(names or declared), *(["accuracy"] if classes else [])]):
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


def _comparison(
    table: Table,
    entry: PairEntry,
    question: str,
    asked: Asked,
    metric: Metric,
    block: int,
    numbers: Numbers,
    *,
    confirmatory: bool,
    seed: int,
    draws: int,
) -> Comparison:
    probe = CLASS_PROBE if question in table.labels else GAZE_PROBE
    sides = next(reversed(table.features.values()))
    signature = "|".join(
        [
            f"task={table.spec.name}",
            f"rows={sides['pre'].rows.digest()[:12]}",
            f"pair={entry.pair}",
            f"pre={sides['pre'].encoder.digest[:12]}",
            f"post={sides['post'].encoder.digest[:12]}",
            f"pixels={entry.protocol}",
            f"block={block}",
            f"pool={'+'.join(table.spec.regions)}",
            f"probe={probe}",
            f"select={asked.rule}",
            f"question={question}",
            f"metric={metric.name}",
            f"ci=cluster bootstrap by {table.spec.cluster} x{draws}",
            f"seed={seed}",
            f"sdiag={_tool_version()}",
        ]
    )
    return Comparison(
        question=question,
        block=block,
        probe=probe,
        metric=metric.name,
        higher_is_better=metric.higher_is_better,
        confirmatory=confirmatory and metric.name == table.spec.metrics[question][0],
        strength_pre=asked.readouts[block, "pre"].strength,
        strength_post=asked.readouts[block, "post"].strength,
        selection=asked.rule,
        signature=signature,
        **dict(numbers),
    )


def _warn_if_loose(question: str, asked: Asked) -> None:
    for (block, side), readout in asked.readouts.items():
        if readout.gap > LOOSE:
            log.warning(
                "%s, block %d, %s: the fit is certified to within %.1e of its optimum only.",
                question, block, side, readout.gap,
            )  # fmt: skip


def _task_card(table: Table) -> TaskCard:
    spec = table.spec
    return TaskCard(
        name=spec.name,
        kind=spec.kind,
        social=spec.social,
        label_sets=dict(spec.label_sets),
        regions=spec.regions,
        metrics=dict(spec.metrics),
        cluster=spec.cluster,
        source=spec.source,
    )


def _pair_card(table: Table, entry: PairEntry) -> PairCard:
    pre, post = (table.features[entry.split][side].encoder for side in ("pre", "post"))
    return PairCard(
        name=entry.pair,
        pre=pre.name,
        post=post.name,
        pre_digest=pre.digest,
        post_digest=post.digest,
        lineage=entry.lineage,
        source=entry.source,
        protocol=entry.protocol,
        imported=entry.imported,
        pre_origin=_origin_card(pre.origin),
        post_origin=_origin_card(post.origin),
    )


def _origin_card(origin: Origin | None) -> OriginCard | None:
    if origin is None:
        return None
    return OriginCard(place=origin.place, revision=origin.revision, files=dict(origin.files))


def _tool_version() -> str:
    try:
        return version("sdiag")
    except PackageNotFoundError:  # run from a source tree that was not installed
        return "unknown"
