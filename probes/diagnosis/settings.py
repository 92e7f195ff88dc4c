"""How thorough a diagnosis is."""

from dataclasses import dataclass

from probes.diagnosis.capacity import Grid
from probes.diagnosis.samples import PORTIONS

__all__ = ["FULL", "QUICK", "Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What is fitted how often.

    Attributes:
        mlp: Of the MLP.
        attentive: Of the attentive probe; None leaves it out.
        portions: Shares of the training clusters, ascending, the last of them 1.
        subsets: Random subsets a portion.
        orders: Random orders of the online code; 0 leaves it out.
    """

    mlp: Grid
    attentive: Grid | None
    portions: tuple[float, ...]
    subsets: int
    orders: int


FULL = Settings(Grid((0.0, 1.0, 3.0, 10.0), 3), Grid((0.0, 1.0), 2), PORTIONS, 3, 2)
QUICK = Settings(Grid((1.0, 10.0), 2), None, (0.1, 0.5, 1.0), 2, 0)
"""Enough for the word, in about a tenth of the time."""
