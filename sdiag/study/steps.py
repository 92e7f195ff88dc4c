"""The steps of a study about encoders: what each is, whether it is there, and how it is done."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from degradation.errors import SdiagError
from degradation.ranks import ALONE
from probes.conflict.objectives import Passes
from probes.conflict.run import conflict_pair
from probes.conflict.study import Settings as ConflictSettings
from probes.diagnosis.run import diagnose_pair
from probes.diagnosis.settings import FULL, QUICK
from probes.drift.block import Settings as DriftSettings
from probes.drift.run import drift_pair
from probes.folders import record_folder
from probes.run import probe_pair
from probes.slices.run import slice_run
from probes.slices.where import where_pair
from sdiag.commands.audit import audit_rows
from sdiag.commands.extract import extract_pairs
from sdiag.study import analyses, fits
from sdiag.study.costs import Clock, Cost, conflict_cost, extraction_cost
from sdiag.study.encoders import StudyPair
from sdiag.study.schema import Audit
from sdiag.study.world import World

__all__ = ["Step", "encoder_steps", "extraction_key", "rows_keys"]

TOGETHER = "all tasks"
"""What an audit is of."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    Attributes:
        stage: One of `sdiag.study.schema.STAGES`.
        subject: Of what, in words.
        differs: Says why it must be done; nothing if what is there is what is asked for.
        run: Does it, through the function that the command of the stage calls.
        needs: Keys of the steps that it reads from.
        cost: Of doing it.
    """

    stage: str
    subject: str
    differs: Callable[[], str] = field(repr=False)
    run: Callable[[], object] = field(repr=False)
    needs: tuple[str, ...] = ()
    cost: Callable[[], Cost] = field(default=Cost, repr=False)

    @property
    def key(self) -> str:
        """`probe tiny on scenes-gaze`."""
        return f"{self.stage} {self.subject}"


def extraction_key(pair: str, task: str) -> str:
    """The key of the step that extracts a pair on a task."""
    return f"extract {pair} on {task}"


def rows_keys(world: World) -> tuple[str, ...]:
    """The key of the step that writes the row lists of the study; none if it writes none."""
    study = world.study
    own = study.audit is not None and study.rows and study.audit.clean == study.rows
    return (f"audit {TOGETHER}",) if own else ()


def encoder_steps(world: World) -> Iterator[Step]:
    """Stages from the audit to gradient conflict, in order."""
    if world.study.audit is not None:
        yield _audit(world, world.study.audit)
    for pair in world.pairs:
        for task in world.tasks:
            yield _extraction(world, pair, task)
    for pair in world.pairs:
        for task in world.tasks:
            yield from _analyses(world, pair, task)
    if world.study.gcd is not None:
        for pair in world.pairs:
            yield _conflict(world, pair)


def _extraction(world: World, pair: StudyPair, task: str) -> Step:
    study, asked = world.study, world.study.extract

    def differs() -> str:
        digests = _digests(world, task, [pair])
        return fits.cached_features(world.cache, pair, task, digests, study)

    return Step(
        stage="extract",
        subject=f"{pair.name} on {task}",
        differs=differs,
        run=lambda: extract_pairs(
            {pair.pair: pair.protocol},
            [task],
            world.roots[task],
            world.cache,
            weights=world.weights,
            offline=world.offline,
            random_init=asked.random_init,
            blocks=pair.choice.blocks,
            token_blocks=pair.choice.token_blocks or (),
            batch_size=asked.batch_size,
            shard_rows=asked.shard_rows,
            workers=world.workers,
            device=study.device,
            compute_dtype=getattr(torch, asked.precision),
            ranks=ALONE,
        ),
        cost=lambda: extraction_cost(pair, task, world.rows(task)),
    )


def _digests(world: World, task: str, pairs: Sequence[StudyPair]) -> Mapping[str, str | None]:
    """Digest of the rows of each split; None for each that has features, where the data are away.

    Raises:
        SdiagError: There are neither data nor features.
    """
    try:
        return world.rows(task).digests
    except SdiagError:
        cached = [split for p in pairs for split in fits.cached_splits(world.cache, p.name, task)]
        if not cached:
            raise
        return dict.fromkeys(cached)


def _audit(world: World, asked: Audit) -> Step:
    """Leaks between the splits of all tasks together."""

    def differs() -> str:
        digests = {task: _digests(world, task, world.pairs) for task in world.tasks}
        return fits.audit_fits(world.cache, world.results, digests, asked)

    def cost() -> Cost:
        opened = {} if asked.by_name else {task: world.rows(task).rows for task in world.tasks}
        work = {Clock("opening", task): float(rows) for task, rows in opened.items()}
        return Cost(sum(opened.values()), work=work)

    return Step(
        stage="audit",
        subject=TOGETHER,
        differs=differs,
        run=lambda: audit_rows(
            world.roots,
            cache=world.cache,
            results=world.results,
            radius=asked.radius,
            open_pictures=not asked.by_name,
            clean=asked.clean,
            progress=True,
        ),
        cost=cost,
    )


def _analyses(world: World, pair: StudyPair, task: str) -> Iterator[Step]:
    """Everything that reads one pair on one task."""
    study, cache, results = world.study, world.cache, world.results
    subject, folder = f"{pair.name} on {task}", world.folder(pair.name, task)
    needs = (*rows_keys(world), extraction_key(pair.name, task))
    step = partial(Step, subject=subject, needs=needs)
    shared = {"results": results, "seed": study.seed, "row_list": study.rows}

    def priced(cost: Callable[..., Cost], *asked: object) -> Callable[[], Cost]:
        return lambda: cost(pair, world.task(task).spec, world.rows(task), *asked)

    if (probe := study.probe) is not None:
        yield step(
            stage="probe",
            differs=lambda: fits.probe_fits(cache, folder, probe, study),
            run=lambda: probe_pair(
                cache, task, pair.name, **shared, blocks=probe.blocks, draws=probe.draws,
                arms=probe.arms, curve=probe.curve, refits=probe.refits, device=study.device,
            ),
            cost=priced(analyses.probe_cost, probe),
        )  # fmt: skip
    if (diagnose := study.diagnose) is not None:
        yield step(
            stage="diagnose",
            differs=lambda: fits.diagnosis_fits(cache, folder, diagnose, study),
            run=lambda: diagnose_pair(
                cache, task, pair.name, **shared, blocks=diagnose.blocks, draws=diagnose.draws,
                margin=study.margin, settings=QUICK if diagnose.quick else FULL,
            ),
            cost=priced(analyses.diagnosis_cost, diagnose),
        )  # fmt: skip
    if (drift := study.drift) is not None:
        settings = DriftSettings(row_cap=drift.row_cap, shuffles=drift.shuffles, seed=study.seed)
        yield step(
            stage="drift",
            differs=lambda: fits.drift_fits(cache, folder, drift, study),
            run=lambda: drift_pair(
                cache, task, pair.name, results=results, blocks=drift.blocks, split=drift.split,
                settings=settings, row_list=study.rows,
            ),
            cost=priced(analyses.drift_cost, drift),
        )  # fmt: skip
    if study.slices is not None:
        yield Step(
            stage="slices",
            subject=subject,
            needs=(f"probe {subject}",),
            differs=lambda: fits.slices_fit(cache, folder, study),
            run=lambda: slice_run(cache, folder),
            cost=priced(analyses.slices_cost, probe),
        )
    if (where := study.where) is not None and _has_classes(world, task):
        yield step(
            stage="where",
            differs=lambda: fits.where_fits(cache, folder, where, study),
            run=lambda: where_pair(cache, task, pair.name, **shared, each=where.tokens),
            cost=priced(analyses.where_cost, where),
        )


def _has_classes(world: World, task: str) -> bool:
    """Whether single tokens of a task can be asked for a class; so too if its data are not here."""
    try:
        return world.task(task).spec.kind not in ("gaze", "track")
    except SdiagError:
        return True


def _conflict(world: World, pair: StudyPair) -> Step:
    """Gradient conflict between all questions on one pair."""
    study, asked = world.study, world.study.gcd
    folder = record_folder(world.results, pair.name)
    settings = ConflictSettings(
        parameters=asked.parameters,
        batch_size=asked.batch_size,
        batches=asked.batches,
        split=asked.split,
        row_list=study.rows,
        exact=not asked.sketch_only,
        adam=asked.precondition == "adam",
        swapped=asked.swapped_labels,
        passes=Passes(study.device, getattr(torch, asked.precision), asked.micro_batch),
        workers=world.workers,
        seed=study.seed,
    )
    return Step(
        stage="gcd",
        subject=pair.name,
        needs=(*rows_keys(world), *(extraction_key(pair.name, task) for task in world.tasks)),
        differs=lambda: fits.conflict_fits(world.cache, folder, asked, set(world.tasks), study),
        run=lambda: conflict_pair(
            world.cache,
            [world.task(name) for name in world.tasks],
            pair.name,
            results=world.results,
            settings=settings,
            weights=world.weights,
            offline=world.offline,
        ),
        cost=lambda: conflict_cost(pair, asked, {name: world.rows(name) for name in world.tasks}),
    )
