"""Every effect of a comparison of trainings as one table, for the CSV beside the report."""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from reports.fusion.baselines import Beside
from reports.transfer.words import Key, key_of
from socialfusion.transfer.records import AblationRecord, Effect, TransferRecord

__all__ = ["ablation_numbers", "transfer_numbers"]


def transfer_numbers(
    record: TransferRecord, beside: Mapping[str, Mapping[Key, Beside]]
) -> pd.DataFrame:
    """All effects of all variants, on all tasks and pairwise, unrounded, in points.

    Args:
        record: From `sdiag transfer`.
        beside: Chance and linear probe by variant, question and metric.
    """
    rows: list[dict[str, object]] = []
    for variant in record.variants:
        together = {"all": variant.joint, **variant.pairwise}
        for partner, effects in together.items():
            for row, one in zip(_rows(effects), effects, strict=True):
                known = beside[variant.name].get(key_of(one))
                probe = known.probe.value if known and known.probe else None
                chance = known.chance if known else None
                place = {"variant": variant.name, "trained_with": partner}
                rows.append(place | row | {"chance": chance, "linear_probe": probe})
    return pd.DataFrame(rows)


def ablation_numbers(record: AblationRecord) -> pd.DataFrame:
    """All effects of all settings, unrounded, in points."""
    return pd.DataFrame(
        [{"setting": each.label} | row for each in record.ablated for row in _rows(each.effects)]
    )


def _rows(effects: Sequence[Effect]) -> Iterator[dict[str, object]]:
    """Effects as plain numbers."""
    for one in effects:
        fields = one.model_dump(exclude={"change", "by_seed"})
        yield fields | {
            "change": one.change.value,
            "low": one.change.low,
            "high": one.change.high,
            "by_seed": " ".join(map(repr, one.by_seed)),
        }
