"""`sdiag probe`: linear probes on both sides, and the paired verdict."""

from pathlib import Path
from typing import Annotated, Any

import typer

from sdiag.commands.cached import cached_pairs
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

__all__ = ["EXAMPLES", "probe", "probe_cached"]

EXAMPLES = (
    "Examples:  sdiag probe  |  sdiag probe --task scenes-gaze  |  "
    "sdiag probe --task affectnet --model qwen2-vl --block 31  |  "
    "sdiag probe --task pisc-domain --rows clean"
)


def probe(
    task: Tasks = None,
    model: Models = None,
    block: Annotated[
        list[int] | None, typer.Option(help="Block to probe; repeat. Default: all cached.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and bootstrap.")] = 0,
    arms: Annotated[
        bool,
        typer.Option(
            help="Also read the features in the task's other ways (other regions, other class "
            "weights), at the declared block or at those named; they carry no verdict."
        ),
    ] = True,
    rows: RowList = None,
    curve: Annotated[
        bool,
        typer.Option(
            help="Also read the declared block with every strength: does the sign of a delta "
            "depend on tuning?"
        ),
    ] = True,
    refits: Annotated[
        int,
        typer.Option(
            help="Fit the declared block so often on training clusters drawn anew: how much of "
            "the uncertainty comes from training? 0, or 3 to 20.",
            min=0,
            max=20,
        ),
    ] = 5,
    draws: Annotated[
        int, typer.Option(help="Draws of the bootstrap intervals and permutation tests.", min=100)
    ] = 2000,
    margin: Annotated[
        float, typer.Option(help="Points below which a difference is too small to matter.", min=0)
    ] = 2.0,
    device: Annotated[
        str, typer.Option(help="Where probes are fitted: cpu, cuda, cuda:1.")
    ] = "cpu",
    memory: Annotated[
        float | None,
        typer.Option(
            help="GB of features that may be held; those of a larger block are read from disk at "
            "each pass. Default: an eighth of the machine's memory.",
            min=0,
        ),
    ] = None,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Probe every cached pair on every task, and say what was lost.

    Strengths are chosen on the validation split, or by clustered folds; never on test. With an
    empty cache and no options, the embedded pair is extracted first.
    """
    from probes.statistics.contrast import social_contrast
    from reports.formats import terminal_table
    from reports.load import read_records
    from reports.verdicts.contrast import contrast_sentence
    from reports.verdicts.tables import verdict_table

    probe_cached(
        task,
        model,
        cache=cache,
        results=results,
        blocks=tuple(block) if block else None,
        seed=seed,
        draws=draws,
        arms=arms,
        row_list=rows or "",
        curve=curve,
        refits=refits,
        device=device,
        memory=None if memory is None else memory * 1e9,
    )
    records = [
        record
        for record in read_records(results)
        if record.task.row_list == (rows or "")
        and (task is None or record.task.name in task)
        and (model is None or record.pair.name in model)
    ]
    table = verdict_table(records, margin=margin)
    text = terminal_table(table).to_string(index=False)
    for one in social_contrast(results, records):
        text += f"\n\n{one.pair}: {contrast_sentence(one)}"
    emit(table.to_dict(orient="records"), text, as_json=json)


def probe_cached(
    tasks: list[str] | None,
    models: list[str] | None,
    *,
    cache: Path,
    results: Path,
    **options: Any,
) -> None:
    """Probe the cached pairs that the names select and write their records.

    Args:
        tasks: Names of tasks; all cached ones if None.
        models: Names of pairs; all cached ones if None.
        cache: Root of all caches.
        results: Folder of the records.
        options: Of `probes.run.probe_pair`.
    """
    from tqdm import tqdm

    from probes.run import probe_pair

    for pair, task in (bar := tqdm(cached_pairs(cache, tasks, models), unit="task", desc="probe")):
        bar.set_postfix_str(f"{pair} {task}")
        probe_pair(cache, task, pair, results=results, **options)
