"""What was declared before looking, in words: block, weights and rows of the main comparisons."""

from collections.abc import Sequence

from reports.markdown import escape
from reports.verdicts.cells import Cell
from reports.verdicts.tables import confirmatory

__all__ = ["declared_block_words", "row_lists_words", "weights_words"]


def declared_block_words(cells: Sequence[Cell]) -> str:
    """The block or blocks of the confirmatory cells."""
    blocks = sorted({cell.comparison.block for cell in confirmatory(cells)})
    return f"block{'s' if len(blocks) > 1 else ''} {', '.join(map(str, blocks))}"


def weights_words(cells: Sequence[Cell]) -> str:
    """Which declared fits gave every class the same weight."""
    declared = confirmatory(cells)
    balanced = [escape(c.label) for c in declared if c.task.balanced]
    if not balanced:
        return "Every training row has the same weight in the fits."
    rest = ", in all others every row" if len(balanced) < len(declared) else ""
    return (
        f"In the fits of {', '.join(dict.fromkeys(balanced))} every class has the same weight, "
        f"by n / (c × rows of the class), and so in the loss that chooses their strength{rest}."
    )


def row_lists_words(cells: Sequence[Cell]) -> str:
    """Which rows the questions that are marked with a row list were probed on."""
    names = sorted({cell.task.row_list for cell in confirmatory(cells)} - {""})
    if not names:
        return ""
    return (
        f" Questions marked {', '.join(f'@{escape(name)}' for name in names)} were probed on the "
        "rows of the list of that name only; all others on all rows of the official splits."
    )
