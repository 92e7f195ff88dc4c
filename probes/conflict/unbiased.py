"""Products of expected gradients without the noise of a batch, and how exact they are.

With g_{i,m} of task i on batch m, expected gradient mu_i, and batches of different numbers
independent of one another,

    U_ij = sum over m != n of <g_{i,m}, g_{j,n}> / (M (M - 1))

is an unbiased estimate of <mu_i, mu_j>, also of |mu_i|^2, since no gradient meets its own noise.
Batches of the same number are left out for i != j too: tasks may share pictures there.

U_ij is a U-statistic of degree two. The jackknife that leaves out one batch number of all tasks at
a time counts the part of its variance that belongs to pairs of batches twice, and with heavy noise
that part is all there is. It is taken off again (Efron & Stein 1981): with the kernel centred,
r_m its row sums and q its squares summed, an unbiased estimate of the variance is
(4 sum r_m^2 - 2 q) / (M (M - 1) (M - 2) (M - 3)). It is itself noisy, and low where the cosine
comes out high, so at least three quarters of the jackknife count: the jackknife is at most twice
too large, and with this compromise intervals cover (docs/gradient-conflict.md).

The cosine is a ratio N / V with N = U_ij and V = sqrt(U_ii U_jj), and V may be poorly known. Its
interval is Fieller's (1954): all c for which N - c V could be zero, by Student's t with M - 1
degrees of freedom. It has no end on a side where V may be next to nothing.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import t as student

__all__ = [
    "FEWEST", "LEVEL", "Covariances", "Ends", "covariances", "cross_mean", "fieller", "kernels",
    "slot_table", "t_quantile",
]  # fmt: skip

LEVEL = 0.95
FEWEST = 4
"""Fewer batches than this give no interval."""
SHARE = 0.75
"""Of the jackknife's variance that an interval keeps at least."""


@dataclass(frozen=True, slots=True)
class Covariances:
    """Covariances of several U-statistics, in two estimates of which the larger variance holds.

    Attributes:
        unbiased: The jackknife less what it counts twice, shape (..., s, s).
        least: Three quarters of the jackknife.
    """

    unbiased: Float64[np.ndarray, "*parts s s"]
    least: Float64[np.ndarray, "*parts s s"]

    def of(self, slots: Int64[np.ndarray, "pairs few"]) -> "Covariances":
        """Those of a few statistics of each pair."""
        rows, columns = slots[:, :, None], slots[:, None, :]
        return Covariances(self.unbiased[..., rows, columns], self.least[..., rows, columns])

    def variance(self, weights: Float64[np.ndarray, "*parts s"]) -> Float64[np.ndarray, "*parts"]:
        """Variance of a sum of the statistics with these weights."""
        forms = [
            np.einsum("...s,...st,...t->...", weights, form, weights)
            for form in (self.unbiased, self.least)
        ]
        return np.maximum(0.0, np.maximum(*forms))


@dataclass(frozen=True, slots=True)
class Ends:
    """Ends of intervals, infinite where there is none; shape (...)."""

    low: Float64[np.ndarray, "*parts"]
    high: Float64[np.ndarray, "*parts"]


def cross_mean(
    total: Float64[np.ndarray, "*parts T T"], same: Float64[np.ndarray, "*parts M T T"]
) -> Float64[np.ndarray, "*parts T T"]:
    """U: mean product of gradients of different batches.

    Args:
        total: Products of the sums over batches.
        same: Products within each batch number.

    Example:
        >>> g = np.array([[1.0, 2.0]])  # one task, one parameter, two batches
        >>> cross_mean(np.array([[9.0]]), (g.T**2)[:, :, None])  # 1 * 2, both ways
        array([[2.]])
    """
    m = same.shape[-3]
    return (total - same.sum(axis=-3)) / (m * (m - 1))


def slot_table(tasks: int) -> Int64[np.ndarray, "T T"]:
    """Where U_ij stands among the T (T + 1) / 2 different ones, in either order of i and j."""
    table = np.zeros((tasks, tasks), dtype=np.int64)
    rows, columns = np.triu_indices(tasks)
    table[rows, columns] = table[columns, rows] = np.arange(len(rows))
    return table


def kernels(gram: Float64[np.ndarray, "T M T M"]) -> Float64[np.ndarray, "s M M"]:
    """Products of gradients of different batches, in the mean of both orders; zero on m = n.

    In the order of `slot_table`.
    """
    rows, columns = np.triu_indices(len(gram))
    both = gram.transpose(0, 2, 1, 3)[rows, columns]
    both = (both + both.swapaxes(-1, -2)) / 2
    m = both.shape[-1]
    both[:, np.arange(m), np.arange(m)] = 0
    return both


def covariances(kernel: Float64[np.ndarray, "*parts s M M"]) -> Covariances:
    """Covariances of the means of s symmetric kernels over pairs of different batches.

    Args:
        kernel: Zero on the diagonal; at least four batches.
    """
    m = kernel.shape[-1]
    mean = kernel.sum(axis=(-1, -2), keepdims=True) / (m * (m - 1))
    centred = np.where(np.eye(m, dtype=bool), 0.0, kernel - mean)
    rows = centred.sum(axis=-1)
    flat = centred.reshape(*centred.shape[:-2], m * m)
    linear = 4 * np.matmul(rows, rows.swapaxes(-1, -2))
    pairs = 2 * np.matmul(flat, flat.swapaxes(-1, -2))
    return Covariances(
        unbiased=(linear - pairs) / (m * (m - 1) * (m - 2) * (m - 3)),
        # (M - 1) / M times the sum of squares of -2 r_m / ((M - 1) (M - 2)) is the jackknife.
        least=SHARE * linear / (m * (m - 1) * (m - 2) ** 2),
    )


@cache
def t_quantile(batches: int) -> float:
    """Upper 2.5 % point of Student's t with one degree of freedom less than batches."""
    return float(student.ppf((1 + LEVEL) / 2, batches - 1))


def fieller(
    numerator: Float64[np.ndarray, "*parts"],
    denominator: Float64[np.ndarray, "*parts"],
    spread: Covariances,
    weights: Float64[np.ndarray, "*parts s"],
    *,
    batches: int,
) -> Ends:
    """Fieller's interval of a ratio whose denominator is known to be positive.

    Args:
        numerator: One of the statistics, the first.
        denominator: A smooth function of them.
        spread: Of the statistics.
        weights: Derivatives of the denominator by each statistic.
        batches: M.
    """
    q2 = t_quantile(batches) ** 2
    ends = [
        _roots(
            denominator**2 - q2 * np.einsum("...s,...st,...t->...", weights, form, weights),
            numerator * denominator - q2 * np.einsum("...t,...t->...", form[..., 0, :], weights),
            numerator**2 - q2 * form[..., 0, 0],
            numerator > 0,
        )
        for form in (spread.unbiased, spread.least)
    ]
    return Ends(
        low=np.minimum(ends[0].low, ends[1].low), high=np.maximum(ends[0].high, ends[1].high)
    )


def _roots(
    a: Float64[np.ndarray, "*parts"],
    b: Float64[np.ndarray, "*parts"],
    c: Float64[np.ndarray, "*parts"],
    positive: Bool[np.ndarray, "*parts"],
) -> Ends:
    """The set where a x^2 - 2 b x + c <= 0, which holds the ratio.

    Where a <= 0 the denominator may be zero. If the numerator may be, too (c <= 0), nothing is
    known; otherwise the ratio has the numerator's sign and lies beyond the root on that side.
    """
    root = np.sqrt(np.maximum(b**2 - a * c, 0))
    safe = np.where(a == 0, 1.0, a)
    first, second = (b - root) / safe, (b + root) / safe
    low, high = np.minimum(first, second), np.maximum(first, second)
    weak = a <= 0
    return Ends(
        low=np.where(weak, np.where((c > 0) & positive, high, -np.inf), low),
        high=np.where(weak, np.where((c > 0) & ~positive, low, np.inf), high),
    )
