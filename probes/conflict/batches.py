"""Batches for the gradients of several questions, which share no cluster unless they must.

Clusters (subjects, pictures, clips) are dealt to as many groups as there are batches, and batch m
of every question is drawn from group m. So two batches of different number never share a cluster,
whichever questions they belong to, and the noise of their gradients is independent: that is what
the noise-corrected cosine rests on. Two questions may well be asked of the same pictures, within a
task or, as in PISC, across tasks; such pictures then lie in batches of the same number.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from degradation.errors import DataError
from probes.selection import clustered_folds
from probes.statistics.bootstrap import stream

__all__ = ["Candidates", "Dealt", "deal"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The rows of one question that may be in its batches.

    Attributes:
        label: `task/question`.
        task: Questions of the same task number their rows alike.
        rows: Positions, ascending, shape (k,).
        clusters: Of these rows, shape (k,); a name means the same cluster in all tasks.
    """

    label: str
    task: str
    rows: Int64[np.ndarray, " k"]
    clusters: np.ndarray

    def possible(self, batch_size: int) -> int:
        """Most batches that this question alone allows."""
        return min(len(self.rows) // batch_size, len(set(self.clusters)))


@dataclass(frozen=True, slots=True, eq=False)
class Dealt:
    """The batches of all questions.

    Attributes:
        rows: By label, the rows of each batch, shape (m, b); no row twice in a batch.
        scarce: The question that allowed the fewest batches.
    """

    rows: Mapping[str, Int64[np.ndarray, "m b"]]
    scarce: str

    @property
    def batches(self) -> int:
        """Number of batches of each question."""
        return len(self.rows[self.scarce])


def deal(candidates: Sequence[Candidates], *, batches: int, batch_size: int, seed: int) -> Dealt:
    """Draw batches for all questions.

    Questions of one task take different rows where a group has enough of them.

    Args:
        candidates: One for each question.
        batches: How many are wanted; there are fewer where the clusters or rows of a question do
            not suffice, then for all questions.
        batch_size: Rows in each.
        seed: Decides groups and draws.

    Raises:
        DataError: If a question has fewer clusters or rows than two batches need.

    Example:
        >>> rows = np.arange(8)
        >>> one = Candidates("a/b", "a", rows, np.array(list("ppqqrrss")))
        >>> deal([one], batches=9, batch_size=2, seed=0).batches
        4
    """
    for one in candidates:
        if one.possible(batch_size) < 2:
            raise _too_few(one, batch_size)
    scarce = min(candidates, key=lambda one: one.possible(batch_size))
    count = min(batches, scarce.possible(batch_size))
    clusters = np.concatenate([one.clusters for one in candidates]).astype(str)
    number = np.repeat(np.arange(len(candidates)), [len(one.rows) for one in candidates])
    while count > 1:
        rng = stream(seed, f"batches/{count}")
        group = clustered_folds(clusters, number, count, rng=rng)
        short = _shortest(candidates, group, number, count, batch_size)
        if short is None:
            return Dealt(_drawn(candidates, group, number, count, batch_size, seed), scarce.label)
        scarce, count = short, count - 1
    raise _too_few(scarce, batch_size)


def _too_few(one: Candidates, batch_size: int) -> DataError:
    clusters = len(set(one.clusters))
    return DataError(
        f"{one.label}: expected rows for two batches of {batch_size} that share no cluster, found "
        f"{len(one.rows)} rows in {clusters} cluster{'s' * (clusters != 1)}. Give a smaller "
        "--batch-size, use more rows, or leave this task out."
    )


def _shortest(
    candidates: Sequence[Candidates],
    group: Int64[np.ndarray, " n"],
    number: Int64[np.ndarray, " n"],
    count: int,
    batch_size: int,
) -> Candidates | None:
    """The question with the fewest rows in some group, if these do not make a batch."""
    fewest = [
        np.bincount(group[number == k], minlength=count).min() for k in range(len(candidates))
    ]
    least = int(np.argmin(fewest))
    return candidates[least] if fewest[least] < batch_size else None


def _drawn(
    candidates: Sequence[Candidates],
    group: Int64[np.ndarray, " n"],
    number: Int64[np.ndarray, " n"],
    count: int,
    batch_size: int,
    seed: int,
) -> dict[str, Int64[np.ndarray, "m b"]]:
    """Rows of each batch, without replacement.

    All questions of a task see its rows in one random order; each begins a batch further on.
    """
    order = {
        task: stream(seed, f"rows/{task}").permutation(
            1 + max(int(one.rows.max()) for one in candidates if one.task == task)
        )
        for task in dict.fromkeys(one.task for one in candidates)
    }
    seen: Counter[str] = Counter()
    drawn = {}
    for k, one in enumerate(candidates):
        own = group[number == k]
        batches = np.empty((count, batch_size), dtype=np.int64)
        for m in range(count):
            inside = one.rows[own == m]
            shuffled = inside[np.argsort(order[one.task][inside])]
            batches[m] = np.roll(shuffled, -seen[one.task] * batch_size)[:batch_size]
        drawn[one.label] = batches
        seen[one.task] += 1
    return drawn
