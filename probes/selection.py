"""Choosing the L2 strength without looking at what is predicted.

The rows of all splits lie in one table; a stage says which of them choose the strength, which are
then fitted and which are predicted. With a validation split the strength with the lowest validation
loss is refitted on train and validation together. Without one, k folds of the training clusters
choose it. With no split at all, every row is predicted from a fit on the other folds, and each such
fit chooses its own strength by folds inside its own training rows. Stages depend on clusters,
labels and the seed only, so both sides of a pair get the same.

Two checks go with a reading where they are asked for. The *tuning curve* predicts with every
strength in place of the chosen one: a difference whose sign depends on the strength says more about
tuning than about the encoder. *Refits* draw the training clusters anew, with replacement, at the
chosen strength: how much the difference would move with other training rows.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from degradation.errors import DataError
from probes.solver.logistic import Certificate
from probes.statistics.bootstrap import stream

__all__ = [
    "REFITS",
    "STRENGTHS",
    "Counts",
    "Fitted",
    "Plan",
    "Problem",
    "Readout",
    "Stage",
    "Trials",
    "clustered_folds",
    "make_plan",
    "read_out",
]

STRENGTHS = tuple(float(s) for s in np.logspace(-5, 1, 10))
"""Ten strengths from 1e-5 to 10, evenly spaced in the logarithm."""
FOLDS = 5
REFITS = 20
"""Draws of the training clusters that a plan holds."""

Rows = Int64[np.ndarray, " _"]
"""Positions in the table."""
Trials = Sequence[tuple[Rows, Rows]]
"""Pairs (fitted, held out)."""
Counts = Float[np.ndarray, "g _"]
"""How often each group holds each row."""


@runtime_checkable
class Fitted(Protocol):
    """A model of b problems: the strengths, on each group of rows in turn."""

    certificate: Certificate

    def scores(self, rows: Rows) -> Float64[np.ndarray, "b k c"]:
        """Probabilities of classes or cells."""
        ...


@runtime_checkable
class Problem(Protocol):
    """Something that can be fitted on any of its rows."""

    def held_out(
        self, rows: Rows, trials: Trials, strengths: Sequence[float]
    ) -> Float64[np.ndarray, " b"]:
        """Loss of each strength added over the held-out rows of all trials.

        Args:
            rows: All rows of the trials.
            trials: Each is fitted, to a precision enough to choose by, and judged by itself.
            strengths: L2 strengths.
        """
        ...

    def fit(self, rows: Rows, strengths: Sequence[float], counts: Counts | None = None) -> Fitted:
        """Fits at all strengths in full precision, on each group of counts (once each if None)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Rows that choose a strength, are fitted, and are predicted.

    Attributes:
        trials: Pairs (fitted, held out); the losses of all held-out rows are added.
        train: Rows of the final fit, those of the trials among them.
        predict: Rows predicted.
        draws: How often each refit takes each of `train`, whole clusters at a time; None where
            no refits are to be asked for.
    """

    trials: tuple[tuple[Rows, Rows], ...]
    train: Rows
    predict: Rows
    draws: Counts | None = None


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
    """What a plan yields on one problem; scores are of `plan.predicted`, in that order.

    Attributes:
        scores: Shape (k, c).
        strength: The chosen one; the lower median over stages where there are several.
        loss: Held-out loss at the chosen strengths, added over stages and trials.
        gap: Largest gap in the certificates of the final fits.
        curve: With each strength in place of the chosen one; empty unless asked for.
        refits: With the training clusters drawn anew; empty unless asked for.
    """

    scores: Float64[np.ndarray, "k c"]
    strength: float
    loss: float
    gap: float
    curve: Mapping[float, Float64[np.ndarray, "k c"]]
    refits: tuple[Float64[np.ndarray, "k c"], ...]


def read_out(
    problem: Problem,
    plan: Plan,
    strengths: Sequence[float] = STRENGTHS,
    *,
    curve: bool = False,
    refits: int = 0,
) -> Readout:
    """Choose, refit and predict, stage by stage.

    Args:
        problem: What is fitted.
        plan: On which rows.
        strengths: To choose among.
        curve: Whether to predict with every strength as well.
        refits: How many of the plan's draws to refit on.
    """
    grid = sorted(strengths)
    chosen, gaps, loss = [], [], 0.0
    parts: dict[float | int | None, list[np.ndarray]] = defaultdict(list)
    for stage in plan.stages:
        held_out = problem.held_out(stage.train, stage.trials, grid)
        best = len(grid) - 1 - int(held_out[::-1].argmin())  # of equals the strongest
        fitted = problem.fit(stage.train, [grid[best]])
        parts[None].append(fitted.scores(stage.predict)[0])
        gaps.append(float(fitted.certificate.gap[0]))
        chosen.append(grid[best])
        loss += float(held_out[best])
        if curve:
            for s, one in zip(
                grid, problem.fit(stage.train, grid).scores(stage.predict), strict=True
            ):
                parts[s].append(one)
        if refits:
            drawn = problem.fit(stage.train, [grid[best]], stage.draws[:refits])
            for k, one in enumerate(drawn.scores(stage.predict)):
                parts[k].append(one)
    order = np.argsort(np.concatenate([stage.predict for stage in plan.stages]))
    scores = {key: np.concatenate(part)[order] for key, part in parts.items()}
    return Readout(
        scores=scores[None],
        strength=sorted(chosen)[(len(chosen) - 1) // 2],
        loss=loss,
        gap=max(gaps),
        curve={s: scores[s] for s in grid if curve},
        refits=tuple(scores[k] for k in range(refits)),
    )


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

    def stage(trials: Trials, train: Rows, predict: Rows, label: str) -> Stage:
        rng = stream(seed, f"refits/{name}/{label}")
        draws = _draw_clusters(clusters[train], labels[train], REFITS, rng=rng)
        return Stage(tuple(trials), train, predict, draws)

    present = {str(split) for split in np.unique(splits)}
    if present == {"all"}:
        outer = folds(of("all"), "outer")
        stages = [
            stage(folds(fit, f"inner{k}"), fit, held, f"{k}") for k, (fit, held) in enumerate(outer)
        ]
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
        both = np.sort(np.concatenate([train, val]))
        one = stage([(train, val)], both, test, "train+val")
        return Plan((one,), "validation split, log-loss")
    trials = folds(train, "train")
    one = stage(trials, train, test, "train")
    return Plan((one,), f"clustered {len(trials)}-fold, log-loss")


def _draw_clusters(
    clusters: np.ndarray, labels: Int64[np.ndarray, " n"], g: int, *, rng: np.random.Generator
) -> Counts:
    """Bootstrap draws of whole clusters: how often each of g draws takes each row, shape (g, n).

    A draw whose rows are of a single class, though there are several, is drawn again, since nothing
    can be fitted on it.
    """
    names, member = np.unique(np.asarray(clusters).astype(str), return_inverse=True)
    several = len(np.unique(labels)) > 1
    counts = np.zeros((g, len(member)), dtype=np.float32)
    for draw in range(g):
        while not counts[draw].any() or (several and len(np.unique(labels[counts[draw] > 0])) < 2):
            picks = rng.integers(0, len(names), len(names))
            counts[draw] = np.bincount(picks, minlength=len(names))[member]
    return counts


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
