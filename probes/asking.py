"""Questions asked of every block and side, and of what a score is held against.

Baselines need no trained encoder: class shares, boxes, pixels and colours, and where it was
extracted a tower with fresh weights; and the trained features themselves with shuffled labels. The
last two are read at the declared block, in the declared arm, as the sides are there.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from math import inf

import numpy as np
from jaxtyping import Bool, Float64

from degradation.axes import SIDES, Side
from degradation.errors import DataError
from degradation.tasks.task import Arm
from probes.controls import shuffled_scores
from probes.problems import Features
from probes.questions import (
    CLASS_PROBE,
    ClassQuestion,
    GazeQuestion,
    Prediction,
    prepare_question,
)
from probes.selection import Plan, Readout, read_out
from probes.solver.prepared import READ_ROWS
from probes.table import Table, TableRows
from probes.variants import BEST_BLOCK, refit_probe, strength_probe

__all__ = ["Asked", "Extras", "ask"]

Question = ClassQuestion | GazeQuestion


@dataclass(slots=True, eq=False)
class Asked:
    """The predictions of one question in one arm, and how they came about.

    Attributes:
        question: A label set of the task, or `gaze`.
        arm: How the features were read.
        probe: Name of the probe, with the arm's unless it is the declared one.
        plan: Rows fitted and predicted, and how strengths were chosen.
        predictions: Of every baseline (declared arm only), and of every block and side.
        readouts: By block and side.
        variants: Further predictions at the declared block, named as in `probes.variants`.
        blocks_chosen: In the arm `best-block`, the block of each side.
    """

    question: str
    arm: Arm
    probe: str
    plan: Plan
    predictions: list[Prediction] = field(default_factory=list)
    readouts: dict[tuple[int, Side], Readout] = field(default_factory=dict)
    variants: list[Prediction] = field(default_factory=list)
    blocks_chosen: tuple[int, int] | None = None

    @property
    def rule(self) -> str:
        """How strengths were chosen."""
        return f"{self.plan.rule} balanced over classes" if self.arm.balanced else self.plan.rule


@dataclass(frozen=True, slots=True)
class Extras:
    """What to read beside the declared arms.

    Attributes:
        block: The declared block, where variants and the baselines that are read from features
            belong; None for none of them.
        curve: Whether to predict with every strength.
        refits: How often to draw the training clusters anew, at most `probes.selection.REFITS`.
        best_block: Whether to add the arm `best-block`.
        device: Where the probes are fitted.
        memory: Bytes of features of a block that may be held; larger ones are read from disk at
            each pass, except those that gaze is read from and those of the random tower.
    """

    block: int | None = None
    curve: bool = False
    refits: int = 0
    best_block: bool = False
    device: str = "cpu"
    memory: float = inf


NO_EXTRAS = Extras()


def ask(
    table: Table,
    questions: Sequence[str],
    blocks: Mapping[Arm, Sequence[int]],
    *,
    seed: int,
    extras: Extras = NO_EXTRAS,
) -> tuple[list[Asked], dict[tuple[str, str], str]]:
    """Ask the questions in all arms, at their blocks and of both sides, with one procedure.

    The task's declared arm is read with `spec.regions` and `spec.balanced`; the others are further
    ways to read the same features.

    Features are read once per block, side and choice of regions; questions about the same rows
    share their z-scores and eigenbasis.

    Args:
        table: From `probes.table.open_table`.
        questions: Label sets of the task, or `gaze`.
        blocks: Blocks to probe, by arm; the declared arm among them.
        seed: Decides folds and shuffles, by question.
        extras: What to read beside.

    Returns:
        What was asked, by question in the order of the arms, and last the arm `best-block`, if it
        was asked for, of each question that was read at several blocks; and why a question could
        not be asked, by question and name of the arm.

    Raises:
        DataError: If no question can be asked, or features that are asked are not finite.
    """
    prepared: list[Question] = []
    refused: dict[tuple[str, str], str] = {}
    for name in questions:
        for arm in blocks:
            try:
                prepared.append(prepare_question(table, name, arm, seed))
            except DataError as error:  # too few rows, clusters or classes for this question
                refused[name, arm.name] = str(error)
    if not prepared:
        raise DataError(next(iter(refused.values())))
    asked = [
        Asked(one.name, one.arm, "/".join(filter(None, (one.probe, one.arm.name))), one.plan)
        for one in prepared
    ]
    pairs = list(zip(prepared, asked, strict=True))
    for one, found in pairs:
        if not one.arm.name:
            found.predictions += [
                one.prediction(-1, name, "none", scores) for name, scores in _baselines(one)
            ]
            if isinstance(one, GazeQuestion):
                found.predictions += one.human()
    by_regions = sorted(pairs, key=lambda pair: pair[0].arm.regions)
    for regions, members in groupby(by_regions, key=lambda pair: pair[0].arm.regions):
        read = list(members)
        _read(table, regions, read, blocks, extras, seed=seed)
        declared = [pair for pair in read if not pair[0].arm.name]
        if declared and extras.block is not None:
            _read_untrained(table, regions, declared, extras)
    chosen = [_at_best_blocks(one) for one in asked if extras.best_block and not one.arm.name]
    return asked + [one for one in chosen if one is not None], refused


def _read(
    table: Table,
    regions: tuple[str, ...],
    members: Sequence[tuple[Question, Asked]],
    blocks: Mapping[Arm, Sequence[int]],
    extras: Extras,
    *,
    seed: int,
) -> None:
    """Put questions about the same regions to every block and side."""
    for block in sorted({block for one, _ in members for block in blocks[one.arm]}):
        for side in SIDES:
            source = table.on_disk(side, block, regions)
            gaze = any(isinstance(one, GazeQuestion) for one, _ in members)
            small = 4 * np.prod(source.shape) <= extras.memory
            x = table.pooled(side, block, regions) if small or gaze else source
            features, finite = Features(x, extras.device), _finite_rows(x)
            for one, found in members:
                if block not in blocks[one.arm]:
                    continue
                _check_finite(table, one, finite, f"{side} at block {block}")
                beside = block == extras.block and not one.arm.name
                readout = read_out(
                    one.problem(features),
                    one.plan,
                    curve=extras.curve and beside,
                    refits=extras.refits if beside else 0,
                )
                found.readouts[block, side] = readout
                found.predictions.append(one.prediction(block, found.probe, side, readout.scores))
                named = {strength_probe(found.probe, s): e for s, e in readout.curve.items()}
                named |= {refit_probe(found.probe, k): e for k, e in enumerate(readout.refits)}
                found.variants += [
                    one.prediction(block, name, side, scores) for name, scores in named.items()
                ]
                if beside:
                    found.predictions += _shuffled(one, features, side, readout, seed=seed)


def _shuffled(
    one: Question, features: Features, side: Side, readout: Readout, *, seed: int
) -> list[Prediction]:
    """The baseline of shuffled labels on one side; none where labels cannot be shuffled."""
    made = shuffled_scores(
        partial(one.problem, features),
        one.plan,
        one.table.clusters,
        readout.strength,
        seed=seed,
        name=one.name,
    )
    if made is None:
        return []
    scores, shuffles = made
    plain = one.prediction(-1, f"shuffled-{side}", "none", scores)
    return [replace(plain, clusters=shuffles)]


def _read_untrained(
    table: Table,
    regions: tuple[str, ...],
    members: Sequence[tuple[Question, Asked]],
    extras: Extras,
) -> None:
    """Add the baseline of a tower with fresh weights, if there is one."""
    x = table.untrained(extras.block, regions)
    if x is None:
        return
    features, finite = Features(x, extras.device), _finite_rows(x)
    for one, found in members:
        _check_finite(table, one, finite, f"the random tower at block {extras.block}")
        scores = read_out(one.problem(features), one.plan).scores
        found.predictions.append(one.prediction(-1, "random-tower", "none", scores))


def _finite_rows(x: np.ndarray | TableRows) -> Bool[np.ndarray, " n"]:
    """Which rows have finite features only, some rows at a time."""
    starts = range(0, x.shape[0], READ_ROWS)
    return np.concatenate([np.isfinite(x[k : k + READ_ROWS]).all(axis=1) for k in starts])


def _check_finite(table: Table, one: Question, finite: Bool[np.ndarray, " n"], where: str) -> None:
    """Refuse features that a question would read and that are not finite."""
    rows = np.concatenate([np.append(stage.train, stage.predict) for stage in one.plan.stages])
    bad = np.unique(rows[~finite[rows]])
    if len(bad):
        raise DataError(
            f"Expected finite features of {where}, found NaN or infinity in {len(bad)} rows, "
            f"first {table.ids[bad[0]]!r}. Run `sdiag cache verify`, or extract again."
        )


def _at_best_blocks(asked: Asked) -> Asked | None:
    """Each side at the block with its lowest held-out loss, of equals the deepest.

    None with less than two blocks. The rule is the same for both sides and never sees a test row,
    so the comparison is fair; but it answers another question than the declared one.
    """
    blocks = sorted({block for block, _ in asked.readouts})
    if len(blocks) < 2:
        return None
    best = tuple(
        min(reversed(blocks), key=lambda block, side=side: asked.readouts[block, side].loss)
        for side in SIDES
    )
    arm = replace(asked.arm, name=BEST_BLOCK)
    probe = f"{asked.probe}/{BEST_BLOCK}"
    found = Asked(asked.question, arm, probe, asked.plan, blocks_chosen=best)
    for side, block in zip(SIDES, best, strict=True):
        found.readouts[-1, side] = asked.readouts[block, side]
        found.predictions += [
            replace(one, block=-1, probe=probe)
            for one in asked.predictions
            if (one.block, one.side) == (block, side)
        ]
    return found


def _baselines(
    question: Question,
) -> Iterator[tuple[str, Float64[np.ndarray, "k c"]]]:
    """Scores without the encoder, by name."""
    plan = question.plan
    prior = np.concatenate(
        [np.tile(question.prior(s.train), (len(s.predict), 1)) for s in plan.stages]
    )
    order = np.argsort(np.concatenate([stage.predict for stage in plan.stages]))
    yield ("prior" if question.probe == CLASS_PROBE else "centre"), prior[order]
    for name, problem in question.references():
        yield name, read_out(problem, plan).scores
