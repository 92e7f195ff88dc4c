"""From finished runs to the transfer record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from degradation.errors import DataError, PairingError
from probes.cards import tool_version
from probes.questions import Prediction
from socialfusion.records import (
    FusionRecord,
    FusionSettings,
    read_fusion_predictions,
    run_folder,
)
from socialfusion.transfer.effects import Arms, count, effects, judged
from socialfusion.transfer.plan import PlannedRun, VariantPlan
from socialfusion.transfer.records import Effect, RunCard, TransferRecord, VariantCard

__all__ = ["Runs", "run_card", "signature", "transfer_record"]


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Finished runs, whose predictions are read when asked for.

    Attributes:
        results: Folder of the records.
        records: By name of the run.
    """

    results: Path
    records: Mapping[str, FusionRecord]
    _read: dict[str, dict[str, Prediction]] = field(default_factory=dict, repr=False)

    def predictions(self, run: PlannedRun) -> dict[str, Prediction]:
        """The predictions of a run by question, checked against its record.

        Raises:
            DataError: They are missing or were changed.
        """
        if run.name not in self._read:
            folder = run_folder(self.results, run.name)
            self._read[run.name] = read_fusion_predictions(folder, self.records[run.name])
        return self._read[run.name]

    def arms(self, before: Sequence[PlannedRun], after: Sequence[PlannedRun]) -> list[Arms]:
        """The questions that both trainings answer, seed by seed.

        Args:
            before: One run for each seed.
            after: The same, by the same seeds.

        Raises:
            DataError: Predictions are missing.
        """
        first, other = self.records[before[0].name], self.records[after[0].name]
        shared = {one.label for one in other.questions}
        return [
            Arms(
                question=question,
                before=[self._of(run, question.label) for run in before],
                after=[self._of(run, question.label) for run in after],
                chance={
                    one.metric: one.chance for one in first.scores if one.question == question.label
                },
            )
            for question in first.questions
            if question.label in shared
        ]

    def _of(self, run: PlannedRun, label: str) -> Prediction:
        found = self.predictions(run)
        if label not in found:
            raise DataError(
                f"Expected predictions of {label} from the run {run.name}, found those of "
                f"{', '.join(found)}. Move {run_folder(self.results, run.name)} away and run the "
                "same command again."
            )
        return found[label]


def transfer_record(
    name: str,
    plans: Sequence[VariantPlan],
    runs: Runs,
    *,
    margin: float,
) -> TransferRecord:
    """What joint and pairwise training do to each metric.

    Args:
        name: Of the record.
        plans: From `plan_transfer`.
        runs: All runs of the plans.
        margin: Points below which a difference is too small to matter.

    Raises:
        DataError: Predictions are missing or were changed.
        PairingError: Runs that are compared are of other encoders, language models or rows.
    """
    every = [runs.records[run.name] for plan in plans for run in plan.runs]
    _check_alike(every)
    settings = plans[0].joint[0].settings
    seeds = tuple(run.settings.seed for run in plans[0].joint)
    return TransferRecord(
        tool_version=tool_version(),
        name=name,
        settings=settings,
        tasks=settings.tasks,
        encoder_digest=every[0].encoder.digest,
        language_model_digest=every[0].language_model.digest,
        seeds=seeds,
        margin=margin,
        variants=tuple(_variant(plan, runs, margin) for plan in plans),
        signature=signature(settings, every[0], seeds, [plan.name for plan in plans]),
    )


def _check_alike(records: Sequence[FusionRecord]) -> None:
    """Refuse runs that differ in what a comparison holds fixed: encoder and language model.

    Raises:
        PairingError: Naming the first that differs.
    """
    first = records[0]
    for one in records:
        for what in ("encoder", "language_model"):
            if getattr(one, what).digest != getattr(first, what).digest:
                raise PairingError(
                    f"Expected runs of one {what.replace('_', ' ')}, but that of {one.run} is "
                    f"{getattr(one, what).digest[:12]} and that of {first.run} "
                    f"{getattr(first, what).digest[:12]}. Move the runs of earlier weights away "
                    "and run the same command again."
                )


def _variant(plan: VariantPlan, runs: Runs, margin: float) -> VariantCard:
    """One way to compare."""
    alone = [runs.arms(single, plan.joint) for single in plan.singles.values()]
    joint, undefined = effects([one for arms in alone for one in arms])
    pairwise: list[tuple[str, Effect]] = []
    for two, both in plan.pairs.items():
        for task, beside in (two, two[::-1]):
            found, missing = effects(runs.arms(plan.singles[task], both))
            pairwise += [(beside, one) for one in found]
            undefined |= {f"{key} with {beside}": why for key, why in missing.items()}
    judged_pairs = judged([one for _, one in pairwise], margin=margin)
    by_task: dict[str, list[Effect]] = {}
    for (beside, _), one in zip(pairwise, judged_pairs, strict=True):
        by_task.setdefault(beside, []).append(one)
    judged_joint = judged(joint, margin=margin)
    distinct = {run.name: run for run in plan.runs}
    return VariantCard(
        name=plan.name,
        budget=plan.budget,
        row_list=plan.row_list,
        runs=tuple(run_card(runs.records[name]) for name in distinct),
        joint=judged_joint,
        count=count(judged_joint),
        pairwise={task: tuple(found) for task, found in by_task.items()},
        undefined=undefined,
    )


def run_card(record: FusionRecord) -> RunCard:
    """What a comparison keeps of a run."""
    return RunCard(
        run=record.run,
        tasks=record.settings.tasks,
        seed=record.settings.seed,
        steps_run=record.steps_run,
        samples_seen=record.samples_seen,
        seconds=record.seconds,
        predictions_sha256=record.predictions_sha256,
    )


def signature(
    settings: FusionSettings, record: FusionRecord, seeds: Sequence[int], compared: Sequence[str]
) -> str:
    """One line that pins what was compared and how."""
    fixed = settings.model_dump(
        mode="json", exclude={"encoder", "tasks", "seed", "budget", "row_list"}
    )
    return "|".join(
        [
            f"tasks={'+'.join(settings.tasks)}",
            f"encoder={record.encoder.digest[:12]}",
            f"block={record.encoder.block}",
            f"lm={record.language_model.digest[:12]}",
            f"compared={'+'.join(compared)}",
            *(f"{name}={value}" for name, value in fixed.items() if value not in ("", None)),
            f"seeds={'+'.join(map(str, seeds))}",
            "ci=cluster jackknife of the mean over seeds and variance between seeds, t",
            f"sdiag={tool_version()}",
        ]
    )
