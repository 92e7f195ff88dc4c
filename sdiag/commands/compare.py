"""`sdiag compare`: two runs side by side, and a gate for continuous integration."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdiag.commands.options import Json, emit

if TYPE_CHECKING:
    from reports.compare.records import Compared

__all__ = ["DROPPED", "EXAMPLES", "compare"]

DROPPED = 10
"""Exit code where a score fell by more than `--max-drop`; errors end with 1 to 6."""
EXAMPLES = (
    "Examples:  sdiag compare yesterday/tiny/scenes-gaze sdiag-results/tiny/scenes-gaze  |  "
    "sdiag compare sdiag-results/socialfusion/joint-seed0 sdiag-results/socialfusion/joint-seed1  "
    "|  sdiag compare yesterday sdiag-results --max-drop 2.0"
)


def compare(
    first: Annotated[
        Path,
        typer.Argument(
            help="What there was: folder of a run, of a pair, of a trained model or of results."
        ),
    ],
    second: Annotated[Path, typer.Argument(help="What there is now.")],
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="End with exit code 10 if a declared score, of probes after or of a trained "
            "model, fell by more than so many points for certain: if the whole 95 % interval of "
            "the change lies below that; or if the second lacks a declared score of the first.",
            min=0,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare two runs: settings that differ, and all numbers that both have side by side.

    Scores of probes and of trained models, with changes paired where both predicted the same rows;
    beside them diagnoses, drift, gradient conflict, transfer and ablations, which --max-drop does
    not judge. Exit codes: 0 compared, and with --max-drop nothing fell by more for certain; 10
    something did, or is missing; 2, 3 and 4 runs that cannot be compared or read.
    """
    from reports.compare.compare import compare_runs
    from reports.compare.text import comparison_text

    found = compare_runs(first, second, max_drop=max_drop)
    emit(_facts(found), comparison_text(found), as_json=json)
    if not found.passed:
        raise typer.Exit(DROPPED)


def _facts(found: "Compared") -> dict[str, Any]:
    """Everything as JSON values."""
    return asdict(found, dict_factory=_values) | {"passed": found.passed}


def _values(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Fields of a record, the records of other packages in them as values, too."""
    return {
        name: value.model_dump() if hasattr(value, "model_dump") else value
        for name, value in fields
    }
