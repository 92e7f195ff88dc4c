"""From inner products to what is said of each pair of tasks, on each part of the model.

Side by side stand the raw gradient conflict degree GCD = 1 - cos, which noise pulls to 1 whatever
the truth; its floor, what a task scores against itself; and the cosine of the expected gradients,
from products of different batches only. The value comes from exact products where there are any,
its interval from those of the sketch, since it needs the products of all batches.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.stats import norm

from probes.conflict.leaves import Part, membership, parts_of
from probes.conflict.null import SwapNull, swap_null
from probes.conflict.products import Products
from probes.conflict.unbiased import (
    FEWEST,
    LEVEL,
    Covariances,
    covariances,
    cross_mean,
    fieller,
    kernels,
    slot_table,
    t_quantile,
)
from probes.statistics.bootstrap import stream

__all__ = [
    "DRAWS", "Estimate", "Estimates", "PairEstimate", "TaskEstimate", "Word", "bounded", "cosines",
    "estimate", "pair_slots", "part_grams", "wilson", "word_of",
]  # fmt: skip

DRAWS = 2000
"""Label swaps."""
Z = float(norm.ppf((1 + LEVEL) / 2))

Word = Literal["conflict", "aligned", "unclear", "below floor"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; an end is None where there is none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class TaskEstimate:
    """The gradients of one task on one part.

    Attributes:
        part: Name of the part.
        task: Name of the task.
        norm: Root mean square norm of the gradient of a batch, noise included.
        signal: Norm of the expected gradient; None below floor.
        floor: 1 - cosine between consecutive batches of the task, averaged.
    """

    part: str
    task: str
    norm: float
    signal: Estimate | None
    floor: float


@dataclass(frozen=True, slots=True)
class PairEstimate:
    """Two tasks against each other on one part.

    Attributes:
        part: Name of the part.
        first: Name of a task.
        second: Of another.
        raw: 1 - cosine of the gradients of two batches, averaged over batches. A gradient of zero
            counts as orthogonal to everything, here and in all that follows.
        raw_of_means: 1 - cosine of the gradients averaged over all batches, noise still included.
        floor: The floors of both tasks, averaged.
        cosine: Of the expected gradients, never clipped; None below floor.
        below_floor: Tasks whose own product of different batches is not positive.
        norm_ratio: Of the expected gradients, first over second; None below floor.
        in_conflict: Share of batches with a cosine below 0, with Wilson's interval.
        null_low: 2.5 % quantile of the cosine under the label-swap null; None if undefined in
            more than 5 % of the draws.
        null_high: 97.5 % quantile.
        p: How often tasks differ as much with labels swapped, if their expected gradients point
            the same way; None below floor.
        word: `conflict` if the interval of 1 - cosine lies above 1, `aligned` if below, else
            `unclear`; `below floor` where there is no cosine.
    """

    part: str
    first: str
    second: str
    raw: float
    raw_of_means: float
    floor: float
    cosine: Estimate | None
    below_floor: tuple[str, ...]
    norm_ratio: Estimate | None
    in_conflict: Estimate
    null_low: float | None
    null_high: float | None
    p: float | None
    word: Word


@dataclass(frozen=True, slots=True)
class Estimates:
    """All numbers of one measurement.

    Attributes:
        parts: In the order of everything below, the whole first.
        tasks: By part, then task.
        pairs: By part, then pair of tasks.
    """

    parts: tuple[Part, ...]
    tasks: tuple[TaskEstimate, ...]
    pairs: tuple[PairEstimate, ...]


@dataclass(frozen=True, slots=True)
class _Numbers:
    """U-statistics of a measurement, by part.

    Attributes:
        pairs: Positions of the two tasks of each pair.
        cross: U, products of expected gradients.
        spread: Covariances of all U; None with fewer than four batches.
        nulls: Of each part; empty if there are no draws.
    """

    pairs: Int64[np.ndarray, "pairs 2"]
    cross: Float64[np.ndarray, "parts T T"]
    spread: Covariances | None
    nulls: tuple[SwapNull, ...]


def estimate(products: Products, *, seed: int, draws: int = DRAWS) -> Estimates:
    """Everything that the products say, for the whole, every block, kind and leaf.

    Args:
        products: Of one side.
        seed: Of the label swaps.
        draws: Number of label swaps; with 0 there is no null.
    """
    parts = parts_of(products.leaves)
    member = membership(parts, len(products.leaves))
    rng = stream(seed, "conflict/label swap")
    numbers = _numbers(products, parts, draws=draws, rng=rng)
    total = np.einsum("pg,gij->pij", member, products.total)
    same = np.einsum("pg,gmij->pmij", member, products.same)
    following = np.einsum("pg,gmi->pmi", member, products.following)
    squares = np.diagonal(same, axis1=2, axis2=3)
    floors = 1 - cosines(following, squares[:, :-1], squares[:, 1:]).mean(axis=1)
    return Estimates(
        parts,
        tuple(_task_estimates(products, parts, squares, floors, numbers)),
        tuple(_pair_estimates(products, parts, total, same, floors, numbers)),
    )


def cosines(
    product: Float[np.ndarray, "*shape"],
    first: Float[np.ndarray, "*shape"],
    second: Float[np.ndarray, "*shape"],
) -> Float[np.ndarray, "*shape"]:
    """Cosines from products and squared norms; 0 where a norm is 0."""
    size = np.sqrt(np.maximum(first, 0)) * np.sqrt(np.maximum(second, 0))
    return np.divide(product, size, out=np.zeros_like(product), where=size > 0)


def part_grams(
    products: Products, parts: tuple[Part, ...]
) -> Iterator[Float64[np.ndarray, "T M T M"]]:
    """The sketched products of all batch gradients, part by part."""
    for part in parts:
        yield products.gram[list(part.members)].sum(axis=0, dtype=np.float64)


def pair_slots(pairs: Int64[np.ndarray, "pairs 2"], tasks: int) -> Int64[np.ndarray, "pairs 3"]:
    """Where U_ij, U_ii and U_jj of each pair stand among the kernels."""
    table, (i, j) = slot_table(tasks), pairs.T
    return np.stack([table[i, j], table[i, i], table[j, j]], axis=1)


def _numbers(
    products: Products, parts: tuple[Part, ...], *, draws: int, rng: np.random.Generator
) -> _Numbers:
    """U of every part, its covariances, and the null."""
    pairs = np.array(list(combinations(range(len(products.tasks)), 2)), dtype=np.int64)
    member = membership(parts, len(products.leaves))
    cross = np.einsum("pg,gij->pij", member, cross_mean(products.total, products.same))
    spreads, nulls = [], []
    for gram in part_grams(products, parts):
        if products.batches >= FEWEST:
            spreads.append(covariances(kernels(gram)))
        if draws:
            nulls.append(swap_null(gram, pairs, draws=draws, rng=rng))
    spread = None
    if spreads:
        unbiased, least = (
            [getattr(one, name) for one in spreads] for name in ("unbiased", "least")
        )
        spread = Covariances(np.stack(unbiased), np.stack(least))
    return _Numbers(pairs, cross, spread, tuple(nulls))


def _task_estimates(
    products: Products,
    parts: tuple[Part, ...],
    squares: Float64[np.ndarray, "parts M T"],
    floors: Float64[np.ndarray, "parts T"],
    numbers: _Numbers,
) -> Iterator[TaskEstimate]:
    """Norms and floors."""
    norms, square = np.sqrt(squares.mean(axis=1)), np.diagonal(numbers.cross, axis1=1, axis2=2)
    half = np.full(square.shape, np.nan)
    if numbers.spread is not None:
        own = np.diag(slot_table(len(products.tasks)))
        forms = (numbers.spread.unbiased[:, own, own], numbers.spread.least[:, own, own])
        half = t_quantile(products.batches) * np.sqrt(np.maximum(*forms))
    ends = np.sqrt(np.maximum(0, square - half)), np.sqrt(np.maximum(0, square + half))
    for p, part in enumerate(parts):
        for t, task in enumerate(products.tasks):
            signal = None
            if square[p, t] > 0:
                signal = bounded(np.sqrt(square[p, t]), ends[0][p, t], ends[1][p, t])
            yield TaskEstimate(part.name, task, float(norms[p, t]), signal, float(floors[p, t]))


def _pair_estimates(
    products: Products,
    parts: tuple[Part, ...],
    total: Float64[np.ndarray, "parts T T"],
    same: Float64[np.ndarray, "parts M T T"],
    floors: Float64[np.ndarray, "parts T"],
    numbers: _Numbers,
) -> Iterator[PairEstimate]:
    """Everything about two tasks."""
    i, j = numbers.pairs.T
    each = cosines(same[:, :, i, j], same[:, :, i, i], same[:, :, j, j])
    means = cosines(total[:, i, j], total[:, i, i], total[:, j, j])
    ratios = _ratios(numbers, products.batches)
    for p, part in enumerate(parts):
        for row, (first, second) in enumerate(numbers.pairs):
            cosine = bounded(*(float(x[p, row]) for x in ratios["cosine"]))
            weak = tuple(
                products.tasks[t] for t in (first, second) if not numbers.cross[p, t, t] > 0
            )
            null = numbers.nulls[p] if numbers.nulls else None
            yield PairEstimate(
                part=part.name,
                first=products.tasks[first],
                second=products.tasks[second],
                raw=float(1 - each[p, :, row].mean()),
                raw_of_means=float(1 - means[p, row]),
                floor=float((floors[p, first] + floors[p, second]) / 2),
                cosine=None if weak else cosine,
                below_floor=weak,
                norm_ratio=None
                if weak
                else bounded(*(float(x[p, row]) for x in ratios["norm ratio"])),
                in_conflict=wilson(int((each[p, :, row] < 0).sum()), products.batches),
                null_low=_known(null.low[row]) if null else None,
                null_high=_known(null.high[row]) if null else None,
                p=_known(null.p[row]) if null and not weak else None,
                word=word_of(None if weak else cosine),
            )


def _ratios(
    numbers: _Numbers, batches: int
) -> Mapping[str, tuple[Float64[np.ndarray, "parts pairs"], ...]]:
    """Value, low and high of corrected cosine and norm ratio; NaN below floor."""
    i, j = numbers.pairs.T
    n, a, b = numbers.cross[:, i, j], numbers.cross[:, i, i], numbers.cross[:, j, j]
    known = (a > 0) & (b > 0)
    a, b = np.where(known, a, 1.0), np.where(known, b, 1.0)
    v = np.sqrt(a * b)
    cosine, ratio = np.where(known, n / v, np.nan), np.where(known, np.sqrt(a / b), np.nan)
    nothing = np.full_like(cosine, np.nan)
    if numbers.spread is None:
        return {"cosine": (cosine, nothing, nothing), "norm ratio": (ratio, nothing, nothing)}
    zero = np.zeros_like(v)
    spread = numbers.spread.of(pair_slots(numbers.pairs, numbers.cross.shape[-1]))
    ends = fieller(
        n, v, spread, np.stack([zero, v / (2 * a), v / (2 * b)], axis=-1), batches=batches
    )
    logarithm = spread.variance(np.stack([zero, 1 / (2 * a), -1 / (2 * b)], axis=-1))
    factor = np.exp(np.minimum(t_quantile(batches) * np.sqrt(logarithm), 700))
    return {
        "cosine": (cosine, ends.low, ends.high),
        "norm ratio": (ratio, ratio / factor, ratio * factor),
    }


def word_of(cosine: Estimate | None) -> Word:
    """The verdict on one corrected cosine."""
    if cosine is None:
        return "below floor"
    if cosine.high is not None and cosine.high < 0:
        return "conflict"
    if cosine.low is not None and cosine.low > 0:
        return "aligned"
    return "unclear"


def wilson(hits: int, tries: int) -> Estimate:
    """A share with Wilson's (1927) interval.

    Example:
        >>> wilson(0, 10).high
        0.2775327998628892
    """
    z2 = Z**2
    share = hits / tries
    middle = (share + z2 / (2 * tries)) / (1 + z2 / tries)
    half = np.sqrt(z2 * share * (1 - share) / tries + z2**2 / (4 * tries**2)) / (1 + z2 / tries)
    return Estimate(share, float(max(0.0, middle - half)), float(min(1.0, middle + half)))


def bounded(value: float, low: float, high: float) -> Estimate:
    """A number whose ends are None where they are not finite."""
    return Estimate(float(value), _known(low), _known(high))


def _known(value: float) -> float | None:
    """A finite number, or None."""
    return float(value) if np.isfinite(value) else None
