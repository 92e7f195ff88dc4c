"""Measures that compare every row with every other: kernel CKA and mutual nearest neighbours.

They hold a few n x n matrices, so they see a seeded subset of the rows where there are many.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float64, Int64

from degradation.errors import DataError
from probes.drift.cka import cka_of_kernels, distances, rbf_kernel, u_centred
from probes.drift.neighbours import Nearest, nearest, overlaps
from probes.drift.sides import Key, Sides, Values

__all__ = ["RowSpace"]

Part = TypeVar("Part")


@dataclass(frozen=True, slots=True, eq=False)
class RowSpace:
    """Kernels and neighbours of both sides, from which rows can be left out.

    Attributes:
        n: Number of rows.
        kernels: RBF kernels, each of shape (n, n); the reason where there are none. The bandwidth
            is that of all rows also where some are left out.
        near: Neighbours on both sides; the reason where there are none.
        k: Neighbours of a row.
    """

    n: int
    kernels: tuple[Float64[np.ndarray, "n n"], Float64[np.ndarray, "n n"]] | str
    near: tuple[Nearest, Nearest] | str
    k: int

    @classmethod
    def of(cls, sides: Sides, *, k: int, bandwidth: float, spare: int) -> "RowSpace":
        """Kernels and neighbours of some rows.

        Args:
            sides: The rows.
            k: Neighbours of a row.
            bandwidth: Of the RBF kernel, over the median distance.
            spare: Most rows that will be left out at a time.
        """
        return cls(
            n=len(sides.x),
            kernels=_both(sides, lambda x: rbf_kernel(distances(x), bandwidth=bandwidth)),
            near=_both(sides, lambda x: nearest(x, k=k, spare=spare)),
            k=k,
        )

    def values(self, keep: Bool[np.ndarray, " n"]) -> Values:
        """Values among the rows kept."""
        values = Values({}, {})
        if isinstance(self.kernels, str):
            values.missing[Key("kernel_cka")] = self.kernels
        else:
            kernels = [u_centred(one[np.ix_(keep, keep)]) for one in self.kernels]
            values.add([Key("kernel_cka")], lambda: [cka_of_kernels(*kernels)])
        if isinstance(self.near, str):
            values.missing[Key("mutual_knn")] = self.near
        else:
            members = [one.members(keep, self.k) for one in self.near]
            values.found[Key("mutual_knn")] = float(overlaps(*members, self.n).mean())
        return values

    def shuffled(self, order: Int64[np.ndarray, " n"]) -> dict[Key, float]:
        """Values when row i of pre is set beside row `order[i]` of post; none that are missing."""
        values = Values({}, {})
        if not isinstance(self.kernels, str):
            first, second = (u_centred(one) for one in self.kernels)
            moved = second[np.ix_(order, order)]
            values.add([Key("kernel_cka")], lambda: [cka_of_kernels(first, moved)])
        if not isinstance(self.near, str):
            every = np.ones(self.n, dtype=bool)
            first, second = (one.members(every, self.k) for one in self.near)
            place = np.argsort(order)  # where each row of post now stands
            second = np.sort(place[second // self.n] * self.n + place[second % self.n])
            values.found[Key("mutual_knn")] = float(overlaps(first, second, self.n).mean())
        return values.found


def _both(
    sides: Sides, make: Callable[[Float64[np.ndarray, "n d"]], Part]
) -> tuple[Part, Part] | str:
    """What is made of each side, once where they are identical; the reason if it cannot be."""
    try:
        first = make(sides.x)
        return first, first if sides.identical else make(sides.y)
    except DataError as error:
        return str(error)
