"""float16 for storage, only where it harms nothing.

Features are read through z-scores, so what counts is not the error of a number but the error
against the spread of its channel: a channel around 2000 that varies by 0.5 is destroyed by
float16, although every number is right to four digits.
"""

import numpy as np
from jaxtyping import Float16, Float32

__all__ = ["narrow"]

_NORM_ERROR = 1e-3  # float16 rounding gives about 3e-4; more means subnormal numbers
_SPREAD_ERROR = 0.05  # standard deviation of the rounding error, in those of the channel
_NOISE = 1e-5  # a channel that varies less than this share of its size is float32 noise
_FEW_ROWS = 32  # with fewer rows the spread of a channel says too little


def narrow(
    values: Float32[np.ndarray, "n k d"],
) -> tuple[Float16[np.ndarray, "n k d"] | Float32[np.ndarray, "n k d"], str]:
    """`values` as float16 if that is safe, else unchanged, and why not ("" if it is).

    Args:
        values: Features; NaN rows are absent boxes. The middle axis (blocks or tokens) is checked
            entry by entry: overflow, the error against the norm, and the error against the spread
            of each channel over the rows.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        small = values.astype(np.float16)
    if (np.isinf(small) & np.isfinite(values)).any():
        return values, f"values up to {np.nanmax(np.abs(values)):.3g} overflow float16"
    for k in range(values.shape[1]):
        exact = values[:, k]
        exact = exact[np.isfinite(exact).all(axis=1)].astype(np.float64)
        error = small[:, k][np.isfinite(small[:, k]).all(axis=1)] - exact
        if np.linalg.norm(error) > _NORM_ERROR * np.linalg.norm(exact):
            return values, "values are too small for float16"
        if len(exact) >= _FEW_ROWS:
            spread = exact.std(axis=0)
            real = spread > _NOISE * np.abs(exact).max(axis=0)
            if (error.std(axis=0)[real] > _SPREAD_ERROR * spread[real]).any():
                return values, "a channel varies less than float16 can tell apart"
    return small, ""
