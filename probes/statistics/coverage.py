"""How often the intervals of this tool cover, measured, for the warning that few clusters deserve.

The figures come from `tests/benchmarks/calibration.py`, which writes docs/calibration.md; a slow
test compares them with a study of its own.
"""

__all__ = ["ENOUGH", "MEASURED", "warning"]

ENOUGH = 30
"""Clusters from which the measured 95 % intervals of deltas cover in 93 to 97 %."""
MEASURED = {10: (94.0, 99.6), 15: (94.7, 98.8), 20: (94.4, 98.7)}
"""Lowest and highest coverage, in %, of the 95 % interval of a delta, by number of clusters."""


def warning(clusters: int) -> str:
    """What a record says of fewer than 30 clusters; empty from there on.

    Example:
        >>> warning(30)
        ''
    """
    if clusters >= ENOUGH:
        return ""
    known = max((g for g in MEASURED if g <= clusters), default=None)
    if known is None:
        return (
            f"only {clusters} clusters: below {min(MEASURED)}, nothing is known of how often the "
            "95 % interval covers"
        )
    low, high = MEASURED[known]
    return (
        f"only {clusters} clusters: with {known}, the 95 % interval of the delta covered in "
        f"{low:.1f} to {high:.1f} % of simulations, depending on data and metric; it errs on the "
        "wide side"
    )
