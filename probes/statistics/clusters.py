"""Clusters of rows: subjects, pictures or clips, which are drawn, left out and swapped as one."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.sparse import csr_array

from degradation.errors import DataError
from probes.metrics import Metric, Outcome

__all__ = ["Clusters", "finished", "group_rows", "ranked_slots", "row_sums", "slots"]

Key = TypeVar("Key", bound=Hashable)
Slot = tuple[object, int]
"""A way to read an outcome: metrics that read the same outcome in the same way share the work."""


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which cluster each row belongs to.

    Attributes:
        member: Index of the cluster of each row, in the order of their sorted names, shape (n,).
        sizes: Rows of each cluster, shape (g,).
    """

    member: Int64[np.ndarray, " n"]
    sizes: Int64[np.ndarray, " g"]

    @property
    def count(self) -> int:
        """Number of clusters."""
        return len(self.sizes)

    @property
    def shares(self) -> Float64[np.ndarray, " g"]:
        """Share of the rows that each cluster holds."""
        return self.sizes / self.sizes.sum()

    @property
    def effective(self) -> float:
        """How many equal clusters weigh as these do: (sum of sizes)^2 / sum of squared sizes."""
        return float(1 / (self.shares**2).sum())

    def sum(self, rows: np.ndarray | csr_array) -> np.ndarray | csr_array:
        """Sums of row statistics (n, k) by cluster, (g, k), dense or sparse as they came."""
        n = len(self.member)
        return csr_array((np.ones(n), (self.member, np.arange(n))), shape=(self.count, n)) @ rows


def group_rows(clusters: np.ndarray) -> Clusters:
    """The clusters of rows by name, shape (n,).

    Raises:
        DataError: If there are fewer than two.
    """
    named = np.asarray(clusters)
    if named.dtype.kind not in "iu":
        named = named.astype(str)
    _, member, sizes = np.unique(named, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise DataError(
            f"Expected at least two clusters to resample, found {len(sizes)} in {len(member)} "
            "rows. Use more pictures, or give rows the clusters they really belong to."
        )
    return Clusters(member.astype(np.int64), sizes.astype(np.int64))


def slots(outcomes: Mapping[Key, tuple[Metric, Outcome]]) -> dict[Key, Slot]:
    """By key, what its metric reads of its outcome."""
    return {
        key: (metric.rows or metric.ranked, id(outcome))
        for key, (metric, outcome) in outcomes.items()
    }


def row_sums(
    clusters: Clusters, outcomes: Mapping[Key, tuple[Metric, Outcome]]
) -> dict[Slot, np.ndarray | csr_array]:
    """Sums by cluster (g, k) of what each metric that is decided by sums reads, each once."""
    sums = {}
    for key, slot in slots(outcomes).items():
        metric, outcome = outcomes[key]
        if metric.rows is not None and slot not in sums:
            sums[slot] = clusters.sum(metric.rows(outcome))
    return sums


def ranked_slots(outcomes: Mapping[Key, tuple[Metric, Outcome]]) -> dict[Slot, object]:
    """Functions from row weights (b, n) of what each metric that ranks reads, each once."""
    rankings = {}
    for key, slot in slots(outcomes).items():
        metric, outcome = outcomes[key]
        if metric.rows is None and slot not in rankings:
            rankings[slot] = metric.ranked(outcome)
    return rankings


def finished(
    outcomes: Mapping[Key, tuple[Metric, Outcome]], read: Mapping[Slot, Float[np.ndarray, "b k"]]
) -> Iterator[tuple[Key, Float64[np.ndarray, " b"]]]:
    """The value of each metric from what was read for it."""
    for key, slot in slots(outcomes).items():
        if slot in read:
            yield key, outcomes[key][0].finish(read[slot])
