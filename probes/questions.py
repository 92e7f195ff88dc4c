"""One question of a task asked of every block and side, and of what needs no encoder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from degradation.axes import SIDES, Side
from degradation.errors import DataError
from degradation.tasks.task import Arm, TaskSpec
from probes.gaze import cell_targets, decode, displacement_basis, prior_map
from probes.gaze_metrics import gaze_outcome, human_outcome
from probes.metrics import ClassOutcome, Outcome
from probes.problems import ClassProblem, Features, GazeProblem
from probes.selection import Plan, Problem, Readout, make_plan, read_out
from probes.table import Table, box_features
from probes.variants import BEST_BLOCK, refit_probe, strength_probe

__all__ = [
    "CLASS_PROBE",
    "GAZE_PROBE",
    "Asked",
    "ClassQuestion",
    "Extras",
    "GazeQuestion",
    "Prediction",
    "arm_of",
    "ask",
    "declared_arm",
    "prepare_question",
]

CLASS_PROBE = "logistic-l2"
GAZE_PROBE = "gaze-logit-l2"

PredictionSide = Literal["pre", "post", "none"]


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What one probe says of the k predicted rows of a question.

    Attributes:
        question: A label set of the task, or `gaze`.
        block: -1 without an encoder.
        probe: Name of the probe, or of the baseline.
        side: `none` without an encoder.
        ids: Shape (k,).
        clusters: Shape (k,).
        outcome: What the metrics read.
        scores: Probabilities of classes or cells, shape (k, c), float32.
        points: Predicted gaze points, normalised xy, shape (k, 2); None for classes.
    """

    question: str
    block: int
    probe: str
    side: PredictionSide
    ids: np.ndarray
    clusters: np.ndarray
    outcome: Outcome
    scores: np.ndarray
    points: np.ndarray | None = None


@dataclass(slots=True, eq=False)
class Asked:
    """The predictions of one question in one arm, and how they came about.

    Attributes:
        question: A label set of the task, or `gaze`.
        arm: How the features were read.
        probe: Name of the probe, with the arm's unless it is the declared one.
        plan: Rows fitted and predicted, and how strengths were chosen.
        predictions: Of every baseline (declared arm only), then of every block and side.
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
        block: Where the variants are read, the declared block; None for none of them.
        curve: Whether to predict with every strength.
        refits: How often to draw the training clusters anew, at most `probes.selection.REFITS`.
        best_block: Whether to add the arm `best-block`.
        device: Where the probes are fitted.
    """

    block: int | None = None
    curve: bool = False
    refits: int = 0
    best_block: bool = False
    device: str = "cpu"


NO_EXTRAS = Extras()


def declared_arm(spec: TaskSpec) -> Arm:
    """The confirmatory arm of a task, which has no name."""
    return Arm("", spec.regions, spec.balanced)


def arm_of(probe: str) -> str:
    """The arm in the name of a probe: `image` of `logistic-l2/image`; empty for the declared."""
    return probe.partition("/")[2]


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
        seed: Decides folds, by question.
        extras: What to read beside.

    Returns:
        What was asked, by question in the order of the arms, and last the arm `best-block`, if it was
        asked for, of each question that was read at several blocks; and why a question could not be
        asked, by question and name of the arm.

    Raises:
        DataError: If no question can be asked, or features that are asked are not finite.
    """
    prepared: list[ClassQuestion | GazeQuestion] = []
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
        _read(table, regions, list(members), blocks, extras)
    chosen = [_at_best_blocks(one) for one in asked if extras.best_block and not one.arm.name]
    return asked + [one for one in chosen if one is not None], refused


def _read(
    table: Table,
    regions: tuple[str, ...],
    members: Sequence[tuple["ClassQuestion | GazeQuestion", Asked]],
    blocks: Mapping[Arm, Sequence[int]],
    extras: Extras,
) -> None:
    """Put questions about the same regions to every block and side."""
    for block in sorted({block for one, _ in members for block in blocks[one.arm]}):
        for side in SIDES:
            x = table.pooled(side, block, regions)
            features = Features(x, extras.device)
            finite = np.isfinite(x).all(axis=1)
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


def _check_finite(
    table: Table, one: "ClassQuestion | GazeQuestion", finite: Bool[np.ndarray, " n"], where: str
) -> None:
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


def prepare_question(
    table: Table, question: str, arm: Arm, seed: int
) -> "ClassQuestion | GazeQuestion":
    """A question with its plan.

    Args:
        table: From `probes.table.open_table`.
        question: A label set of the task, or `gaze`.
        arm: How the features are read.
        seed: Decides folds, with the question's name.

    Raises:
        DataError: If its rows cannot answer it: too few rows, clusters or classes.
    """
    labels = table.labels.get(question, np.zeros(len(table.ids), dtype=np.int64))
    usable = table.unusable(question, arm.regions) == ""
    plan = make_plan(table.splits, usable, table.clusters, labels, seed=seed, name=question)
    if len(set(table.clusters[plan.predicted])) < 2:
        raise DataError(
            f"Question {question}: expected test rows of at least two clusters, which are drawn "
            f"anew for the intervals; found {len(plan.predicted)} rows of one. Use more rows."
        )
    if question not in table.labels:
        return GazeQuestion(table, question, plan, arm)
    for stage in plan.stages:
        for rows in (stage.train, *(fit for fit, _ in stage.trials)):
            if len(seen := np.unique(labels[rows])) < 2:
                raise DataError(
                    f"Question {question}: a probe needs at least two classes to fit, found "
                    f"{len(seen)} in {len(rows)} rows. Use more rows, or leave this question out."
                )
    return ClassQuestion(table, question, plan, arm)


class ClassQuestion:
    """A label set, read by multinomial logistic regression."""

    probe = CLASS_PROBE

    def __init__(self, table: Table, name: str, plan: Plan, arm: Arm) -> None:
        self.table, self.name, self.plan, self.arm = table, name, plan, arm
        self.labels = table.labels[name]
        self.n_classes = len(table.spec.label_sets[name])

    def problem(self, features: Features) -> Problem:
        """The question put to some features."""
        return ClassProblem(features, self.labels, self.n_classes, self.arm.balanced)

    def prior(self, train: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " c"]:
        """Class shares of the training rows, without weights; the largest is the majority's."""
        return np.bincount(self.labels[train], minlength=self.n_classes) / len(train)

    def references(self) -> Iterator[tuple[str, Problem]]:
        """Baselines that are fitted, by the same solver."""
        if self.table.boxes:
            yield "boxes", self.problem(Features(box_features(self.table.boxes)))
        for region in ("pixels", "histogram"):
            x = self.table.reference(region)
            if x is not None:
                yield region, self.problem(Features(x))

    def prediction(
        self, block: int, probe: str, side: PredictionSide, scores: Float64[np.ndarray, "k c"]
    ) -> Prediction:
        """The scores of the predicted rows with their labels."""
        rows, narrow = self.plan.predicted, scores.astype(np.float32)
        ids, clusters = self.table.ids[rows], self.table.clusters[rows]
        outcome = ClassOutcome(self.labels[rows], narrow)
        return Prediction(self.name, block, probe, side, ids, clusters, outcome, narrow)


class GazeQuestion:
    """The target point, read by a conditional logit over the cells."""

    probe = GAZE_PROBE

    def __init__(self, table: Table, name: str, plan: Plan, arm: Arm) -> None:
        self.table, self.name, self.plan, self.arm = table, name, plan, arm
        self.phi = displacement_basis(table.boxes[table.spec.roles[0]], table.grid)
        self.targets = cell_targets(table.points, table.grid)

    def problem(self, features: Features | None) -> Problem:
        """The question put to some features, or to the head's position alone."""
        return GazeProblem(features, self.phi, self.targets)

    def prior(self, train: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " t"]:
        """Smoothed share of each cell among the training targets."""
        return prior_map(self.targets[train])

    def references(self) -> Iterator[tuple[str, Problem]]:
        """Baselines that are fitted, by the same solver."""
        yield "head-position", self.problem(None)
        x = self.table.reference("pixels")
        if x is not None:
            yield "pixels", self.problem(Features(x))

    def prediction(
        self, block: int, probe: str, side: PredictionSide, scores: Float64[np.ndarray, "k t"]
    ) -> Prediction:
        """The heat of the predicted rows, decoded and measured."""
        rows, narrow = self.plan.predicted, scores.astype(np.float32)
        points = decode(narrow, self.table.grid)
        if probe == "centre":
            points = self._mean_targets()
        annotated, sizes = self.table.points[rows], self.table.sizes[rows]
        outcome = gaze_outcome(narrow, self.table.grid, points, annotated, sizes)
        ids, clusters = self.table.ids[rows], self.table.clusters[rows]
        return Prediction(self.name, block, probe, side, ids, clusters, outcome, narrow, points)

    def human(self) -> list[Prediction]:
        """What one annotator reaches against the others; nothing where no row has two.

        Scores are the targets of all annotators and points their mean, which say where people
        looked; the outcome alone is measured with one annotator left out after another.
        """
        rows = self.plan.predicted
        points = self.table.points[rows]
        if not (np.isfinite(points).all(axis=2).sum(axis=1) > 1).any():
            return []
        outcome = human_outcome(points, self.table.sizes[rows])
        heat, mean = self.targets[rows].astype(np.float32), np.nanmean(points, axis=1)
        ids, clusters = self.table.ids[rows], self.table.clusters[rows]
        return [Prediction(self.name, -1, "human", "none", ids, clusters, outcome, heat, mean)]

    def _mean_targets(self) -> Float64[np.ndarray, "k 2"]:
        """Mean training target, for each predicted row of its stage."""
        points = np.empty((len(self.table.ids), 2))
        for stage in self.plan.stages:
            points[stage.predict] = np.nanmean(self.table.points[stage.train], axis=(0, 1))
        return points[self.plan.predicted]


def _baselines(
    question: ClassQuestion | GazeQuestion,
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
