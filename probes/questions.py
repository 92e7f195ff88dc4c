"""One question of a task: the rows it is asked of, what is fitted to answer it, and the answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from degradation.errors import DataError
from degradation.tasks.task import Arm, TaskSpec
from probes.gaze import cell_targets, decode, displacement_basis, prior_map
from probes.gaze_metrics import gaze_outcome, human_outcome
from probes.metrics import ClassOutcome, Outcome
from probes.problems import ClassProblem, Features, GazeProblem
from probes.selection import Plan, Problem, make_plan
from probes.table import Table, box_features

__all__ = [
    "CLASS_PROBE",
    "GAZE_PROBE",
    "ClassQuestion",
    "GazeQuestion",
    "Prediction",
    "arm_of",
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
        clusters: What belongs together in an interval, shape (k,): clusters of the table, or for
            shuffled labels the shuffle behind each row.
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


def declared_arm(spec: TaskSpec) -> Arm:
    """The confirmatory arm of a task, which has no name."""
    return Arm("", spec.regions, spec.balanced)


def arm_of(probe: str) -> str:
    """The arm in the name of a probe: `image` of `logistic-l2/image`; empty for the declared."""
    return probe.partition("/")[2]


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

    def problem(self, features: Features, donors: Int64[np.ndarray, " n"] | None = None) -> Problem:
        """The question put to some features; with donors, each row has the label of its donor."""
        labels = self.labels if donors is None else self.labels[donors]
        return ClassProblem(features, labels, self.n_classes, self.arm.balanced)

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

    def problem(
        self, features: Features | None, donors: Int64[np.ndarray, " n"] | None = None
    ) -> Problem:
        """The question put to some features, or to the head's position alone.

        With donors, each row has the target of its donor, as it is: not moved with the head.
        """
        targets = self.targets if donors is None else self.targets[donors]
        return GazeProblem(features, self.phi, targets)

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
