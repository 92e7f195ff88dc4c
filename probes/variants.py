"""Names of the variants of a reading: the same test rows predicted in a way that was not declared.

    logistic-l2@0.001   with this strength in place of the chosen one
    logistic-l2~3       the training clusters drawn anew, draw 3, at the chosen strength
    logistic-l2/best-block   each side at the block with its lowest held-out loss

The first two are judged in `probes.robustness`; the last is an arm like any other, at block -1.
"""

__all__ = ["BEST_BLOCK", "is_refit", "is_variant", "refit_probe", "strength_of", "strength_probe"]

BEST_BLOCK = "best-block"


def strength_probe(probe: str, strength: float) -> str:
    """Name of a probe at a strength that the data did not choose."""
    return f"{probe}@{strength:.6g}"


def strength_of(probe: str) -> float | None:
    """The strength in such a name; None in any other."""
    return float(probe.partition("@")[2]) if "@" in probe else None


def refit_probe(probe: str, draw: int) -> str:
    """Name of a probe on training clusters drawn anew."""
    return f"{probe}~{draw}"


def is_refit(probe: str) -> bool:
    """Whether a probe's name is that of a refit."""
    return "~" in probe


def is_variant(probe: str) -> bool:
    """Whether a probe's name is of one of the two kinds that `probes.robustness` judges."""
    return "@" in probe or "~" in probe
