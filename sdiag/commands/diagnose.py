"""`sdiag diagnose`: which kind of loss it is."""

from typing import Annotated

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

__all__ = ["EXAMPLES", "diagnose"]

EXAMPLES = (
    "Examples:  sdiag diagnose  |  sdiag diagnose --quick  |  "
    "sdiag diagnose --task scenes-expression --model tiny --block 1"
)


def diagnose(
    task: Tasks = None,
    model: Models = None,
    block: Annotated[
        list[int] | None, typer.Option(help="Block; repeat. Default: the declared one.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            help="Fewer seeds, portions and subsets; no attentive probe and no code length."
        ),
    ] = False,
    rows: RowList = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of folds, subsets, orders and initial weights.")
    ] = 0,
    draws: Annotated[int, typer.Option(help="Bootstrap draws.", min=100)] = 2000,
    margin: Annotated[
        float, typer.Option(help="Points below which a difference is too small to matter.", min=0)
    ] = 2.0,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Say of every question in one word what happened: rotated, gone, no longer linear ...

    Larger probes, fewer samples, the old probe on mapped features, and the scatter of the classes,
    into `diagnose.json` and `diagnosis.parquet` beside the run. The attentive probe needs token
    maps: extract with --token-block. With an empty cache and no options, the embedded pair is
    extracted first.
    """
    from tqdm import tqdm

    from probes.diagnosis.run import diagnose_pair
    from probes.diagnosis.settings import FULL, QUICK
    from reports.analyses.diagnosis import diagnosis_table

    records = []
    for pair, name in (bar := tqdm(cached_pairs(cache, task, model), unit="task", desc="diagnose")):
        bar.set_postfix_str(f"{pair} {name}")
        records.append(
            diagnose_pair(
                cache,
                name,
                pair,
                results=results,
                blocks=tuple(block) if block else None,
                seed=seed,
                draws=draws,
                margin=margin,
                settings=QUICK if quick else FULL,
                row_list=rows or "",
            )
        )
    text = diagnosis_table(records).to_string(index=False)
    emit([one.model_dump(mode="json") for one in records], text, as_json=json)
