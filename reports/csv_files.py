"""Tables as CSV that a spreadsheet shows and does not run."""

from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["write_csv"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table; equal tables give equal bytes.

    A text that a spreadsheet would take for a formula gets an apostrophe in front, by which
    spreadsheets know text.
    """
    table.map(_inert).to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def _inert(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell
