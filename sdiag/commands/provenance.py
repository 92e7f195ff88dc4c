"""`sdiag provenance`: which encoder a tower descends from, read off its weights."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdiag.commands.options import Json, Weights, emit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from degradation.provenance import Check, Provenance

__all__ = ["EXAMPLES", "provenance"]

EXAMPLES = (
    "Examples:  sdiag provenance  |  sdiag provenance --model qwen2-vl --weights ~/models  |  "
    "sdiag provenance --post qwen2-vl:post@./my-finetune --candidate qwen2-vl:post"
)


def provenance(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Registered pair: its post side against its pre side and whatever else it may "
            "come from. [default: tiny]",
        ),
    ] = None,
    post: Annotated[str | None, typer.Option(help="Encoder to trace, in place of --model.")] = None,
    candidate: Annotated[
        list[str] | None,
        typer.Option("--candidate", "-c", help="Encoder it may come from; repeat for several."),
    ] = None,
    weights: Weights = None,
    out: Annotated[Path, typer.Option(help="Folder for the account, figure and numbers.")] = Path(
        "sdiag-provenance"
    ),
    json: Json = False,
) -> None:
    """Compare the weights of a tower with those it may descend from, block by block.

    Says which candidate is nearest and how near chance would come, and what is exactly equal:
    identical weights make every delta exactly 0. Exit code 6 if a self-test of the pair fails.
    """
    from degradation.encoders.registry import load_encoder
    from degradation.errors import WeightsError
    from degradation.provenance import check_same, trace
    from reports.provenance import distance_table, sentences, write_provenance

    traced, names, same = plan(model, post, candidate)
    found = trace(
        load_encoder(traced, weights=weights),
        (load_encoder(name, weights=weights) for name in names),
    )
    own = next(one for one in found.comparisons if one.candidate == names[0])
    checks = check_same(own, same)
    command = shlex.join(["sdiag", *sys.argv[1:]])
    files = write_provenance(found, checks, out, command)
    text = "\n".join([*sentences(found, checks), f"Account: {files.document}"])
    data = facts(found, checks) | {
        "sentences": sentences(found, checks),
        "distances": rows(distance_table(found)),
        "report": str(files.document),
    }
    emit(data, text, as_json=json)
    if not all(one.passed for one in checks):
        raise typer.Exit(WeightsError.exit_code)


def facts(found: "Provenance", checks: "Sequence[Check]") -> dict[str, Any]:
    """What was found, as JSON values."""
    return {
        "post": found.post,
        "origins": found.origins,
        "margin": found.margin,
        "candidates": [
            {
                "name": one.candidate,
                "ranked": one.ranked,
                "related": one.related,
                "identical": one.identical,
                "coverage": one.coverage,
                "counts": one.counts,
                "switches": one.switches,
            }
            for one in found.comparisons
        ],
        "self_tests": [
            {"prefix": one.prefix, "n": one.n, "same": one.same, "passed": one.passed}
            for one in checks
        ],
    }


def plan(
    model: str | None, post: str | None, candidates: list[str] | None
) -> tuple[str, list[str], tuple[str, ...]]:
    """The encoder to trace, its candidates with the pair's own pre side first, the self-tests."""
    from degradation.encoders.catalogue import PAIRS, canonical, find_pair
    from degradation.encoders.registry import get_pair
    from degradation.encoders.shipped import tiny_steps
    from degradation.errors import ConfigError

    if post and model:
        raise ConfigError("Give either --model or --post, not both.")
    if post:
        if not candidates:
            raise ConfigError("--post needs at least one --candidate. Name what it may come from.")
        row = find_pair(candidates[0], post)
        return post, list(dict.fromkeys(map(canonical, candidates))), row.same if row else ()
    pair = get_pair(model or "tiny")
    row = PAIRS.get(pair.name)
    known = row.candidates if row else ()
    if pair.name == "tiny":
        known = tuple(f"tiny:{step}" for step in tiny_steps())
    names = dict.fromkeys(map(canonical, (pair.pre, *known, *(candidates or ()))))
    return pair.post, list(names), row.same if row else ()


def rows(table: "pd.DataFrame") -> list[dict[str, Any]]:
    """A table as JSON values: what is missing or infinite is null."""
    import numpy as np

    finite = table.replace([np.inf, -np.inf], np.nan).astype(object)
    return finite.where(finite.notna(), None).to_dict(orient="records")
