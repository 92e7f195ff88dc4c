"""A 64-bit hash of what a picture looks like: near for copies that were scaled or saved again.

pHash: grey, 32 x 32 pixels, each the mean of its area; the orthonormal DCT-II

    c[u, v] = s(u) s(v) sum_yx g[y, x] cos(pi (2y + 1) u / 64) cos(pi (2x + 1) v / 64)

with s(0) = sqrt(1/32) and s = sqrt(2/32) otherwise; of the 8 x 8 lowest frequencies, bit 63 - (8u +
v) says whether c[u, v] is above the median of the 64. Half of the bits are set, so two hashes
differ in an even number of bits.

The hash of a flat picture, or of one whose shades only run one way, is made of rounding errors:
`is_informative` says so, and such pictures are compared by their files alone.
"""

import math

import numpy as np
from jaxtyping import Bool, Float64, UInt8, UInt64
from PIL import Image

from degradation.pixels import to_rgb

__all__ = ["SIDE", "grey", "is_informative", "perceptual_hash"]

SIDE = 32
_LOW = 8
_AUDIBLE = 1.0
"""A coefficient that lies this far from the median does so by the picture: the grey values'
rounding moves it by 0.3 (one standard deviation)."""
_ENOUGH = 32
"""How many of the 64 coefficients must."""

_u, _y = np.arange(_LOW)[:, None], np.arange(SIDE)[None]
_DCT = np.sqrt(2 / SIDE) * np.cos(math.pi * (2 * _y + 1) * _u / (2 * SIDE))
_DCT[0] /= math.sqrt(2)
_WEIGHTS = np.uint64(1) << np.arange(63, -1, -1, dtype=np.uint64)


def grey(image: Image.Image) -> UInt8[np.ndarray, "32 32"]:
    """A picture in any mode as 32 x 32 grey values, upright."""
    small = to_rgb(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.array(small)


def perceptual_hash(greys: UInt8[np.ndarray, "n 32 32"]) -> UInt64[np.ndarray, " n"]:
    """Hash of each picture.

    Args:
        greys: From `grey`.
    """
    low = _low_frequencies(greys)
    bits = low > np.median(low, axis=1, keepdims=True)
    return (bits * _WEIGHTS).sum(axis=1, dtype=np.uint64)


def is_informative(greys: UInt8[np.ndarray, "n 32 32"]) -> Bool[np.ndarray, " n"]:
    """Whether the hash of each picture comes from the picture and not from rounding.

    Args:
        greys: From `grey`.
    """
    low = _low_frequencies(greys)
    apart = np.abs(low - np.median(low, axis=1, keepdims=True)) > _AUDIBLE
    return apart.sum(axis=1) >= _ENOUGH


def _low_frequencies(greys: UInt8[np.ndarray, "n 32 32"]) -> Float64[np.ndarray, "n 64"]:
    low = _DCT @ greys.astype(np.float64) @ _DCT.T
    # Rounded, so that sums taken in another order do not decide on which side of the median
    # a coefficient that should be equal to it falls.
    return np.round(low.reshape(len(greys), -1), 6)
