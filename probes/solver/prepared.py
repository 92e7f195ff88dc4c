"""Features made ready for a solver: z-scored once, read chunk by chunk, with their eigenbasis.

A probe standardises features on the rows that it fits. Folds and bootstrap draws fit other rows of
the same table, so there are two steps: all rows are z-scored with common statistics, which keeps
float32 passes exact to rounding, and each *group* of row counts has its own mean and scale on top
(`group_moments`), so that what it fits is z-scored by its own rows.

The eigenbasis of the covariance only speeds a solver up. It never changes an optimum, and is
therefore taken from a part of the rows where there are many.

Rows stay in memory as one z-scored copy in their own precision (float16 becomes float32), or, where
they are given as a source that is not an array (an HDF5 data set, a slice of a cache), on disk:
then each pass reads them again and no more than a chunk is held.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from degradation.errors import DataError

__all__ = ["READ_ROWS", "Prepared", "RowSource", "basis_step", "group_moments", "prepare"]

READ_ROWS = 4096
"""Rows held at once while statistics are taken."""
CACHED_ROWS = 512
NARROW = 1e-3
"""Share of its mean square below which the variance of a column in a group is taken again."""
BASIS_ROWS = 8
"""The eigenbasis is taken from at most this many rows a feature (and 4,096 at least)."""


@runtime_checkable
class RowSource(Protocol):
    """Features on disk: an `h5py.Dataset`, a `numpy.memmap`, or anything sliced like them."""

    shape: tuple[int, ...]
    dtype: np.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        """The rows of a slice, shape (m, d)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Features of n rows, z-scored, with the eigenbasis of their covariance.

    Attributes:
        mean: Subtracted from every feature, shape (d,).
        scale: One over the standard deviation (denominator n), shape (d,); 0 for a constant column.
        axes: Orthonormal columns, shape (d, r), r = min(rows used, d).
        spread: Variance of the z-scores along each axis, shape (r,).
        rows: The z-scores, shape (n, d); None where they stay on disk.
        source: Where the rows come from if they stay on disk.
        device: Where passes are computed.
        dtype: What they are computed in.
    """

    mean: Float64[Tensor, " d"]
    scale: Float64[Tensor, " d"]
    axes: Float[Tensor, "d r"]
    spread: Float64[Tensor, " r"]
    rows: Float[Tensor, "n d"] | None
    source: RowSource | None
    device: torch.device
    dtype: torch.dtype

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows) if self.source is None else self.source.shape[0]

    def chunks(self, size: int) -> Iterator[tuple[slice, Float[Tensor, "m d"]]]:
        """The z-scores, some rows at a time."""
        n = len(self)
        for start in range(0, n, size):
            part = slice(start, min(start + size, n))
            if self.rows is not None:
                yield part, self.rows[part]
            else:
                read = _finite(self.source[part], start, self.device)
                yield part, self._z_scores(read)

    def turn(self, x: Float[np.ndarray, "m d"]) -> Float[Tensor, "m d"]:
        """Other rows, z-scored with the same statistics, in the same precision."""
        read = _finite(x, 0, self.device)
        return self._z_scores(read)

    def _z_scores(self, x: Float[Tensor, "m d"]) -> Float[Tensor, "m d"]:
        return _z_scores(x, self.mean, self.scale, self.dtype)


def prepare(
    x: Float[np.ndarray, "n d"] | RowSource, *, device: str | torch.device = "cpu"
) -> Prepared:
    """Z-score features with their own statistics and find their eigenbasis; serves many fits.

    Args:
        x: Features, shape (n, d), any float type and memory order. An array is copied; anything
            else is read again at each pass, so it may be larger than memory.
        device: Where the fits are computed; an array is moved there whole.

    Raises:
        DataError: If there are no rows or features, or one is not finite.
    """
    n, d = x.shape
    if n == 0 or d == 0:
        raise DataError(
            f"Expected features of at least one row and one column to fit on, found {n} x {d}."
        )
    device = torch.device(device)
    dtype = torch.float32 if x.dtype in (np.float16, np.float32) else torch.float64
    mean, scale = _moments(x, device)
    rows = None
    if isinstance(x, np.ndarray):
        rows = torch.empty(n, d, dtype=dtype, device=device)
        for start in range(0, n, READ_ROWS):
            part = slice(start, start + READ_ROWS)
            rows[part] = _z_scores(_tensor(x[part], device), mean, scale, dtype)
    source = x if rows is None else None
    flat = torch.empty(d, 0, dtype=dtype, device=device)
    bare = Prepared(mean, scale, flat, flat[0].double(), rows, source, device, dtype)
    axes, spread = _eigenbasis(bare)
    return Prepared(mean, scale, axes, spread, rows, source, device, dtype)


def _tensor(x: Float[np.ndarray, "m d"], device: torch.device) -> Float[Tensor, "m d"]:
    """A copy (torch aligns it, so that equal values give equal results) on the device."""
    if x.dtype == np.float16:
        wide = x.astype(np.float32)
    else:
        wide = np.array(x, dtype=None if x.dtype == np.float32 else np.float64, order="C")
    return torch.from_numpy(wide).to(device)


def _finite(x: Float[np.ndarray, "m d"], start: int, device: torch.device) -> Float[Tensor, "m d"]:
    """The rows as a tensor, refused where one is not finite; `start` is the first one's number."""
    read = _tensor(x, device)
    # A sum is finite only if all its terms are, and is quicker than a look at each of them.
    if not torch.isfinite(read.sum()):
        bad = torch.nonzero(~torch.isfinite(read).all(dim=1))[:, 0]
        if len(bad):
            raise DataError(
                f"Expected finite features, found NaN or infinity in {len(bad)} rows, first in row "
                f"{start + int(bad[0])} (from 0). Run `sdiag cache verify`, or extract again."
            )
    return read


def _z_scores(
    x: Float[Tensor, "m d"],
    mean: Float64[Tensor, " d"],
    scale: Float64[Tensor, " d"],
    dtype: torch.dtype,
) -> Float[Tensor, "m d"]:
    """Subtract first, multiply then, in the precision of the data.

    The scale goes in two factors where one alone would not fit into float32.
    """
    half = scale.sqrt().to(dtype)
    return x.to(dtype).sub(mean.to(dtype)).mul_(half).mul_(half)


def _moments(
    x: Float[np.ndarray, "n d"] | RowSource, device: torch.device
) -> tuple[Float64[Tensor, " d"], Float64[Tensor, " d"]]:
    """Mean and one over the standard deviation of each column; 0 for a constant one.

    Chunk by chunk, joined by the rule of Chan, Golub and LeVeque (1983), in float64.
    """
    n, d = x.shape
    mean = torch.zeros(d, dtype=torch.float64, device=device)
    square = torch.zeros_like(mean)
    low, high = torch.full_like(mean, torch.inf), torch.full_like(mean, -torch.inf)
    seen = 0
    for start in range(0, n, READ_ROWS):
        # Few rows at a time stay in the processor's cache: several times quicker.
        for read in _finite(x[start : start + READ_ROWS], start, device).split(CACHED_ROWS):
            if read.dtype == torch.float64:
                low, high = torch.minimum(low, read.amin(0)), torch.maximum(high, read.amax(0))
            m, own = len(read), read.mean(0, dtype=torch.float64)
            step = own - mean
            inside = (read - own.to(read.dtype)).square_().sum(0, dtype=torch.float64)
            square += inside + step.square() * (seen * m / (seen + m))
            mean += step * (m / (seen + m))
            seen += m
    deviation = (square / n).sqrt()
    # The mean of equal float32 is exact in float64, that of equal float64 need not be.
    scale = torch.where((low == high) | (deviation == 0), 0.0, 1 / deviation)
    return mean, torch.where(torch.isfinite(scale), scale, 0.0)


def _eigenbasis(prepared: Prepared) -> tuple[Float[Tensor, "d r"], Float64[Tensor, " r"]]:
    """Axes (d, r) and variances (r,) of the z-scores, from evenly spaced rows where many."""
    d = len(prepared.mean)
    step = basis_step(len(prepared), d)
    # Copies: a view would keep its whole chunk in memory.
    z = [part[-rows.start % step :: step].clone() for rows, part in prepared.chunks(READ_ROWS)]
    m = sum(map(len, z))
    if m >= d:
        # Of the accuracy of the data: the axes only steer.
        spread, axes = torch.linalg.eigh(sum(part.T @ part for part in z) / m)
        return axes, spread.double().clamp_min(0)
    # Fewer rows than features: the axes lie in the span of the rows.
    span, triangle = torch.linalg.qr(torch.cat(z).double().T)
    spread, axes = torch.linalg.eigh(triangle @ triangle.T / m)
    return (span @ axes).to(prepared.dtype), spread.clamp_min(0)


def basis_step(n: int, d: int) -> int:
    """Every how many rows one is taken where n rows of d features only steer a solver."""
    return max(1, n // max(READ_ROWS, BASIS_ROWS * d))


def group_moments(
    prepared: Prepared, counts: Float[Tensor, "g n"]
) -> tuple[Float64[Tensor, "g d"], Float64[Tensor, "g d"]]:
    """Mean and one over the standard deviation of the z-scores in each group of rows.

    Args:
        prepared: The rows.
        counts: How often each group holds each row, shape (g, n).

    Returns:
        Mean and scale, each of shape (g, d); the scale of a column that is constant in a group is
        0 there.
    """
    total = counts.double().sum(1, keepdim=True)
    first = torch.zeros(len(counts), len(prepared.mean), dtype=torch.float64, device=counts.device)
    second = torch.zeros_like(first)
    for rows, z in prepared.chunks(READ_ROWS):
        weight = counts[:, rows].to(z.dtype)
        first += (weight @ z).double()
        second += (weight @ z.square()).double()
    mean, second = first / total, second / total
    variance = second - mean.square()
    # Where nearly all of the square is the mean's, the difference above is mostly rounding.
    narrow = torch.nonzero((variance < NARROW * second).any(0))[:, 0]
    if len(narrow):
        mean[:, narrow], variance[:, narrow] = _exact_moments(prepared, counts, narrow)
    return mean, torch.where(variance > 0, 1 / variance.sqrt(), 0.0)


def _exact_moments(
    prepared: Prepared, counts: Float[Tensor, "g n"], columns: Int64[Tensor, " k"]
) -> tuple[Float64[Tensor, "g k"], Float64[Tensor, "g k"]]:
    """Mean and variance of a few columns in each group; 0 for one that is constant there."""
    z = torch.cat([part[:, columns].double() for _, part in prepared.chunks(READ_ROWS)])
    means, variances = [], []
    for count in counts.double():
        member = count > 0
        own, share = z[member], count[member] / count.sum()
        means.append(share @ own)
        variance = share @ (own - means[-1]).square()
        variances.append(torch.where(own.amin(0) == own.amax(0), 0.0, variance))
    return torch.stack(means), torch.stack(variances)
