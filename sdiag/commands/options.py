"""Options that several commands share, and the way they print."""

import json
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from reports.markdown import visible

__all__ = [
    "Arithmetic",
    "Cache",
    "Json",
    "Models",
    "Results",
    "RowList",
    "Tasks",
    "Weights",
    "emit",
]


class Arithmetic(StrEnum):
    """Arithmetic of the forward pass, and of the backward pass where there is one."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


Cache = Annotated[
    Path, typer.Option("--cache", help="Folder of the feature cache.", envvar="SDIAG_CACHE")
]
Results = Annotated[
    Path, typer.Option("--results", help="Folder of the result records.", envvar="SDIAG_RESULTS")
]
Tasks = Annotated[
    list[str] | None,
    typer.Option("--task", "-t", help="Task name; repeat for several. Default: all."),
]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="Pair; repeat for several. Default: all there are."),
]
RowList = Annotated[
    str | None,
    typer.Option(
        "--rows",
        help="Only the rows of the lists of this name, which `sdiag audit --clean` makes. What is "
        "found stands beside that on all rows, as TASK@NAME.",
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        envvar="SDIAG_WEIGHTS", help="Folder in which ORG/NAME or NAME is looked for first."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON on stdout.")]

CACHE = Path("sdiag-cache")
RESULTS = Path("sdiag-results")


def emit(data: Any, text: str, *, as_json: bool) -> None:
    """Print the result of a command on stdout: `data` as one JSON document, or `text` for people.

    JSON has no number for what is not finite: it is null there.
    """
    print(json.dumps(_finite(data), indent=2, allow_nan=False) if as_json else visible(text))


def _finite(data: Any) -> Any:
    """The same values, None in place of NaN and infinities."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not isfinite(data) else data
