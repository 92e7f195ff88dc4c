"""Tokens of chosen rows: from the cache, held in memory where they fit and else read as needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from degradation.cache import Features
from degradation.errors import CacheError

__all__ = ["CachedTokens", "Seen", "Tokens", "cached_tokens"]

Rows = Int64[np.ndarray, " m"]
Boxes = Mapping[str, Float32[np.ndarray, "m f 4"]]
Points = Float32[np.ndarray, "m a 2"]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Rows as the encoder saw them.

    Attributes:
        tokens: Token maps, frame after frame, raster order in each, shape (m, f*h*w, d).
        boxes: By role, where the boxes are in what it saw, shape (m, f, 4); NaN for none.
        points: Annotated gaze points there, NaN-padded, shape (m, a, 2).
    """

    tokens: Float[Tensor, "m v d"]
    boxes: Boxes
    points: Points


@runtime_checkable
class Tokens(Protocol):
    """A source of tokens."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row, (v, d)."""
        ...

    @property
    def slow(self) -> bool:
        """Whether it is worth threads that read ahead."""
        ...

    def see(
        self, rows: Rows, boxes: Boxes, points: Points, rng: np.random.Generator | None
    ) -> Seen:
        """Chosen rows, in their order.

        Args:
            rows: Positions in the table of the task.
            boxes: Of these rows, by role.
            points: Of these rows.
            rng: Decides how pictures are changed; None to take them as they are.
        """
        ...


def cached_tokens(
    parts: Sequence[Features],
    block: int,
    part: Int64[np.ndarray, " n"],
    position: Int64[np.ndarray, " n"],
) -> "CachedTokens":
    """Token maps of the n rows of a table, which stay on disk.

    Args:
        parts: The features of each split.
        block: Block of the encoder.
        part: Split of each row.
        position: Row of that split.

    Raises:
        CacheError: A split has no token maps of this block, or a shard is missing or damaged.
    """
    shapes, dtypes = set(), set()
    for features in parts:
        if block not in features.token_blocks:
            raise CacheError(
                f"Expected token maps of block {block} in {features.folder}, found those of "
                f"{', '.join(map(str, features.token_blocks)) or 'no block'}. Run `sdiag extract "
                f"--task {features.spec.name} --token-block {block}` with the same --cache."
            )
        if len(features.rows):
            _, first = next(features.tokens_at(block, np.zeros(1, dtype=np.int64)))
            shapes.add(first.shape[1:])
            dtypes.add(first.dtype)
    if len(shapes) != 1:
        raise CacheError(
            f"Expected token maps of one shape in all splits of {parts[0].spec.name}, found "
            f"{', '.join(map(str, sorted(shapes))) or 'none'}. Extract all splits with the same "
            "options."
        )
    return CachedTokens(tuple(parts), block, part, position, shapes.pop(), np.result_type(*dtypes))


@dataclass(frozen=True, slots=True, eq=False)
class CachedTokens:
    """Token maps from the cache, which are what they are whatever the generator.

    Attributes:
        parts: The features of each split.
        block: Block of the encoder.
        part: Split of each row of the table, shape (n,).
        position: Row of that split, shape (n,).
        shape: Of one row, (v, d).
        dtype: As stored; float32 if any shard holds that.
        held: Token maps of all rows, shape (n, v, d); None while they stay on disk.
    """

    parts: tuple[Features, ...]
    block: int
    part: Int64[np.ndarray, " n"]
    position: Int64[np.ndarray, " n"]
    shape: tuple[int, ...]
    dtype: np.dtype
    held: np.ndarray | None = None

    @property
    def slow(self) -> bool:
        """Whether rows are read from disk."""
        return self.held is None

    @property
    def nbytes(self) -> int:
        """Bytes of all rows in memory."""
        return len(self.part) * int(np.prod(self.shape)) * self.dtype.itemsize

    def in_memory(self) -> "CachedTokens":
        """The same source with all rows read, in the precision in which they are stored.

        Raises:
            CacheError: A shard is missing or damaged.
        """
        return replace(self, held=self._read(np.arange(len(self.part))))

    def see(
        self, rows: Rows, boxes: Boxes, points: Points, rng: np.random.Generator | None = None
    ) -> Seen:
        """Chosen rows, in their order; see `Tokens`.

        Raises:
            CacheError: A shard is missing or damaged.
        """
        values = self._read(rows) if self.held is None else self.held[rows]
        return Seen(torch.from_numpy(values), boxes, points)

    def _read(self, rows: Rows) -> Float[np.ndarray, "m v d"]:
        """Token maps of chosen rows, from the shards that hold them; others are not opened."""
        values = np.empty((len(rows), *self.shape), dtype=self.dtype)
        for k, features in enumerate(self.parts):
            here = np.nonzero(self.part[rows] == k)[0]
            for inside, found in features.tokens_at(self.block, self.position[rows[here]]):
                values[here[inside]] = found
        return values
