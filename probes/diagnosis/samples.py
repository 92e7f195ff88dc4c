"""Sample efficiency: what the linear probe reads after seeing only some of the training clusters.

Portions are nested: the clusters are put in a random order, and a portion is its beginning. Both
sides get the same portions. With a validation split the strength of every portion is chosen there,
so that a portion says how many rows the weights are fitted on; without one it is chosen by
clustered folds inside the portion, as `probes.selection` does with all rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from probes.problems import ClassProblem, GazeProblem
from probes.selection import FOLDS, STRENGTHS, Plan, Stage, clustered_folds
from probes.statistics.bootstrap import stream

__all__ = [
    "PORTIONS",
    "Part",
    "Portion",
    "class_shares",
    "nested_portions",
    "portion_scores",
    "portions_of",
]

PORTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Shares of the training clusters."""

Rows = Int64[np.ndarray, " _"]


def nested_portions(
    clusters: np.ndarray, rows: Rows, shares: Sequence[float], *, rng: np.random.Generator
) -> list[Rows]:
    """Rows of the first clusters of a random order, for each share of them.

    Args:
        clusters: Of all rows of the table, shape (n,).
        rows: Those that are divided.
        shares: In (0, 1], ascending; each is rounded to whole clusters, at least one.
        rng: The order.

    Returns:
        Rows in table order; every portion holds the one before.
    """
    names, member = np.unique(clusters[rows].astype(str), return_inverse=True)
    place = np.empty(len(names), dtype=np.int64)
    place[rng.permutation(len(names))] = np.arange(len(names))
    counts = [max(1, round(share * len(names))) for share in shares]
    return [rows[place[member] < count] for count in counts]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """What a portion is to one stage of a plan.

    Attributes:
        trials: Pairs (fitted, held out) that choose the strength.
        rows: The rows fitted.
        predict: The rows predicted.
    """

    trials: tuple[tuple[Rows, Rows], ...]
    rows: Rows
    predict: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """One subset of the training clusters.

    Attributes:
        share: Of the training clusters.
        subset: Number of the random order, from 0.
        parts: One a stage.
    """

    share: float
    subset: int
    parts: tuple[Part, ...]

    @property
    def rows(self) -> float:
        """Rows fitted, a mean over stages."""
        return float(np.mean([len(part.rows) for part in self.parts]))


def portions_of(
    plan: Plan,
    clusters: np.ndarray,
    labels: Int64[np.ndarray, " n"],
    *,
    subsets: int,
    seed: int,
    name: str,
    shares: Sequence[float] = PORTIONS,
) -> list[Portion]:
    """The portions of a plan, smallest first; the whole comes once.

    A share that comes to as many clusters as the one before, or to fewer than two, is left out.

    Args:
        plan: Of the question.
        clusters: Of all rows, shape (n,).
        labels: Of all rows, shape (n,); any constant where there is none.
        subsets: Random orders.
        seed: Of the run.
        name: Of the question; with the seed it decides the orders.
        shares: Of the clusters, ascending.
    """
    total = min(len(set(clusters[_base(stage)])) for stage in plan.stages)
    kept: dict[int, float] = {}
    for share in shares:
        kept.setdefault(max(1, round(share * total)), share)
    wanted = [share for count, share in kept.items() if count > 1]
    found: dict[tuple[float, int], list[Part]] = {}
    for place, stage in enumerate(plan.stages):
        for subset in range(subsets):
            rng = stream(seed, f"portions/{name}/{place}/{subset}")
            parts = nested_portions(clusters, _base(stage), wanted, rng=rng)
            for share, rows in zip(wanted, parts, strict=True):
                if share < 1 or subset == 0:
                    trials = _trials(stage, rows, clusters, labels, rng)
                    found.setdefault((share, subset), []).append(Part(trials, rows, stage.predict))
    ordered = sorted(found.items(), key=lambda one: one[0])
    return [Portion(share, subset, tuple(parts)) for (share, subset), parts in ordered]


def _base(stage: Stage) -> Rows:
    """The rows that are divided: those of the training split, or of a stage without validation."""
    return stage.trials[0][0] if len(stage.trials) == 1 else stage.train


def _trials(
    stage: Stage,
    rows: Rows,
    clusters: np.ndarray,
    labels: Int64[np.ndarray, " n"],
    rng: np.random.Generator,
) -> tuple[tuple[Rows, Rows], ...]:
    """What chooses the strength of a portion."""
    if len(stage.trials) == 1:
        return ((rows, stage.trials[0][1]),)
    fold = clustered_folds(clusters[rows], labels[rows], FOLDS, rng=rng)
    return tuple((rows[fold != k], rows[fold == k]) for k in range(fold.max() + 1))


def portion_scores(
    problem: ClassProblem | GazeProblem, portion: Portion
) -> Float64[np.ndarray, "k c"]:
    """Scores of the predicted rows, in table order, by the probe of a portion.

    Folds that would be fitted on one class choose nothing; where none is left, the strongest
    strength is taken. A portion that holds one class only predicts by its class shares.
    """
    scores = np.concatenate([_part_scores(problem, part) for part in portion.parts])
    return scores[np.argsort(np.concatenate([part.predict for part in portion.parts]))]


def _part_scores(problem: ClassProblem | GazeProblem, part: Part) -> Float64[np.ndarray, "k c"]:
    """Scores of the rows of one stage, in its order."""
    if not _several(problem, part.rows):
        return np.tile(class_shares(problem, part.rows), (len(part.predict), 1))
    trials = [trial for trial in part.trials if _several(problem, trial[0])]
    strength = max(STRENGTHS)
    if trials:
        rows = np.unique(np.concatenate([rows for trial in trials for rows in trial]))
        losses = problem.held_out(rows, trials, sorted(STRENGTHS))
        strength = sorted(STRENGTHS)[len(losses) - 1 - int(losses[::-1].argmin())]
    return problem.fit(part.rows, [strength]).scores(part.predict)[0]


def _several(problem: ClassProblem | GazeProblem, rows: Rows) -> bool:
    """Whether a probe can be fitted: of classes there must be two."""
    return isinstance(problem, GazeProblem) or len(np.unique(problem.labels[rows])) > 1


def class_shares(problem: ClassProblem, rows: Rows) -> Float64[np.ndarray, " c"]:
    """Class shares of rows with one row more of each class."""
    counts = np.bincount(problem.labels[rows], minlength=problem.n_classes) + 1.0
    return counts / counts.sum()
