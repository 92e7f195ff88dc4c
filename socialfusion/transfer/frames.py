"""Transfer and ablations as tidy tables."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from socialfusion.transfer.records import AblationRecord, Effect, TransferRecord

__all__ = ["ablation_frame", "transfer_frame"]


def transfer_frame(record: TransferRecord) -> pd.DataFrame:
    """What training together does, one row a variant, question and metric, in points.

    Args:
        record: From `socialfusion.transfer.run.transfer_record`.

    Returns:
        Columns variant, beside (`all` for joint training, else the one task trained beside),
        question, metric, declared, counted; single, together, change with `_low` and `_high`; p,
        p_adjusted, word, n, clusters.
    """
    return pd.DataFrame(
        [
            {"variant": variant.name, "beside": beside, **row}
            for variant in record.variants
            for beside, effects in {"all": variant.joint, **variant.pairwise}.items()
            for row in _rows(effects, "single", "together")
        ]
    )


def ablation_frame(record: AblationRecord) -> pd.DataFrame:
    """What a changed setting does, one row a setting, question and metric, in points.

    Args:
        record: From `socialfusion.transfer.ablations.ablation_record`.

    Returns:
        Columns setting, then as `transfer_frame` from question on, with reference and changed in
        place of single and together.
    """
    return pd.DataFrame(
        [
            {"setting": one.label, **row}
            for one in record.ablated
            for row in _rows(one.effects, "reference", "changed")
        ]
    )


def _rows(effects: Iterable[Effect], before: str, after: str) -> list[dict[str, Any]]:
    return [
        {
            "question": one.question,
            "metric": one.metric,
            "declared": one.declared,
            "counted": one.counted,
            before: one.before,
            after: one.after,
            "change": one.change.value,
            "change_low": one.change.low,
            "change_high": one.change.high,
            "p": one.p,
            "p_adjusted": one.p_adjusted,
            "word": one.word,
            "n": one.n,
            "clusters": one.clusters,
        }
        for one in effects
    ]
