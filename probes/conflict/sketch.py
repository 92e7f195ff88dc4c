"""Seeded sketches of gradients: short vectors with nearly the same inner products.

A count-sketch (Charikar, Chen & Farach-Colton 2002): entry p of a gradient is added, with a random
sign, to cell p mod k. Over the signs the inner product of two sketches is unbiased, with variance

    sum over cells c of  sum over p < q in c  of (x_p y_q + x_q y_p)^2,

about (|x|^2 |y|^2 + <x, y>^2) / k where the cells hold about equal shares of the squared lengths.
They do because k is a prime: the cells of one row or one column of a weight matrix all differ, so
that a channel which dominates a gradient is spread over all of them. With a k that divides the
width it would fall into one cell, and the sketch would be worthless.

Signs are drawn once and kept as one byte each; a sketch costs one pass over gradient and signs.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int8
from torch import Tensor

from probes.statistics.bootstrap import stream

__all__ = ["CELLS", "FEWEST", "cells_for", "draw_signs", "fold", "prime_from"]

CELLS = 65_536
"""Cells over all leaves: an error of about 0.4 % of the product of lengths for the whole."""
FEWEST = 1024
"""Cells of a leaf at least: an error of about 3 %."""


def cells_for(sizes: Sequence[int], k: int = CELLS) -> tuple[int, ...]:
    """Cells of each leaf: shared out by size, primes, at least 1,024; a small leaf is kept whole.

    Args:
        sizes: Parameters of each leaf.
        k: Cells to share out. Their sum is somewhat larger, since each leaf rounds up.
    """
    total = sum(sizes)
    shares = [prime_from(max(FEWEST, math.ceil(k * size / total))) for size in sizes]
    return tuple(min(size, share) for size, share in zip(sizes, shares, strict=True))


def prime_from(low: int) -> int:
    """The smallest prime that is at least `low`.

    Example:
        >>> prime_from(1024)
        1031
    """
    number = max(2, low)
    while any(number % factor == 0 for factor in range(2, math.isqrt(number) + 1)):
        number += 1
    return number


def draw_signs(size: int, *, seed: int, name: str) -> Int8[Tensor, " p"]:
    """Signs of one leaf, +1 or -1, on the CPU: the same on every device and for every run.

    Args:
        size: Parameters of the leaf.
        seed: Of the measurement.
        name: Of the leaf; every leaf has signs of its own.
    """
    rng = stream(seed, f"sketch/{name}")
    bits = np.unpackbits(np.frombuffer(rng.bytes(-(-size // 8)), dtype=np.uint8), count=size)
    return torch.from_numpy(bits.view(np.int8)).mul_(2).sub_(1)


def fold(x: Float32[Tensor, " n"], signs: Int8[Tensor, " n"], into: Float32[Tensor, " k"]) -> None:
    """Add a run of a gradient, which starts at a multiple of k, to the cells of its sketch.

    Args:
        x: Overwritten: multiplied by the signs, so that no second copy is needed.
        signs: Of the same entries.
        into: The sketch so far.
    """
    k = len(into)
    x.mul_(signs)
    whole = len(x) // k * k
    if whole:
        into += x[:whole].view(-1, k).sum(dim=0)
    into[: len(x) - whole] += x[whole:]
