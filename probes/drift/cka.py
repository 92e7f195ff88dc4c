"""Unbiased centred kernel alignment: linear from sums over rows, and with an RBF kernel.

HSIC_1 of Song et al. (Feature Selection via Dependence Maximization, JMLR 2012, equation 5) is, for
kernels K and L of n rows with their diagonals set to zero,

    [tr K L + (1'K1)(1'L1) / ((n-1)(n-2)) - 2 / (n-2) 1'K L 1] / (n (n-3)),

an unbiased estimate for independent rows. CKA is HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with it
(Nguyen et al., Do Wide and Deep Networks Learn the Same Things?, ICLR 2021). HSIC_1 is an inner
product of the U-centred kernels (Szekely and Rizzo 2014), so CKA lies in [-1, 1]. The usual, biased
CKA of independent Gaussians of 512 rows and width 1,024 is 0.67; this one is 0.

For linear kernels of centred rows K1 = 0, so with the diagonal gone K1 = -p, p = |x|^2, and the
three terms become feature-space sums:

    [ |X'Y|^2 - n / (n-2) sum pq + (sum p)(sum q) / ((n-1)(n-2)) ] / (n (n-3)).

Nothing of size n x n is needed: one pass, O(n d^2) time, O(d^2) memory.
"""

from math import sqrt

import numpy as np
from jaxtyping import Float, Float64

from degradation.errors import DataError
from probes.drift.sums import FLAT, CrossSums, PairSums, chunks_of, finite_rows, stream_sums

__all__ = [
    "BANDWIDTH",
    "aligned",
    "cka_of_kernels",
    "cka_of_sums",
    "distances",
    "kernel_cka",
    "linear_cka",
    "rbf_kernel",
    "u_centred",
]

FEWEST = 4
"""HSIC_1 divides by n - 3."""
BANDWIDTH = 0.8
"""Bandwidth of the RBF kernel over the median distance: the widest of those that Kornblith et al.
(Similarity of Neural Network Representations Revisited, ICML 2019) used. In many dimensions all
distances are close to the median, and a narrow kernel would see no neighbours at all."""
ROUNDING = 1e-13
"""HSIC of a side with itself below this share of its terms is none."""


def linear_cka(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"]) -> float:
    """Unbiased linear CKA of the same n rows on two sides.

    Args:
        x: Features, shape (n, d), any float type.
        y: Features of the same rows, shape (n, e).

    Raises:
        DataError: If there are fewer than 4 rows, a feature is not finite, or any two rows of a
            side are equally alike: all rows equal, or all but one, or all at right angles.

    Example:
        >>> x = np.arange(10.0).reshape(5, 2) ** 2
        >>> round(linear_cka(x, 3 - 2 * x[:, ::-1]), 9)
        1.0
    """
    return cka_of_sums(stream_sums(chunks_of(x, y)))


def cka_of_sums(sums: PairSums) -> float:
    """Unbiased linear CKA from the sums of a pair; errors as `linear_cka`."""
    return aligned(_hsic_of_sums(sums.xy), *(_own_hsic(one) for one in (sums.xx, sums.yy)))


def _hsic_of_sums(sums: CrossSums) -> float:
    """HSIC_1 of linear kernels.

    Raises:
        DataError: If there are fewer than 4 rows.
    """
    check_rows(sums.n)
    n, (p, q) = sums.n, sums.centred_norms
    square = float(np.square(sums.centred).sum())
    rest = p * q / ((n - 1) * (n - 2)) - sums.centred_norm_product * n / (n - 2)
    return (square + rest) / (n * (n - 3))


def _own_hsic(sums: CrossSums) -> float:
    """HSIC_1 of a side with itself; 0 where it is rounding."""
    found, n = _hsic_of_sums(sums), sums.n
    spread = sums.centred_norms[0]
    # No term is larger than the square of the spread, so its rounding is what may be left.
    tiny = sums.flat or found * n * (n - 3) <= ROUNDING * spread * spread
    return 0.0 if tiny else found


def aligned(cross: float, first: float, second: float) -> float:
    """CKA from the three HSIC, cut to [-1, 1] against rounding.

    Raises:
        DataError: If a side has no HSIC with itself.
    """
    if first <= 0 or second <= 0:
        raise DataError(FLAT.format(but=" or all but one, or any two rows equally alike"))
    return float(np.clip(cross / sqrt(first * second), -1.0, 1.0))


def check_rows(n: int) -> None:
    """Refuse fewer rows than HSIC_1 needs.

    Raises:
        DataError: There are fewer.
    """
    if n < FEWEST:
        raise DataError(
            f"Expected at least {FEWEST} rows for unbiased CKA, found {n}. Use more rows."
        )


def kernel_cka(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n e"],
    *,
    bandwidth: float = BANDWIDTH,
) -> float:
    """Unbiased CKA with RBF kernels exp(-|a - b|^2 / (2 s^2)), n x n in memory.

    Args:
        x: Features, shape (n, d).
        y: Features of the same rows, shape (n, e).
        bandwidth: s as a fraction of the median distance between different rows of each side.

    Raises:
        DataError: As `linear_cka`, or if more than half of the pairs of rows are equal.
    """
    check_rows(len(x))
    first = second = rbf_kernel(distances(x), bandwidth=bandwidth)
    if not np.array_equal(x, y):
        second = rbf_kernel(distances(y), bandwidth=bandwidth)
    return cka_of_kernels(u_centred(first), u_centred(second))


def cka_of_kernels(first: Float64[np.ndarray, "n n"], second: Float64[np.ndarray, "n n"]) -> float:
    """CKA of U-centred RBF kernels; errors as `kernel_cka`."""
    own = [float(np.vdot(kernel, kernel)) for kernel in (first, second)]
    # Entries of the kernels were at most 1, so what rounding leaves of equal ones is known.
    floor = (len(first) * 1e-14) ** 2
    return aligned(float(np.vdot(first, second)), *(0.0 if one <= floor else one for one in own))


def distances(x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n n"]:
    """Euclidean distances between rows, shape (n, n), in units of about their largest entry."""
    rows = finite_rows(x)
    rows = rows / (np.abs(rows).max(initial=0.0) or 1.0)
    rows = rows - rows.mean(axis=0)
    norms = np.einsum("nd,nd->n", rows, rows)
    squares = norms[:, None] + norms - 2 * rows @ rows.T
    # Rounding leaves equal rows a little apart; below this share of the lengths it is all there is.
    squares[squares <= 1e-13 * (norms[:, None] + norms)] = 0.0
    np.fill_diagonal(squares, 0.0)
    return np.sqrt(squares)


def rbf_kernel(
    distance: Float64[np.ndarray, "n n"], *, bandwidth: float
) -> Float64[np.ndarray, "n n"]:
    """RBF kernel whose bandwidth is a fraction of the median distance of different rows.

    Raises:
        DataError: If that median is zero.
    """
    median = float(np.median(distance[np.triu_indices(len(distance), 1)]))
    if median == 0:
        raise DataError(
            "Expected features that differ between rows, found more than half of the pairs of rows "
            "equal, so that a kernel has no bandwidth. Use other rows or another block."
        )
    return np.exp(-0.5 * (distance / (bandwidth * median)) ** 2)


def u_centred(kernel: Float64[np.ndarray, "n n"]) -> Float64[np.ndarray, "n n"]:
    """The kernel without diagonal whose rows sum to zero: products of two sum to n (n-3) HSIC_1."""
    n = len(kernel)
    hollow = kernel - np.diag(np.diag(kernel))
    rows = hollow.sum(axis=1) / (n - 2)
    centred = hollow - rows[:, None] - rows + rows.sum() / (n - 1)
    np.fill_diagonal(centred, 0.0)
    return centred
