"""From cached features of a pair to the diagnosis of every question of a task."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from degradation.cache.files import write_atomically
from degradation.errors import ConfigError, DataError
from probes.cards import pair_card, task_card, tool_version
from probes.diagnosis.findings import question_diagnosis
from probes.diagnosis.measured import measure
from probes.diagnosis.records import DiagnosisRecord, QuestionDiagnosis
from probes.diagnosis.settings import FULL, Settings
from probes.folders import record_folder
from probes.metrics import resolve
from probes.predictions import encode
from probes.questions import Prediction, declared_arm, prepare_question
from probes.runs import write_analysis
from probes.table import Table, open_pair

__all__ = ["ANALYSIS", "PREDICTIONS", "diagnose_pair"]

ANALYSIS, PREDICTIONS = "diagnose", "diagnosis.parquet"
log = logging.getLogger(__name__)


def diagnose_pair(
    root: Path,
    task: str,
    pair: str,
    *,
    results: Path,
    blocks: Sequence[int] | None = None,
    seed: int = 0,
    draws: int = 2000,
    margin: float = 2.0,
    settings: Settings = FULL,
    row_list: str = "",
) -> DiagnosisRecord:
    """Diagnose every question of a task, in its declared arm and first metric, and write it.

    Args:
        root: Root of all caches.
        task: Name of the task.
        pair: Name of the pair.
        results: `diagnose.json` and `diagnosis.parquet` go to `<results>/<pair>/<task>/`.
        blocks: Blocks to diagnose; by default the declared one.
        seed: Decides folds, subsets, orders and initial weights.
        draws: Bootstrap draws and swaps, as for a run.
        margin: Points below which a difference is too small to matter.
        settings: How thorough.
        row_list: Name of the row lists whose rows alone are used; empty for all.

    Returns:
        The record, as written.

    Raises:
        CacheError: If the pair is not in the cache.
        ConfigError: If a block is not cached.
        PairingError: If the sides hold other rows or pixels.
        DataError: If no question can be asked, or features are not finite.
    """
    table, entry = open_pair(root, task, pair, row_list=row_list)
    chosen = [table.declared_block(entry)] if blocks is None else sorted(set(blocks))
    if missing := sorted(set(chosen) - set(table.blocks)):
        raise ConfigError(f"Blocks {missing} are not cached; choose among {list(table.blocks)}.")
    found: list[QuestionDiagnosis] = []
    predictions: list[Prediction] = []
    refused: dict[str, str] = {}
    for name in table.spec.metrics:
        for block in chosen:
            log.info("Diagnosing %s on %s: %s at block %d", pair, task, name, block)
            try:
                one, made = _diagnose(table, name, block, seed, draws, margin, settings)
            except DataError as error:
                refused[f"{name} at block {block}"] = str(error)
                continue
            found.append(one)
            predictions += made
    if not found:
        raise DataError(next(iter(refused.values())))
    data = encode(predictions)
    record = DiagnosisRecord(
        tool_version=tool_version(),
        task=task_card(table),
        pair=pair_card(table, entry),
        splits=table.cards(),
        seed=seed,
        draws=draws,
        margin=margin,
        questions=tuple(found),
        refused=refused,
        predictions_sha256=hashlib.sha256(data).hexdigest(),
    )
    folder = record_folder(results, pair, record.task.label)
    write_atomically(folder / PREDICTIONS, data)
    write_analysis(folder, ANALYSIS, record)
    return record


def _diagnose(
    table: Table,
    name: str,
    block: int,
    seed: int,
    draws: int,
    margin: float,
    settings: Settings,
) -> tuple[QuestionDiagnosis, list[Prediction]]:
    """One question at one block, and the predictions behind it."""
    metric = resolve(table.spec.metrics[name][0], table.spec.label_sets.get(name, ()))
    question = prepare_question(table, name, declared_arm(table.spec), seed)
    measured = measure(question, block, settings, seed=seed)
    found = question_diagnosis(measured, metric, seed=seed, draws=draws, margin=margin)
    return found, [*measured.predictions, *measured.code]
