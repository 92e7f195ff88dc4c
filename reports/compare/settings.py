"""The settings behind two runs, in words, and those that differ."""

from collections.abc import Iterable, Mapping

from probes.conflict.records import ConflictRecord
from probes.diagnosis.records import DiagnosisRecord
from probes.drift.records import DriftRecord
from probes.records import Analysis, Comparison, PairCard, RunRecord, TaskCard
from reports.compare.records import Setting
from socialfusion.records import FusionRecord, FusionSettings
from socialfusion.transfer.records import AblationRecord, TransferRecord

__all__ = [
    "Settings",
    "conflict_settings",
    "diagnosis_settings",
    "differing",
    "drift_settings",
    "question_settings",
    "run_settings",
    "sweep_settings",
    "training_settings",
]

Settings = dict[str, str]
"""What was set, by name, in words."""
KNOWN = ("task", "rows", "pair", "pre", "post", "pixels", "question", "metric", "seed", "sdiag")
"""Fields of a signature that are compared once a run, from its record."""


def differing(both: Iterable[tuple[str, Settings, Settings]]) -> tuple[Setting, ...]:
    """The settings that differ, each once with all places where it does.

    Args:
        both: Where settings hold, with those of the first run and of the second.
    """
    found: dict[tuple[str, str, str], list[str]] = {}
    for where, one, other in both:
        for name in dict.fromkeys([*one, *other]):
            values = (one.get(name, "none"), other.get(name, "none"))
            if values[0] != values[1]:
                found.setdefault((name, *values), []).append(where)
    return tuple(Setting(*key, tuple(sorted(set(places)))) for key, places in found.items())


def run_settings(run: RunRecord) -> Settings:
    """What was set for a run of linear probes as a whole."""
    return _common(run) | {"draws": str(run.draws)}


def question_settings(one: Comparison) -> Settings:
    """What was set for a question: the fields of its signature that are its own."""
    fields = (part.partition("=") for part in one.signature.split("|"))
    return {name: value for name, sign, value in fields if sign and name not in KNOWN}


def diagnosis_settings(record: DiagnosisRecord) -> Settings:
    """What was set for a diagnosis."""
    blocks = {f"block of {one.question}": str(one.block) for one in record.questions}
    return _common(record) | {"draws": str(record.draws), "margin": f"{record.margin:g}"} | blocks


def drift_settings(record: DriftRecord) -> Settings:
    """What was set for drift."""
    return _common(record) | {
        "block": str(record.block),
        "regions": ", ".join(record.regions),
        "splits compared": ", ".join(record.measured),
        "row cap": str(record.row_cap),
    }


def training_settings(record: FusionRecord) -> Settings:
    """What a trained model was trained with."""
    rows = {f"rows of {one.label}": one.rows_digest[:12] for one in record.questions}
    return {
        "sdiag": record.tool_version,
        **_trained_with(record.settings),
        "encoder weights": record.encoder.digest[:12],
        "encoder block": str(record.encoder.block),
        "protocol": record.encoder.protocol,
        "language model weights": record.language_model.digest[:12],
        **rows,
    }


def sweep_settings(record: TransferRecord | AblationRecord) -> Settings:
    """What the runs of a transfer or of an ablation have in common."""
    found = {
        "sdiag": record.tool_version,
        **_trained_with(record.settings),
        "seeds": ", ".join(map(str, record.seeds)),
        "margin": f"{record.margin:g}",
    }
    if isinstance(record, AblationRecord):
        return found | {"reference": record.reference}
    return found | {
        "encoder weights": record.encoder_digest[:12],
        "language model weights": record.language_model_digest[:12],
    }


def conflict_settings(record: ConflictRecord) -> Settings:
    """How gradient conflict was measured."""
    weights = {f"weights of {one.name}": one.digest[:12] for one in record.sides}
    rows = {f"rows of {one.label}": one.rows_digest[:12] for one in record.questions}
    return {
        "sdiag": record.tool_version,
        "model": record.model,
        **weights,
        "parameters": record.parameters,
        "split": record.split,
        "row list": record.row_list or "all rows",
        "batch size": str(record.batch_size),
        "batches": str(record.batches),
        "arithmetic": record.arithmetic,
        "products": "exact" if record.exact else f"sketched to {record.sketch}",
        "preconditioner": record.preconditioner,
        "seed": str(record.seed),
        **rows,
    }


def _common(record: RunRecord | Analysis) -> Settings:
    """What was set for anything about one pair and task."""
    pair: PairCard = record.pair
    task: TaskCard = record.task
    rows = {
        f"{name} rows": f"{split.n} in {split.clusters} clusters, {split.rows_digest[:12]}"
        for name, split in record.splits.items()
    }
    return {
        "sdiag": record.tool_version,
        "pair": pair.name,
        "pre": pair.pre,
        "pre weights": pair.pre_digest[:12],
        "post": pair.post,
        "post weights": pair.post_digest[:12],
        "protocol": pair.protocol,
        "task": task.label,
        "data": task.source,
        **rows,
        "seed": str(record.seed),
    }


def _trained_with(settings: FusionSettings) -> Settings:
    """The settings of a training, by name."""
    values: Mapping[str, object] = settings.model_dump()
    return {
        name.replace("_", " "): ", ".join(value) if isinstance(value, tuple) else str(value)
        for name, value in values.items()
    }
