"""Planted pairs, whose answer is known, against what the verdicts say of them."""

from collections.abc import Sequence

from reports.verdicts.cells import Cell

__all__ = ["holds"]

CONCEPT = "expression"


def holds(pair: str, cells: Sequence[Cell]) -> bool:
    """Whether the verdicts on a planted pair are those that are known to be right.

    Args:
        pair: One of `reports.names.PLANTED`.
        cells: Its confirmatory cells, at least one.
    """
    words = {cell.verdict for cell in cells}
    if pair == "identity":
        return all(cell.comparison.delta.value == 0 for cell in cells)
    if pair == "rotation":
        return words == {"equivalent"}
    if pair == "noise":
        return "degraded" in words and "improved" not in words
    return all(
        (cell.verdict == "degraded") == (cell.comparison.question == CONCEPT) for cell in cells
    )
