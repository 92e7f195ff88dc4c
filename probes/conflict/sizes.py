"""How the raw number depends on the size of a batch, and the corrected one does not.

The gradient of a larger batch is the mean of those of consecutive smaller ones, so their products
follow from the sketches and no further pass is needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from probes.conflict.estimates import Estimate, estimate
from probes.conflict.leaves import ALL, Leaf
from probes.conflict.products import Products

__all__ = ["SizeEstimate", "by_size", "merged"]


@dataclass(frozen=True, slots=True)
class SizeEstimate:
    """Two tasks against each other at one size of batch, on all parameters.

    Attributes:
        first: Name of a task.
        second: Of another.
        merged: How many of the batches measured make one.
        batches: How many of these there are; a rest is left out.
        raw: As in `PairEstimate`.
        floor: As in `PairEstimate`.
        cosine: Of the expected gradients; it should not depend on the size. None below floor.
    """

    first: str
    second: str
    merged: int
    batches: int
    raw: float
    floor: float
    cosine: Estimate | None


def by_size(products: Products) -> Iterator[SizeEstimate]:
    """All pairs of tasks with 1, 2, 4, 8 ... batches made one, while there are at least two.

    The first comes from the products themselves, the others from their sketches.
    """
    size = 1
    while products.batches // size >= 2:
        own = products if size == 1 else merged(products, size)
        for pair in estimate(own, seed=0, draws=0).pairs:
            if pair.part == ALL:
                yield SizeEstimate(
                    pair.first, pair.second, size, own.batches, pair.raw, pair.floor, pair.cosine
                )
        size *= 2


def merged(products: Products, size: int) -> Products:
    """Sketched products on all parameters, as if every `size` consecutive batches had been one."""
    tasks, count = len(products.tasks), products.batches // size
    used = products.gram.sum(axis=0, dtype=np.float64)[:, : count * size, :, : count * size]
    gram = used.reshape(tasks, count, size, tasks, count, size).mean(axis=(2, 5))
    inner = np.einsum("imin->mni", gram)
    m = np.arange(count)
    return replace(
        products,
        leaves=(Leaf(None, ALL),),
        parameters=(sum(products.parameters),),
        cells=(sum(products.cells),),
        total=np.einsum("imjn->ij", gram)[None],
        same=np.einsum("imjm->mij", gram)[None],
        following=inner[m[:-1], m[1:]][None],
        gram=gram[None].astype(np.float32),
        losses=products.losses[: count * size].reshape(count, size, tasks).mean(axis=1),
        exact=False,
    )
