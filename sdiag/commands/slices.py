"""`sdiag slices`: on which rows the loss is largest."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sdiag.commands.options import (
    CACHE,
    RESULTS,
    Cache,
    Json,
    Models,
    Results,
    RowList,
    Tasks,
    emit,
)

if TYPE_CHECKING:
    from probes.records import RunRecord

__all__ = ["EXAMPLES", "selected_runs", "slices"]

EXAMPLES = (
    "Examples:  sdiag slices  |  sdiag slices --task scenes-gesture --model tiny  |  "
    "sdiag slices --task pisc-domain --metric accuracy"
)


def slices(
    task: Tasks = None,
    model: Models = None,
    rows: RowList = None,
    block: Annotated[
        int | None, typer.Option(help="Block to slice. Default: the declared one.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Metric. Default: the first of each question.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Print every slice, not only the worst of each kind.")
    ] = False,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Split the predictions of probed runs by class, box size and attributes of the task.

    Reads the predictions in the results and the boxes and attributes in the cache; nothing is
    fitted. Prints the worst slice of each kind, its delta drawn towards the mean of its kind for
    the luck of being picked. Slices explore: they carry no verdict.
    """
    from tqdm import tqdm

    from probes.folders import record_folder
    from probes.slices.run import slice_run
    from reports.analyses.slices import attribute_table, slice_table

    runs = selected_runs(results, task, model, rows or "")
    records = []
    for run in (bar := tqdm(runs, unit="task", desc="slices")):
        bar.set_postfix_str(f"{run.pair.name} {run.task.label}")
        folder = record_folder(results, run.pair.name, run.task.label)
        records.append(slice_run(cache, folder, block=block, metric=metric))
    for record in records:
        for one in record.refused:
            print(
                f"No numbers for {one.question} ({record.task.label}), {one.attribute} = "
                f"{one.value}, {one.n} rows: {one.reason}.",
                file=sys.stderr,
            )
    table = slice_table(records) if every else attribute_table(records)
    emit(
        [record.model_dump(mode="json") for record in records],
        table.to_string(index=False),
        as_json=json,
    )


def selected_runs(
    results: Path, tasks: list[str] | None, models: list[str] | None, row_list: str
) -> "list[RunRecord]":
    """The records of runs that the names select, refused if a name selects none.

    Raises:
        ConfigError: Naming what there is instead.
        DataError: If a record cannot be read.
    """
    from degradation.errors import ConfigError
    from reports.load import read_records

    every = [one for one in read_records(results) if one.task.row_list == row_list]
    runs = [
        one
        for one in every
        if (tasks is None or one.task.name in tasks) and (models is None or one.pair.name in models)
    ]
    wanted = {("task", name) for name in tasks or ()} | {("pair", name) for name in models or ()}
    wanted -= {("task", one.task.name) for one in runs} | {("pair", one.pair.name) for one in runs}
    if wanted or not runs:
        kind, name = min(wanted) if wanted else ("row list", row_list)
        known = ", ".join(f"{one.pair.name} on {one.task.label}" for one in every)
        raise ConfigError(
            f"Expected a run of the {kind} {name!r} in {results}, found "
            f"{known or 'none on these rows'}. Run `sdiag probe` for it first."
        )
    return runs
