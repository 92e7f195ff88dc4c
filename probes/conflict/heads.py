"""Heads fitted by the probes, as losses that are differentiable in the features.

A bare encoder has no loss of its own. It gets the one of the linear probe that the measurement
fits: pooled features of the declared block, z-scored, read by the fitted weights; the loss of a row
is its cross-entropy (times its class weight where the task balances classes), for gaze that of the
conditional logit over cells. The penalty belongs to the fit and is no part of the loss. Heads are
converged, so that what pulls at the encoder is what they cannot do with its features, and not a
head that is still learning.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from degradation.axes import Side
from degradation.errors import DataError
from probes.controls import label_donors
from probes.problems import Features, FittedClasses, FittedGaze, balanced_weights
from probes.questions import ClassQuestion, GazeQuestion
from probes.selection import STRENGTHS, Plan, Trials
from probes.statistics.bootstrap import stream
from probes.table import Table

__all__ = [
    "ClassHead",
    "FittedHead",
    "GazeHead",
    "LossHead",
    "Question",
    "fit_head",
    "fitted_rows",
    "pooled_features",
    "swapped_labels",
]

Question = ClassQuestion | GazeQuestion
SHARE = 8
"""Features are held in memory up to one part in so many of the machine's."""


@runtime_checkable
class LossHead(Protocol):
    """Losses of rows of a table, given their features."""

    def losses(
        self, features: Float[Tensor, "b d"], rows: Int64[np.ndarray, " b"]
    ) -> Float64[Tensor, " b"]:
        """In nats, differentiable in the features.

        Args:
            features: Pooled, regions concatenated, as the head was fitted on them.
            rows: Positions in the table, which say what the right answers are.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ClassHead:
    """Multinomial logistic regression on features as they are.

    Attributes:
        weights: Shape (c, d).
        bias: Shape (c,).
        present: Classes that were fitted, shape (c,); the others have probability 0.
        labels: Of all rows of the table, shape (n,).
        importance: Factor of the loss by class, shape (c,); 1 where classes are not balanced.
    """

    weights: Float64[Tensor, "c d"]
    bias: Float64[Tensor, " c"]
    present: Bool[Tensor, " c"]
    labels: Int64[np.ndarray, " n"]
    importance: Float64[Tensor, " c"]

    def losses(
        self, features: Float[Tensor, "b d"], rows: Int64[np.ndarray, " b"]
    ) -> Float64[Tensor, " b"]:
        """See `LossHead`."""
        device = features.device
        logits = features.double() @ self.weights.T.to(device) + self.bias.to(device)
        logits = logits.masked_fill(~self.present.to(device), -torch.inf)
        target = torch.from_numpy(self.labels[rows]).to(device)
        losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        return losses * self.importance.to(device)[target]


@dataclass(frozen=True, slots=True, eq=False)
class GazeHead:
    """The conditional logit of `probes.gaze`.

    Attributes:
        mean: Of the features, shape (d,).
        axes: From centred features to rotated z-scores, shape (d, r).
        cells: u plus the log of the prior, shape (t,).
        readout: (A, a), shape (r + 1, k); the last row is a.
        phi: Displacement basis of all rows of the table, shape (n, t, k).
        targets: Share of each cell, shape (n, t).
    """

    mean: Float64[Tensor, " d"]
    axes: Float64[Tensor, "d r"]
    cells: Float64[Tensor, " t"]
    readout: Float64[Tensor, "q k"]
    phi: Float[np.ndarray, "n t k"]
    targets: Float64[np.ndarray, "n t"]

    def losses(
        self, features: Float[Tensor, "b d"], rows: Int64[np.ndarray, " b"]
    ) -> Float64[Tensor, " b"]:
        """See `LossHead`."""
        device = features.device
        z = (features.double() - self.mean.to(device)) @ self.axes.to(device)
        readout = self.readout.to(device)
        code = z @ readout[:-1] + readout[-1]
        phi = torch.from_numpy(self.phi[rows]).to(device).double()
        logits = torch.einsum("btk,bk->bt", phi, code) + self.cells.to(device)
        wanted = torch.from_numpy(self.targets[rows]).to(device)
        return -(wanted * logits.log_softmax(dim=1)).sum(dim=1)


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A head and how it came about.

    Attributes:
        head: The loss.
        probe: Name of the probe that it is.
        strength: L2 strength of the fit.
        rule: How the strength was chosen.
        fitted: Number of rows fitted.
    """

    head: LossHead
    probe: str
    strength: float
    rule: str
    fitted: int


def fitted_rows(plan: Plan) -> tuple[Int64[np.ndarray, " k"], Trials, str]:
    """Rows that the head is fitted on, the trials that choose its strength, and the rule in words.

    These are the rows and trials of the probe. Without any split the probe fits a model a fold,
    while gradients need one head: it is that of the first fold, which it has not seen.
    """
    return plan.stages[0].train, plan.stages[0].trials, plan.rule


def pooled_features(table: Table, side: Side, block: int, *, gaze: bool, device: str) -> Features:
    """The cached features that the heads of a task are fitted on.

    Args:
        table: Of the task.
        side: Of the pair.
        block: The declared one.
        gaze: Whether gaze is read from them, which needs them in memory.
        device: Where the fits are computed.
    """
    source = table.on_disk(side, block, table.spec.regions)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    held = gaze or 4 * np.prod(source.shape) <= memory / SHARE
    return Features(table.pooled(side, block, table.spec.regions) if held else source, device)


def swapped_labels(question: Question, table: Table, *, seed: int) -> Int64[np.ndarray, " n"]:
    """For each row the row of another cluster whose label it gets.

    Rows that the head is fitted on exchange labels among themselves, and so do all others that can
    be asked.

    Args:
        question: Whose labels.
        table: Of its task.
        seed: Decides the exchange, with the question's name.

    Raises:
        DataError: If there is only one cluster to exchange labels within.
    """
    fitted, _, _ = fitted_rows(question.plan)
    usable = np.nonzero(table.unusable(question.name, question.arm.regions) == "")[0]
    donors = np.arange(len(table.ids))
    for name, rows in (("fitted", fitted), ("others", np.setdiff1d(usable, fitted))):
        if not len(rows):
            continue
        rng = stream(seed, f"swapped/{table.spec.name}/{question.name}/{name}")
        found = label_donors(table.clusters, rows, rng=rng)
        if found is None:
            raise DataError(
                f"{table.spec.name}/{question.name}: expected rows of two clusters to swap labels "
                f"between, found {len(rows)} rows of one. Leave --swapped-labels out."
            )
        donors[rows] = found[rows]
    return donors


def fit_head(
    question: Question,
    features: Features,
    *,
    strength: float | None = None,
    rule: str = "",
    donors: Int64[np.ndarray, " n"] | None = None,
) -> FittedHead:
    """Fit the head of one question, converged.

    Args:
        question: From `probes.questions.prepare_question`.
        features: Of all rows of its table.
        strength: L2 strength; chosen as the probe chooses it if None.
        rule: Where the strength given comes from.
        donors: From `swapped_labels`; each row has the label of its donor.

    Raises:
        DataError: If the features are not finite.
    """
    rows, trials, own_rule = fitted_rows(question.plan)
    problem = question.problem(features, donors)
    if strength is None:
        strength, rule = _chosen(problem.held_out(rows, trials, STRENGTHS)), own_rule
    fitted = problem.fit(rows, [strength])
    gaze = isinstance(fitted, FittedGaze)
    head = _gaze_head(fitted) if gaze else _class_head(fitted, rows)
    return FittedHead(head, question.probe, strength, rule, len(rows))


def _chosen(held_out: Float64[np.ndarray, " s"]) -> float:
    """The strength with the lowest held-out loss; of equals the strongest."""
    losses: Sequence[float] = held_out.tolist()
    return max(STRENGTHS, key=lambda s: (-losses[STRENGTHS.index(s)], s))


def _class_head(fitted: FittedClasses, rows: Int64[np.ndarray, " k"]) -> ClassHead:
    weights, bias = (torch.from_numpy(one[0]) for one in fitted.path.raw())
    labels = fitted.problem.labels
    importance = torch.ones(len(bias), dtype=torch.float64)
    if fitted.problem.balanced:
        importance[labels[rows]] = torch.from_numpy(balanced_weights(labels[rows]))
    return ClassHead(weights, bias, torch.from_numpy(fitted.path.present[0]), labels, importance)


def _gaze_head(fitted: FittedGaze) -> GazeHead:
    path = fitted.path
    prepared = path.prepared
    axes = prepared.scale[:, None] * prepared.axes.double()
    return GazeHead(
        mean=prepared.mean.cpu(),
        axes=axes.cpu(),
        cells=path.cells[0].cpu() + torch.from_numpy(np.log(path.prior)),
        readout=path.readout[0].cpu(),
        phi=fitted.problem.phi,
        targets=fitted.problem.targets,
    )
