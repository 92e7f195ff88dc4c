"""Choosing the L2 strength without looking at what is predicted.

The rows of all splits lie in one table; a stage says which of them choose the strength, which are
then fitted and which are predicted. With a validation split the strength with the lowest validation
loss is refitted on train and validation together. Without one, k folds of the training clusters
choose it. With no split at all, every row is predicted from a fit on the other folds, and each such
fit chooses its own strength by folds inside its own training rows. Stages depend on clusters,
labels and the seed only, so both sides of a pair get the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, Int64

from degradation.errors import DataError
from probes.solver.logistic import Certificate
from probes.statistics.bootstrap import stream

__all__ = ["STRENGTHS", "Fitted", "Plan", "Problem", "Readout", "Stage", "make_plan", "read_out"]

STRENGTHS = tuple(float(s) for s in np.logspace(-5, 1, 9))
"""Nine strengths from 1e-5 to 10, evenly spaced in the logarithm."""
WEAK = 1e-3
"""Strengths below this are tried only when the data ask for them."""
FOLDS = 5

Rows = Int64[np.ndarray, " _"]
"""Positions in the table."""


@runtime_checkable
class Fitted(Protocol):
    """A model at b strengths."""

    certificate: Certificate

    def losses(self, rows: Rows) -> Float64[np.ndarray, "b k"]:
        """Loss of each row; NaN where the loss says nothing about the strength."""
        ...

    def scores(self, rows: Rows) -> Float64[np.ndarray, "b k c"]:
        """Probabilities of classes or cells."""
        ...


@runtime_checkable
class Problem(Protocol):
    """Something that can be fitted on any of its rows."""

    def fit(self, rows: Rows, strengths: Sequence[float], *, final: bool) -> Fitted:
        """Fits at all strengths; `final` asks for full precision, else enough to choose by."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Rows that choose a strength, are fitted, and are predicted.

    Attributes:
        trials: Pairs (fitted, held out); the losses of all held-out rows are added.
        train: Rows of the final fit.
        predict: Rows predicted.
    """

    trials: tuple[tuple[Rows, Rows], ...]
    train: Rows
    predict: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Stages that together predict each test row once, and the rule in words."""

    stages: tuple[Stage, ...]
    rule: str

    @property
    def predicted(self) -> Rows:
        """All rows predicted, in table order."""
        return np.sort(np.concatenate([stage.predict for stage in self.stages]))


@dataclass(frozen=True, slots=True, eq=False)
class Readout:
    """What a plan yields on one problem.

    Attributes:
        scores: Of `plan.predicted`, in that order, shape (k, c).
        strength: The chosen one; the lower median over stages where there are several.
        gap: Largest certified distance of a final fit from its optimum, in objective.
    """

    scores: Float64[np.ndarray, "k c"]
    strength: float
    gap: float


def read_out(problem: Problem, plan: Plan, strengths: Sequence[float] = STRENGTHS) -> Readout:
    """Choose, refit and predict, stage by stage."""
    chosen, scores, gaps = [], [], []
    for stage in plan.stages:
        strength = _choose(problem, stage, sorted(strengths))
        fitted = problem.fit(stage.train, [strength], final=True)
        scores.append(fitted.scores(stage.predict)[0])
        gaps.append(float(fitted.certificate.gap[0]))
        chosen.append(strength)
    order = np.argsort(np.concatenate([stage.predict for stage in plan.stages]))
    median = sorted(chosen)[(len(chosen) - 1) // 2]
    return Readout(np.concatenate(scores)[order], median, max(gaps))


def _choose(problem: Problem, stage: Stage, strengths: list[float]) -> float:
    """The strength with the lowest held-out loss; of equals the strongest.

    Strengths below `WEAK` cost most and are seldom best: they are tried only if the weakest of the
    others is the best of those.
    """
    weak = [s for s in strengths if s < WEAK]
    tried = strengths[len(weak) :]
    total = _held_out_losses(problem, stage, tried) if tried else np.empty(0)
    if weak and (not tried or total.argmin() == 0):
        tried, total = strengths, np.append(_held_out_losses(problem, stage, weak), total)
    return tried[len(total) - 1 - int(total[::-1].argmin())]


def _held_out_losses(
    problem: Problem, stage: Stage, strengths: list[float]
) -> Float64[np.ndarray, " b"]:
    """Loss of each strength, added over all held-out rows."""
    total = np.zeros(len(strengths))
    for fit, held in stage.trials:
        total += np.nansum(problem.fit(fit, strengths, final=False).losses(held), axis=1)
    return total


def make_plan(
    splits: np.ndarray,
    usable: Bool[np.ndarray, " n"],
    clusters: np.ndarray,
    labels: Int64[np.ndarray, " n"],
    *,
    seed: int,
    name: str,
) -> Plan:
    """The stages for a table of rows.

    Args:
        splits: Split of each row, shape (n,): `train`, `test` and perhaps `val`; or `all`.
        usable: Rows that take part, shape (n,).
        clusters: Never divided between folds, shape (n,).
        labels: Class of each row, which folds keep in proportion; any constant where there is none.
        seed: Of the run.
        name: Of the question; with the seed it decides the folds.

    Raises:
        DataError: If a split has no usable rows, the splits are others, or there are too few
            clusters for two folds.
    """

    def of(split: str) -> Rows:
        return np.nonzero(usable & (splits == split))[0]

    def folds(rows: Rows, label: str) -> list[tuple[Rows, Rows]]:
        fold = clustered_folds(
            clusters[rows], labels[rows], FOLDS, rng=stream(seed, f"folds/{name}/{label}")
        )
        return [(rows[fold != k], rows[fold == k]) for k in range(fold.max() + 1)]

    present = {str(split) for split in np.unique(splits)}
    if present == {"all"}:
        outer = folds(of("all"), "outer")
        stages = [Stage(tuple(folds(fit, f"inner{k}")), fit, held)
                  for k, (fit, held) in enumerate(outer)]  # fmt: skip
        return Plan(tuple(stages), f"nested clustered {len(outer)}-fold, log-loss")
    if not {"train", "test"} <= present or present - {"train", "val", "test"}:
        raise DataError(
            f"Expected the splits train, test and perhaps val, or all; found {sorted(present)}. "
            "Extract the missing split."
        )
    train, val, test = of("train"), of("val"), of("test")
    for split, rows in (("train", train), ("test", test)):
        if not len(rows):
            raise DataError(f"Question {name}: no row of the {split} split can be used.")
    if len(val):
        stage = Stage(((train, val),), np.concatenate([train, val]), test)
        return Plan((stage,), "validation split, log-loss")
    trials = folds(train, "train")
    return Plan((Stage(tuple(trials), train, test),), f"clustered {len(trials)}-fold, log-loss")


def clustered_folds(
    clusters: np.ndarray, labels: Int64[np.ndarray, " n"], k: int, *, rng: np.random.Generator
) -> Int64[np.ndarray, " n"]:
    """Fold of each row, from 0: no cluster is divided, sizes and class shares are kept alike.

    Clusters, shuffled and then taken from the largest, go one by one to the fold that so far has
    the least of their classes (each class weighted by one over its squared size) and of all rows.
    With fewer than k clusters there are as many folds as clusters.

    Raises:
        DataError: If there are fewer than two clusters.
    """
    names, member = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    if len(names) < 2:
        raise DataError(
            f"Expected at least two clusters to make folds, found {len(names)} in {len(member)} "
            "rows. Use more pictures, or give rows the clusters they really belong to."
        )
    seen, column = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(names), len(seen) + 1))
    np.add.at(counts, (member, column), 1)
    counts[:, -1] = counts.sum(axis=1)
    weight = 1 / counts.sum(axis=0) ** 2
    k = min(k, len(names))
    load, fold = np.zeros((k, counts.shape[1])), np.zeros(len(names), dtype=np.int64)
    shuffled = rng.permutation(len(names))
    for cluster in shuffled[np.argsort(-counts[shuffled, -1], kind="stable")]:
        fold[cluster] = np.argmin(load @ (weight * counts[cluster]))
        load[fold[cluster]] += counts[cluster]
    return fold[member]
