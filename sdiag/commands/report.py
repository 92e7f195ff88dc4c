"""`sdiag report`: result records in, Markdown and figures out."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from sdiag.commands.options import CACHE, RESULTS, Cache, Json, Results, emit

__all__ = ["EXAMPLES", "report"]

EXAMPLES = "Examples:  sdiag report  |  sdiag report --out paper-report --margin 1.0"


def report(
    out: Annotated[
        Path, typer.Option(help="Folder for report.md, report.html and their figures.")
    ] = Path("sdiag-report"),
    margin: Annotated[
        float, typer.Option(help="Points below which a difference is too small to matter.", min=0)
    ] = 2.0,
    alpha: Annotated[float, typer.Option(help="Level of the tests.", min=1e-6, max=0.5)] = 0.05,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Write the report of all result records.

    With no records yet, the embedded pair is extracted and probed first.
    """
    from reports.formats import terminal_table
    from reports.report import write_report
    from sdiag.commands.probe import probe_cached

    if results == RESULTS and not results.exists():
        print(f"No records in {results} yet: probing first.", file=sys.stderr)
        probe_cached(None, None, cache=cache, results=results)
    command = shlex.join(["sdiag", *sys.argv[1:]])
    summary = write_report(results, out, margin=margin, alpha=alpha, command=command)
    emit(
        {
            "report": str(summary.path),
            "page": str(summary.page),
            "verdicts": summary.table.to_dict(orient="records"),
        },
        f"{terminal_table(summary.table).to_string(index=False)}\n\n"
        f"Report: {summary.path}\nPage:   {summary.page}",
        as_json=json,
    )
