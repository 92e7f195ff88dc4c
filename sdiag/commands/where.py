"""`sdiag where`: where in the picture a label can be read, before and after."""

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

__all__ = ["EXAMPLES", "where"]

EXAMPLES = (
    "Examples:  sdiag extract --task scenes-gesture --token-block 2 && sdiag where  |  "
    "sdiag where --task scenes-relation --question domain"
)


def where(
    task: Tasks = None,
    model: Models = None,
    question: Annotated[
        list[str] | None, typer.Option(help="Question; repeat. Default: all with classes.")
    ] = None,
    block: Annotated[
        int | None, typer.Option(help="Block with token maps. Default: the declared one.")
    ] = None,
    tokens: Annotated[
        int, typer.Option(help="Tokens of each picture that the probe is fitted on.", min=1)
    ] = 8,
    rows: RowList = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of folds and of the tokens fitted.")] = 0,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Fit one linear probe on single patch tokens and ask it of every token of every test picture.

    Prints how often single tokens are right in each box and in the background, before and after.
    Needs token maps: `sdiag extract --token-block BLOCK`.
    """
    from tqdm import tqdm

    from degradation.errors import ConfigError
    from probes.slices.where import where_pair
    from reports.analyses.where import region_table

    selected = cached_pairs(cache, task, model)
    named = task is not None or model is not None
    records, skipped = [], []
    for pair, name in (bar := tqdm(selected, unit="task", desc="where")):
        bar.set_postfix_str(f"{pair} {name}")
        try:
            records.append(
                where_pair(
                    cache,
                    name,
                    pair,
                    results=results,
                    block=block,
                    questions=question,
                    each=tokens,
                    seed=seed,
                    row_list=rows or "",
                )
            )
        except ConfigError as error:  # by default, whatever has token maps
            if named:
                raise
            skipped.append(error)
    if not records:
        raise skipped[0]
    emit(
        [record.model_dump(mode="json") for record in records],
        region_table(records).to_string(index=False),
        as_json=json,
    )
