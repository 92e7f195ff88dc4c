"""What can be read off the pixels without an encoder: the reference beside both sides."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from degradation.cache import pooled_name
from degradation.encoders.encoder import EncoderInfo
from degradation.pooling import coverage

__all__ = ["PICTURES", "picture_features"]

_CELLS = 16
_LEVELS = 4
_ONE_THREAD = 250_000  # multiplications; OpenBLAS takes more threads above 262,144

PICTURES = EncoderInfo(
    name="pictures",
    digest="pictures v1",
    n_blocks=1,
    width=_CELLS * _CELLS * 3,
    size=0,
    patch=0,
    n_prefix=0,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
"""The reference without an encoder: block 0, regions `pixels` (768) and `histogram` (64)."""


def picture_features(
    pixels: UInt8[np.ndarray, "b f h w 3"],
) -> dict[str, Float32[np.ndarray, "b 1 d"]]:
    """What can be read without an encoder, frames averaged, by dataset name.

    `pixels`: the picture averaged over 16 x 16 areas, 768 numbers in [0, 1]. `histogram`: shares
    of the pixels in 4 x 4 x 4 bins of red, green and blue, 64 numbers with sum 1.

    Args:
        pixels: The pixels that the encoders see.
    """
    batch, frames, height, width = pixels.shape[:4]
    area = _areas(height)[0]
    lines = pixels.reshape(-1, height, width * 3).astype(np.float32)
    # In products so small that OpenBLAS does not share them out: many threads ask at a time.
    step = max(1, _ONE_THREAD // (_CELLS * height))
    parts = [area @ lines[:, :, i : i + step] for i in range(0, width * 3, step)]
    rows = np.concatenate(parts, axis=2).reshape(-1, _CELLS, width, 3)
    # A cell averages few columns; the product with all of their areas would take longest of all.
    _, first, window = _areas(width)
    columns = np.minimum(first + np.arange(len(window))[:, None], width - 1)
    averaged = np.einsum("kc,brkcd->brcd", window, rows.take(columns, axis=2))
    coarse = averaged.reshape(batch, frames, -1).mean(axis=1) / 255
    levels = pixels // (256 // _LEVELS)
    bins = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
    counts = [np.bincount(one.ravel(), minlength=_LEVELS**3) for one in bins]
    shares = (np.stack(counts) / (frames * height * width)).astype(np.float32)
    return {pooled_name("pixels"): coarse[:, None], pooled_name("histogram"): shares[:, None]}


@lru_cache(maxsize=8)
def _areas(
    size: int,
) -> tuple[Float32[np.ndarray, "16 s"], Int64[np.ndarray, "16"], Float32[np.ndarray, "k 16"]]:
    """Weights by which each of 16 cells averages a side of `size` pixels.

    Returns:
        The weights; for each cell the first pixel with a weight; and the weights from there on.
    """
    edges = np.arange(size) / size
    area = coverage(edges, edges + 1 / size, _CELLS).T
    area = (area / area.sum(axis=1, keepdims=True)).astype(np.float32)
    first = (area > 0).argmax(axis=1)
    last = size - (area[:, ::-1] > 0).argmax(axis=1)
    steps = np.arange((last - first).max())[:, None]
    window = area[np.arange(_CELLS), np.minimum(first + steps, size - 1)]
    return area, first, np.where(first + steps < last, window, np.float32(0))
