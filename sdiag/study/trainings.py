"""The steps of a study about SocialFusion, and those that come after everything else."""

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from degradation.errors import DataError
from probes.conflict.records import read_conflict
from probes.folders import record_folder
from reports.planned import PLANNED
from reports.report import write_report
from sdiag.commands.against import compare
from sdiag.commands.trainings import checker, question_counts, record_name, trained
from sdiag.study.analyses import report_cost
from sdiag.study.costs import Clock, Cost, training_cost
from sdiag.study.encoders import StudyPair
from sdiag.study.schema import Ablate, Fusion, Transfer
from sdiag.study.steps import Step, extraction_key, rows_keys
from sdiag.study.world import World
from socialfusion.defaults import default_settings
from socialfusion.records import FusionSettings, read_fusion, run_folder
from socialfusion.transfer.ablations import ablation_record, plan_ablation
from socialfusion.transfer.against_conflict import conflict_against_transfer, read_against
from socialfusion.transfer.plan import PlannedRun, changed, over_seeds, plan_transfer
from socialfusion.transfer.records import (
    AblationRecord,
    TransferRecord,
    ablation_path,
    read_ablation,
    read_transfer,
    transfer_path,
    write_ablation,
    write_transfer,
)
from socialfusion.transfer.run import Runs, transfer_record

__all__ = ["final_steps", "settings_of", "training_steps"]


def settings_of(world: World, fusion: Fusion, pair: StudyPair, side: str) -> FusionSettings:
    """The settings of the first run of a stage on a side of a pair.

    Raises:
        ConfigError: There is no such setting, or it cannot have that value.
    """
    tasks = fusion.tasks or world.tasks
    settings = default_settings(f"{pair.name}:{side}", tasks, steps=fusion.steps)
    return changed(settings, {**fusion.settings, "row_list": world.study.rows})


def training_steps(world: World) -> Iterator[Step]:
    """Trainings, transfer and ablations, on every side of every pair that they name."""
    study = world.study
    for pair in world.pairs:
        for stage in (study.train, study.transfer, *study.ablate):
            if stage is None:
                continue
            for side in stage.sides:
                settings = settings_of(world, stage, pair, side)
                if isinstance(stage, Transfer):
                    yield _transfer(world, stage, pair, side, settings)
                elif isinstance(stage, Ablate):
                    yield _ablation(world, stage, pair, side, settings)
                else:
                    yield _training(world, stage, pair, side, settings)


def _needs(world: World, pair: StudyPair, settings: FusionSettings) -> tuple[str, ...]:
    return (*rows_keys(world), *(extraction_key(pair.name, task) for task in settings.tasks))


def _missing(world: World, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
    """Runs without a record; one of other rows or weights than the cache's is an error."""
    check, missing = checker(world.cache), []
    for run in {one.name: one for one in runs}.values():
        record = read_fusion(run_folder(world.results, run.name))
        if record is None:
            missing.append(run)
        else:
            check(record)
    return missing


def _said(missing: Sequence[PlannedRun]) -> str:
    return f"{len(missing)} run{'s' if len(missing) > 1 else ''} to train" if missing else ""


def _trained(world: World, fusion: Fusion, runs: Sequence[PlannedRun]) -> Runs:
    """All runs, after training those that are missing, from their last checkpoints."""
    return trained(
        runs,
        cache=world.cache,
        results=world.results,
        device=world.study.device,
        save_every=fusion.save_every,
        data_root=world.roots,
    )


def _cost(
    world: World, pair: StudyPair, side: str, runs: Callable[[], Sequence[PlannedRun]]
) -> Callable[[], Cost]:
    def cost() -> Cost:
        missing = [one.settings for one in _missing(world, runs())]
        return training_cost(pair.side(side), pair.choice.size, missing, world)

    return cost


def _training(
    world: World, fusion: Fusion, pair: StudyPair, side: str, settings: FusionSettings
) -> Step:
    runs = over_seeds(settings, range(fusion.seeds))
    return Step(
        stage="train",
        subject=f"{pair.name}:{side}",
        needs=_needs(world, pair, settings),
        differs=lambda: _said(_missing(world, runs)),
        run=lambda: _trained(world, fusion, runs),
        cost=_cost(world, pair, side, lambda: runs),
    )


def _transfer(
    world: World, asked: Transfer, pair: StudyPair, side: str, settings: FusionSettings
) -> Step:
    name, margin = record_name(settings), world.study.margin

    def plans(counts: dict[str, int]):
        return plan_transfer(
            settings,
            questions=counts,
            seeds=range(asked.seeds),
            budgets=asked.budgets,
            row_lists=[world.study.rows],
            pairwise=asked.pairwise,
        )

    def runs(counts: dict[str, int]) -> list[PlannedRun]:
        return [run for plan in plans(counts) for run in plan.runs]

    def differs() -> str:
        planned = runs(question_counts(world.cache, settings))
        if missing := _missing(world, planned):
            return _said(missing)
        path = transfer_path(world.results, name)
        record = _read(read_transfer, path)
        if not isinstance(record, TransferRecord):
            return "the record is not there"
        found = [run for variant in record.variants for run in variant.runs]
        return _record_differs(world, planned, found, (record.margin, margin))

    def run() -> None:
        plan = plans(question_counts(world.cache, settings))
        done = _trained(world, asked, [one for some in plan for one in some.runs])
        write_transfer(world.results, transfer_record(name, plan, done, margin=margin))

    def counted() -> list[PlannedRun]:
        return runs({task: world.rows(task).questions for task in settings.tasks})

    return Step(
        stage="transfer",
        subject=f"{pair.name}:{side}",
        needs=_needs(world, pair, settings),
        differs=differs,
        run=run,
        cost=_cost(world, pair, side, counted),
    )


def _ablation(
    world: World, asked: Ablate, pair: StudyPair, side: str, settings: FusionSettings
) -> Step:
    values: Sequence[object] = asked.values
    others: list[StudyPair] = [pair]
    if asked.setting == "encoder" and not values:
        others = list(world.pairs)
        sides = [(one, end) for one in others for end in ("post", "pre")]
        distinct = {one.side(end).name: f"{one.name}:{end}" for one, end in sides}
        values = sorted({distinct.pop(pair.side(side).name, ""), *distinct.values()} - {""})
    name = f"{asked.setting}-{record_name(settings)}"
    plan = plan_ablation(asked.setting, settings, seeds=range(asked.seeds), values=values)

    def differs() -> str:
        if missing := _missing(world, plan.runs):
            return _said(missing)
        record = _read(read_ablation, ablation_path(world.results, name))
        if not isinstance(record, AblationRecord):
            return "the record is not there"
        found = [*record.runs, *(run for one in record.ablated for run in one.runs)]
        return _record_differs(world, plan.runs, found, (record.margin, world.study.margin))

    def run() -> None:
        done = _trained(world, asked, plan.runs)
        record = ablation_record(plan, done, name=name, margin=world.study.margin)
        write_ablation(world.results, record)

    return Step(
        stage="ablate",
        subject=f"{asked.setting} of {pair.name}:{side}",
        needs=tuple(key for one in others for key in _needs(world, one, settings)),
        differs=differs,
        run=run,
        cost=_cost(world, pair, side, lambda: plan.runs),
    )


def _read(read: Callable[[Path], object], path: Path) -> object | None:
    """A record; None where there is none that can be read."""
    try:
        return read(path) if path.exists() else None
    except DataError:
        return None


def _record_differs(
    world: World, planned: Sequence[PlannedRun], found: Sequence, margin: tuple[float, float]
) -> str:
    """Whether a record was made of other runs than are there."""
    there = {
        one.name: read_fusion(run_folder(world.results, one.name)).predictions_sha256
        for one in planned
    }
    if {one.run: one.predictions_sha256 for one in found} != there:
        return "the record is of other runs"
    return "" if margin[0] == margin[1] else "other margin"


def final_steps(world: World) -> Iterator[Step]:
    """Conflict against transfer, and the report."""
    study = world.study
    if study.gcd is not None and study.gcd.against_transfer:
        for pair in world.pairs:
            yield _against(world, pair, study.transfer.sides[-1])
    if study.report is not None:
        yield _report(world)


def _against(world: World, pair: StudyPair, side: str) -> Step:
    folder = record_folder(world.results, pair.name)
    name = record_name(settings_of(world, world.study.transfer, pair, side))

    def both():
        return read_conflict(folder), read_transfer(transfer_path(world.results, name))

    def differs() -> str:
        record = read_against(folder)
        if record is None:
            return "not there"
        return "" if record == conflict_against_transfer(*both()) else "made from other records"

    def run() -> None:
        conflict, transfer = both()
        compare({pair.name: conflict}, transfer, world.results)

    return Step(
        stage="gcd",
        subject=f"{pair.name} against transfer on {side}",
        needs=(f"gcd {pair.name}", f"transfer {pair.name}:{side}"),
        differs=differs,
        run=run,
        # Correlations of a few numbers: about as long as one comparison.
        cost=lambda: Cost(work={Clock("tally"): 1000.0}),
    )


def _report(world: World) -> Step:
    out = world.study.report.out

    def differs() -> str:
        page = out / "report.html"
        if not page.exists():
            return "not there"
        written = page.stat().st_mtime_ns
        newer = any(one.stat().st_mtime_ns > written for one in world.results.rglob("*.json"))
        return "records are newer" if newer else ""

    # The study as it was resolved is whole: it holds wherever its name came from.
    command = shlex.join(["sdiag", "study", str(world.results / PLANNED)])
    return Step(
        stage="report",
        subject=str(out),
        differs=differs,
        run=lambda: write_report(world.results, out, margin=world.study.margin, command=command),
        cost=lambda: report_cost(_records(world)),
    )


def _records(world: World) -> dict[str, int]:
    """How many records of each kind a study has when it is done."""
    study, pairs = world.study, len(world.pairs)
    each = {"probe", "diagnose", "drift", "slices", "where"}
    found = {name: pairs * len(world.tasks) for name in each if getattr(study, name) is not None}
    fusion = [one for one in (study.train, study.transfer, *study.ablate) if one is not None]
    found["gcd"] = pairs * (study.gcd is not None)
    found["fusion"] = pairs * sum(len(one.sides) for one in fusion)
    return found
