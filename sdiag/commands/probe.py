"""`sdiag probe`: linear probes on both sides, and the paired verdict."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sdiag.commands.options import CACHE, RESULTS, Cache, Json, Results, Tasks, emit

__all__ = ["EXAMPLES", "probe", "probe_cached"]

EXAMPLES = (
    "Examples:  sdiag probe  |  sdiag probe --task scenes-gaze  |  "
    "sdiag probe --task affectnet --model qwen2-vl --block 31  |  "
    "sdiag probe --task pisc-domain --rows clean"
)


def probe(
    task: Tasks = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Pair; repeat for several. Default: all cached."),
    ] = None,
    block: Annotated[
        list[int] | None, typer.Option(help="Block to probe; repeat. Default: all cached.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of folds and bootstrap.")] = 0,
    arms: Annotated[
        bool,
        typer.Option(
            help="Also read the features in the task's other ways (other regions, other class "
            "weights), at the declared block or at those named; they carry no verdict."
        ),
    ] = True,
    rows: Annotated[
        str | None,
        typer.Option(
            help="Probe only the rows of the lists of this name, which `sdiag audit --clean` "
            "makes. The run stands beside that on all rows, as TASK@NAME."
        ),
    ] = None,
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
    from reports.formats import terminal_table
    from reports.load import read_records
    from reports.tables import verdict_table

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
    emit(
        table.to_dict(orient="records"), terminal_table(table).to_string(index=False), as_json=json
    )


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

    from degradation.cache import pairs
    from degradation.errors import ConfigError
    from probes.run import probe_pair
    from sdiag.commands.extract import extract_pairs

    cached = pairs(cache)
    if not cached and tasks is None and models is None:
        from degradation.encoders.registry import get_pair
        from degradation.protocol import Protocol

        print(f"No features in {cache} yet: extracting the pair tiny first.", file=sys.stderr)
        extract_pairs({get_pair("tiny"): Protocol()}, None, None, cache)
        cached = pairs(cache)
    selected = sorted(
        {
            (entry.pair, entry.task)
            for entry in cached
            if (tasks is None or entry.task in tasks) and (models is None or entry.pair in models)
        }
    )
    wanted = {(name, "pair") for name in models or ()} | {(name, "task") for name in tasks or ()}
    missing = {
        (name, kind)
        for name, kind in wanted
        if name not in {getattr(entry, kind) for entry in cached}
    }
    if missing or not selected:
        name, kind = min(missing) if missing else ("these options", "pair and task")
        known = sorted({f"{entry.pair} on {entry.task}" for entry in cached})
        raise ConfigError(
            f"No cached features for {kind} {name!r} in {cache}. "
            f"Cached: {', '.join(known) or 'nothing'}. Run `sdiag extract` for it first."
        )
    for pair, task in (bar := tqdm(selected, unit="task", desc="probe")):
        bar.set_postfix_str(f"{pair} {task}")
        probe_pair(cache, task, pair, results=results, **options)
