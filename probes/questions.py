"""One question of a task asked of every block and side, and of what needs no encoder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from degradation.axes import SIDES, Side
from probes.gaze import cell_of, cell_targets, decode, displacement_basis, prior_map
from probes.metrics import ClassOutcome, Outcome, gaze_outcome
from probes.problems import ClassProblem, Features, GazeProblem
from probes.selection import Plan, Problem, Readout, make_plan, read_out
from probes.table import Table, box_features

__all__ = ["CLASS_PROBE", "GAZE_PROBE", "Asked", "Prediction", "ask"]

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
    """The predictions of one question, baselines included, and how they came about.

    Attributes:
        rule: How strengths were chosen.
        predictions: Of every baseline, then of every block and side.
        readouts: By block and side.
    """

    rule: str
    predictions: list[Prediction] = field(default_factory=list)
    readouts: dict[tuple[int, Side], Readout] = field(default_factory=dict)


def ask(
    table: Table, questions: Sequence[str], blocks: Sequence[int], *, seed: int
) -> dict[str, Asked]:
    """Ask the questions of all blocks and both sides, with one procedure.

    Features are read once per block and side; questions about the same rows share their z-scores
    and eigenbasis.

    Args:
        table: From `probes.table.open_table`.
        questions: Label sets of the task, or `gaze`.
        blocks: Blocks to probe.
        seed: Decides folds, by question.

    Returns:
        By question.

    Raises:
        DataError: If a question has too few rows, clusters or classes.
    """
    prepared = [
        (_ClassQuestion if name in table.labels else _GazeQuestion)(
            table, name, _plan(table, name, seed)
        )
        for name in questions
    ]
    asked = {one.name: Asked(one.plan.rule) for one in prepared}
    for one in prepared:
        asked[one.name].predictions += [
            one.prediction(-1, name, "none", scores) for name, scores in _baselines(one)
        ]
    for block in blocks:
        for side in SIDES:
            features = Features(table.pooled(side, block))
            for one in prepared:
                readout = read_out(one.problem(features), one.plan)
                asked[one.name].readouts[block, side] = readout
                asked[one.name].predictions.append(
                    one.prediction(block, one.probe, side, readout.scores)
                )
    return asked


def _plan(table: Table, question: str, seed: int) -> Plan:
    labels = table.labels.get(question, np.zeros(len(table.ids), dtype=np.int64))
    usable = table.unusable(question) == ""
    return make_plan(table.splits, usable, table.clusters, labels, seed=seed, name=question)


class _ClassQuestion:
    """A label set, read by multinomial logistic regression."""

    probe = CLASS_PROBE

    def __init__(self, table: Table, name: str, plan: Plan) -> None:
        self.table, self.name, self.plan = table, name, plan
        self.labels = table.labels[name]
        self.n_classes = len(table.spec.label_sets[name])

    def problem(self, features: Features) -> Problem:
        """The question put to some features."""
        return ClassProblem(features, self.labels, self.n_classes)

    def prior(self, train: Int64[np.ndarray, " m"]) -> Float64[np.ndarray, " c"]:
        """Class shares of the training rows."""
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


class _GazeQuestion:
    """The target point, read by a conditional logit over the cells."""

    probe = GAZE_PROBE

    def __init__(self, table: Table, name: str, plan: Plan) -> None:
        self.table, self.name, self.plan = table, name, plan
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
        annotated = self.table.points[rows]
        outcome = gaze_outcome(narrow, points, annotated, cell_of(annotated, self.table.grid))
        ids, clusters = self.table.ids[rows], self.table.clusters[rows]
        return Prediction(self.name, block, probe, side, ids, clusters, outcome, narrow, points)

    def _mean_targets(self) -> Float64[np.ndarray, "k 2"]:
        """Mean training target, for each predicted row of its stage."""
        points = np.empty((len(self.table.ids), 2))
        for stage in self.plan.stages:
            points[stage.predict] = np.nanmean(self.table.points[stage.train], axis=(0, 1))
        return points[self.plan.predicted]


def _baselines(
    question: _ClassQuestion | _GazeQuestion,
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
