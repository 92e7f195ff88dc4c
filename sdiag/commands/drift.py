"""`sdiag drift`: how far the representation moved, whether or not anything was lost."""

from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from probes.drift.records import DriftRecord

__all__ = ["EXAMPLES", "drift"]

EXAMPLES = (
    "Examples:  sdiag drift  |  sdiag drift --task scenes-expression --block 0 --block 2  |  "
    "sdiag drift --task affectnet --model qwen2-vl --row-cap 4000"
)


def drift(
    task: Tasks = None,
    model: Models = None,
    block: Annotated[
        list[int] | None,
        typer.Option(
            help="Block to measure; repeat. Default: the declared one. Maps have all blocks."
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split whose rows are compared, or all for those of every split.")
    ] = "test",
    rows: RowList = None,
    row_cap: Annotated[
        int,
        typer.Option(
            help="Most rows for kernels, neighbours and maps, which compare all with all.", min=50
        ),
    ] = 2000,
    shuffles: Annotated[int, typer.Option(help="Shuffles behind null values.", min=1)] = 19,
    seed: Annotated[int, typer.Option(min=0, help="Seed of subsets, shuffles and groups.")] = 0,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Measure how far the features moved between both sides of every cached pair.

    Similarity of the same rows, ranks, anisotropy, class subspaces and where the class signal sits
    in the spectrum, with intervals and null values, into `drift.json` beside the run. Drift says
    changed, not lost: a rotation changes every feature and loses nothing. With an empty cache and
    no options, the embedded pair is extracted first.
    """
    from tqdm import tqdm

    from probes.drift.block import Settings
    from probes.drift.run import drift_pair
    from reports.analyses.drift import drift_table

    settings = Settings(row_cap=row_cap, shuffles=shuffles, seed=seed)
    records = [
        drift_pair(
            cache,
            one_task,
            pair,
            results=results,
            blocks=tuple(block) if block else None,
            split=split,
            settings=settings,
            row_list=rows or "",
        )
        for pair, one_task in tqdm(cached_pairs(cache, task, model), unit="task", desc="drift")
    ]
    table = drift_table(records)
    emit([_summary(one) for one in records], table.to_string(index=False), as_json=json)


def _summary(record: "DriftRecord") -> dict[str, Any]:
    """The record as JSON values, without its maps and curves."""
    return record.model_dump(mode="json", exclude={"maps", "curves"})
