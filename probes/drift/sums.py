"""Sums over rows from which unbiased CKA, Procrustes and spectra follow exactly, in one stream.

For rows x (n, d) and y (n, e) of two sides with squared lengths p = |x|^2 and q = |y|^2, the sums

    sum x,  sum y,  sum x y^T,  sum p,  sum q,  sum p q,  sum p y,  sum q x

decide every moment that a measure here needs about any centre, so rows pass by once, chunk by
chunk, and nothing of size n is kept. Sums add up over chunks and groups of rows, and those of a
group can be subtracted: leaving a group out costs no second pass over the rest.

Rows are first moved by an origin (the mean of the first chunk) and divided by a power of two near
their largest entry: centred sums then lose nothing to a large mean, squares do not overflow, and
every measure here is invariant to both. Everything is float64.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float, Float64

from degradation.errors import DataError, PairingError

__all__ = [
    "FLAT",
    "CrossSums",
    "Frame",
    "PairSums",
    "chunks_of",
    "finite_rows",
    "pair_sums",
    "stream_sums",
]

CHUNK = 2048
"""Rows taken at once where whole arrays are given."""
FLAT = (
    "Expected features that differ between rows, found a side constant over all rows{but}. Check "
    "the encoder, or measure another block."
)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Where the rows of one side are measured from, and in which unit.

    Attributes:
        origin: Subtracted from every row, shape (d,).
        unit: A power of two by which rows are divided, so the division is exact.
    """

    origin: Float64[np.ndarray, " d"]
    unit: float

    @classmethod
    def around(cls, x: Float[np.ndarray, "n d"]) -> "Frame":
        """The frame of a first chunk: its mean, and a power of two near its largest entry."""
        top = float(np.abs(x).max(initial=0.0))
        unit = float(2.0 ** np.clip(np.floor(np.log2(top)), -1000, 1000)) if top > 0 else 1.0
        return cls((x / unit).mean(axis=0), unit)

    def place(self, x: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
        """Rows in this frame."""
        return x / self.unit - self.origin


@dataclass(frozen=True, slots=True, eq=False)
class CrossSums:
    """Sums over rows of two sides, a (n, d) and b (n, e); one side may stand in both places.

    Attributes:
        n: Number of rows.
        a: sum a, shape (d,).
        b: sum b, shape (e,).
        ab: sum a b^T, shape (d, e).
        p: sum |a|^2.
        q: sum |b|^2.
        pq: sum |a|^2 |b|^2.
        pb: sum |a|^2 b, shape (e,).
        qa: sum |b|^2 a, shape (d,).
    """

    n: int
    a: Float64[np.ndarray, " d"]
    b: Float64[np.ndarray, " e"]
    ab: Float64[np.ndarray, "d e"]
    p: float
    q: float
    pq: float
    pb: Float64[np.ndarray, " e"]
    qa: Float64[np.ndarray, " d"]

    @classmethod
    def of(cls, a: Float64[np.ndarray, "n d"], b: Float64[np.ndarray, "n e"]) -> "CrossSums":
        """The sums of rows that are in memory."""
        p, q = np.einsum("nd,nd->n", a, a), np.einsum("ne,ne->n", b, b)
        return cls(
            n=len(a), a=a.sum(axis=0), b=b.sum(axis=0), ab=a.T @ b,
            p=float(p.sum()), q=float(q.sum()), pq=float(p @ q), pb=p @ b, qa=q @ a,
        )  # fmt: skip

    def __add__(self, other: "CrossSums") -> "CrossSums":
        return CrossSums(*(one + two for one, two in self._beside(other)))

    def __sub__(self, other: "CrossSums") -> "CrossSums":
        return CrossSums(*(one - two for one, two in self._beside(other)))

    def _beside(self, other: "CrossSums") -> list[tuple]:
        return [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]

    @property
    def centred(self) -> Float64[np.ndarray, "d e"]:
        """Sum of (a - mean a) (b - mean b)^T, shape (d, e)."""
        return self.ab - np.outer(self.a, self.b) / self.n

    @property
    def centred_norms(self) -> tuple[float, float]:
        """Sums of |a - mean a|^2 and of |b - mean b|^2."""
        return (
            float(self.p - self.a @ self.a / self.n),
            float(self.q - self.b @ self.b / self.n),
        )

    @property
    def flat(self) -> bool:
        """Whether all rows of the first side are equal up to rounding.

        Entries are about 1 in their frame before the origin is subtracted, so what rounding leaves
        of equal rows is known.
        """
        floor = self.n * len(self.a) * (4 * float(np.finfo(np.float64).eps)) ** 2
        return self.centred_norms[0] <= floor

    @property
    def centred_norm_product(self) -> float:
        """Sum of |a - mean a|^2 |b - mean b|^2.

        The product of p - 2 a.m + |m|^2 and q - 2 b.k + |k|^2 for means m and k, summed term by
        term.
        """
        m, k = self.a / self.n, self.b / self.n
        mm, kk = float(m @ m), float(k @ k)
        return (
            self.pq
            - 2 * float(k @ self.pb)
            - 2 * float(m @ self.qa)
            + 4 * float(m @ self.ab @ k)
            + kk * (self.p - 2 * float(m @ self.a))
            + mm * (self.q - 2 * float(k @ self.b))
            + self.n * mm * kk
        )


@dataclass(frozen=True, slots=True, eq=False)
class PairSums:
    """The sums of each side with itself and of both with each other.

    Attributes:
        x: Frame of the first side, shape (d,).
        y: Frame of the second side, shape (e,).
        xx: First with first.
        xy: First with second.
        yy: Second with second.
    """

    x: Frame
    y: Frame
    xx: CrossSums
    xy: CrossSums
    yy: CrossSums

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.xy.n

    def __add__(self, other: "PairSums") -> "PairSums":
        """Sums over the rows of both; they must be in the same frames."""
        return PairSums(self.x, self.y, self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)

    def __sub__(self, other: "PairSums") -> "PairSums":
        """Sums over the rows without those of the other, which must be among them."""
        return PairSums(self.x, self.y, self.xx - other.xx, self.xy - other.xy, self.yy - other.yy)


def pair_sums(
    x: Float64[np.ndarray, "n d"], y: Float64[np.ndarray, "n e"], frames: tuple[Frame, Frame]
) -> PairSums:
    """Sums of one chunk of rows in given frames.

    Equal sides are taken as one array, so that rounding cannot part what is the same.
    """
    a, b = frames[0].place(x), frames[1].place(y)
    b = a if np.array_equal(a, b) else b
    xx = CrossSums.of(a, a)
    return PairSums(*frames, xx, xx, xx) if b is a else PairSums(
        *frames, xx, CrossSums.of(a, b), CrossSums.of(b, b)
    )  # fmt: skip


def stream_sums(
    chunks: Iterable[tuple[Float[np.ndarray, "_ d"], Float[np.ndarray, "_ e"]]],
) -> PairSums:
    """Sums over all chunks of rows; each chunk is seen once and then forgotten.

    Args:
        chunks: Rows of both sides, the same rows in the same order, any float type.

    Raises:
        DataError: If there is no row, or a feature is not finite.
        PairingError: If the sides of a chunk differ in their number of rows.
    """
    total: PairSums | None = None
    start = 0
    for first, second in chunks:
        if len(first) != len(second):
            raise PairingError(
                f"Expected the same rows of both sides, found {len(first)} and {len(second)}. "
                "Give both sides' features of the same samples in the same order."
            )
        if not len(first):
            continue
        x, y = finite_rows(first, start), finite_rows(second, start)
        if total is None:
            total = pair_sums(x, y, (Frame.around(x), Frame.around(y)))
        else:
            total = total + pair_sums(x, y, (total.x, total.y))
        start += len(x)
    if total is None:
        raise DataError("Expected features of some rows, found none. Check the rows selected.")
    return total


def finite_rows(x: Float[np.ndarray, "n d"], start: int = 0) -> Float64[np.ndarray, "n d"]:
    """Rows as float64, checked.

    Raises:
        DataError: If a feature is NaN or infinite, naming the first such row (from `start`).
    """
    rows = np.ascontiguousarray(x, dtype=np.float64)
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise DataError(
            f"Expected finite features, found NaN or infinity in {bad.sum()} of {len(rows)} rows, "
            f"first in row {start + int(bad.argmax())}. Leave out rows without the box, or run "
            "`sdiag cache verify`."
        )
    return rows


def chunks_of(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "n e"], rows: int = CHUNK
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Arrays in memory as a stream of chunks."""
    for start in range(0, max(len(x), len(y)), rows):
        yield x[start : start + rows], y[start : start + rows]
