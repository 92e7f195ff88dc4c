"""The label-swap null: what would be seen if it did not matter which task is which.

Within each batch number the gradients of two tasks are exchanged or not, by chance, after both
tasks' expected gradients were brought to the same norm. If they point the same way, the data are an
ordinary draw from these. If not, by however little, the exchanged gradients differ less than the
data do.

With p the half sum and q the half difference of the gradients of a batch, and s = +-1 the exchange,
the gradients are p + s q and p - s q, and all products of different batches follow from
P = sum <p_m, p_n>, x = s' Q s with Q = <q_m, q_n>, and s' r with r_m = sum over n of <q_m, p_n>.
The test is by x, the squared length of the expected difference: under the null q has mean zero,
whatever the noise of either task, so flipping its sign changes nothing. The cosine would not do:
gradients of opposite tasks cancel when they are exchanged, and it is undefined in most draws.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

__all__ = ["SwapNull", "swap_null"]


@dataclass(frozen=True, slots=True)
class SwapNull:
    """Of each pair of tasks: quantiles of the corrected cosine, and a test that they are alike.

    Attributes:
        low: 2.5 % quantile; NaN where the cosine is undefined in more than 5 % of the draws, since
            exchanged gradients cancel.
        high: 97.5 % quantile.
        p: (1 + draws in which the tasks differ as much as in the data) / (1 + draws).
    """

    low: Float64[np.ndarray, " pairs"]
    high: Float64[np.ndarray, " pairs"]
    p: Float64[np.ndarray, " pairs"]


def swap_null(
    gram: Float64[np.ndarray, "T M T M"],
    pairs: Int64[np.ndarray, "pairs 2"],
    *,
    draws: int,
    rng: np.random.Generator,
) -> SwapNull:
    """The label-swap null of pairs of tasks; every pair sees the same exchanges.

    Args:
        gram: Products of all batch gradients.
        pairs: Positions of the two tasks of each pair.
        draws: Number of draws.
        rng: Source of the exchanges.
    """
    m = gram.shape[1]
    off = ~np.eye(m, dtype=bool)
    square = np.einsum("imin,mn->i", gram, off) / (m * (m - 1))
    # Below floor there is no expected norm; the norm of a batch then stands in.
    square = np.where(square > 0, square, np.einsum("imim->i", gram) / m)
    length = np.sqrt(np.where(square > 0, square, 1.0))
    gram = gram / (length[:, None, None, None] * length[:, None])
    i, j = pairs.T
    ii, jj, ij, ji = gram[i, :, i], gram[j, :, j], gram[i, :, j], gram[j, :, i]
    r = ((ii - jj + ij - ji) * off).sum(axis=-1) / 4
    upper = np.triu_indices(m, 1)
    half = (ii + jj - ij - ji)[:, *upper] / 2
    constant = ((ii + jj + ij + ji) * off).sum(axis=(-1, -2)) / 4
    signs = np.concatenate([np.ones((1, m)), rng.choice((-1.0, 1.0), size=(draws, m))])
    squares = (signs[:, upper[0]] * signs[:, upper[1]]) @ half.T
    skew = 2 * signs @ r.T
    first, second = constant + squares + skew, constant + squares - skew
    defined = (first > 0) & (second > 0)
    cosine = np.full(squares.shape, np.nan)
    np.divide(
        constant - squares, np.sqrt(np.where(defined, first * second, 1.0)), out=cosine,
        where=defined,
    )  # fmt: skip
    # The data themselves are the first draw, without any exchange.
    as_far = (squares[1:] >= squares[0] - 1e-12 * np.abs(squares[0])).sum(axis=0)
    low, high = _quantiles(cosine[1:])
    return SwapNull(low, high, (1 + as_far) / (1 + draws))


def _quantiles(
    cosine: Float64[np.ndarray, "draws pairs"],
) -> tuple[Float64[np.ndarray, " pairs"], Float64[np.ndarray, " pairs"]]:
    """The 2.5 % and 97.5 % quantiles over the draws, where at least 95 % of them are defined."""
    some = np.isnan(cosine).mean(axis=0) <= 0.05
    low, high = np.full(len(some), np.nan), np.full(len(some), np.nan)
    if some.any():
        low[some], high[some] = np.nanquantile(cosine[:, some], [0.025, 0.975], axis=0)
    return low, high
