"""`sdiag compare`: two runs side by side, and a gate for continuous integration."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdiag.commands.options import Json, emit

if TYPE_CHECKING:
    from reports.compare import Compared

__all__ = ["DROPPED", "EXAMPLES", "compare"]

DROPPED = 10
"""Exit code where a score fell by more than `--max-drop`; errors end with 1 to 6."""
EXAMPLES = (
    "Examples:  sdiag compare yesterday/tiny/scenes-gaze sdiag-results/tiny/scenes-gaze  |  "
    "sdiag compare yesterday sdiag-results --max-drop 2.0"
)


def compare(
    first: Annotated[
        Path, typer.Argument(help="What there was: folder of a run, of a pair or of results.")
    ],
    second: Annotated[Path, typer.Argument(help="What there is now.")],
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="End with exit code 10 if the score after of a declared question fell by more "
            "than so many points for certain: if the whole 95 % interval of the change lies below "
            "that; or if the second lacks a declared question of the first.",
            min=0,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare two runs of probes: settings that differ, and scores side by side.

    Changes are paired where both predicted the same rows. Exit codes: 0 compared, and with
    --max-drop nothing fell by more for certain; 10 something did, or is missing; 2 and 3 runs that
    cannot be compared or read.
    """
    from reports.compare import compare_runs

    found = compare_runs(first, second, max_drop=max_drop)
    emit(_facts(found), _account(found), as_json=json)
    if not found.passed:
        raise typer.Exit(DROPPED)


def _facts(found: "Compared") -> dict[str, Any]:
    """Everything as JSON values."""
    changes = [
        asdict(one) | {"change_pre": one.change_pre.model_dump(), "change": one.change.model_dump()}
        for one in found.changes
    ]
    return {
        "settings": [asdict(one) for one in found.settings],
        "changes": changes,
        "absent": list(found.absent),
        "new": list(found.new),
        "max_drop": found.max_drop,
        "passed": found.passed,
    }


def _account(found: "Compared") -> str:
    """The same for people."""
    import pandas as pd

    from reports.formats import estimate, points

    parts = []
    if found.settings:
        settings = pd.DataFrame(
            [
                {
                    "setting": one.name,
                    "first": one.first,
                    "second": one.second,
                    "on": ", ".join(one.where),
                }
                for one in found.settings
            ]
        )
        parts.append(f"Settings that differ:\n{settings.to_string(index=False)}")
        if any(one.name == "sdiag" for one in found.settings):
            parts.append("Made with different versions of sdiag: what numbers mean may differ.")
    else:
        parts.append("All settings are the same.")
    if found.changes:
        changes = pd.DataFrame(
            [
                {
                    "question": f"{one.question} ({one.task})",
                    "metric": one.metric,
                    "pre": " → ".join(map(points, one.pre)),
                    "post": " → ".join(map(points, one.post)),
                    "change of post [95 %]": estimate(one.change, delta=True),
                    "rows": "unpaired" if one.unpaired else "paired",
                }
                | ({"verdict": one.word} if one.word else {})
                for one in found.changes
            ]
        )
        parts.append(
            "Scores in points; a change is second minus first, negative = worse, for errors too:\n"
            + changes.to_string(index=False)
        )
    remarks = [
        *(
            f"Not paired, {one.question} of {one.task}: {one.unpaired}."
            for one in found.changes
            if one.unpaired
        ),
        *(f"Not compared, {line}." for line in found.absent),
        *(f"Only in the second: {line}." for line in found.new),
    ]
    parts += ["\n".join(remarks)] if remarks else []
    if found.max_drop is not None:
        parts.append(_verdict(found))
    return "\n\n".join(parts)


def _verdict(found: "Compared") -> str:
    """What the gate says."""
    fell = [f"{one.question} of {one.task}" for one in found.changes if one.word == "fell"]
    if fell:
        return f"Fell by more than {found.max_drop:g} points: {', '.join(fell)}."
    if found.absent:
        return f"Nothing fell by more than {found.max_drop:g} points, but questions are missing."
    return f"Nothing fell by more than {found.max_drop:g} points for certain."
