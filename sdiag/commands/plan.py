"""`sdiag plan`: how many test images a question takes, before they are collected."""

from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Annotated

import typer

from sdiag.commands.options import Json, emit

__all__ = ["EXAMPLES", "plan"]

EXAMPLES = (
    "Examples:  sdiag plan  |  sdiag plan --drop 2 --flips 12 --images 4000  |  "
    "sdiag plan --rows-per-cluster 20 --correlation 0.3 --comparisons 60  |  "
    "sdiag plan --pilot sdiag-results"
)


def plan(
    drop: Annotated[
        float, typer.Option(help="Drop to be seen, in points.", min=0.01, max=100)
    ] = 4.0,
    flips: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of images that change sides, right to wrong or back, in %; repeat. "
            "Default: 10, 15, 25 and 35, as far as they reach the drop.",
            min=0.01,
            max=100,
        ),
    ] = None,
    score: Annotated[
        float,
        typer.Option(help="Score before, in points, for the unpaired figure.", min=0, max=100),
    ] = 60.0,
    rows_per_cluster: Annotated[
        float,
        typer.Option(
            help="Mean size of the cluster (subject, picture, clip) of an image: sum of squared "
            "sizes over their sum.",
            min=1,
        ),
    ] = 1.0,
    correlation: Annotated[
        float, typer.Option(help="Of changes between images of a cluster.", min=0, max=1)
    ] = 0.0,
    comparisons: Annotated[
        int, typer.Option(help="Declared comparisons, corrected together (Holm).", min=1)
    ] = 1,
    images: Annotated[
        int | None, typer.Option(help="Also say what drop so many images show.", min=2)
    ] = None,
    margin: Annotated[
        float, typer.Option(help="Margin of equivalence, in points.", min=0.01, max=100)
    ] = 2.0,
    alpha: Annotated[float, typer.Option(help="Two-sided level.", min=1e-6, max=0.5)] = 0.05,
    power: Annotated[
        float, typer.Option(help="Probability of seeing the drop.", min=0.05, max=0.999)
    ] = 0.8,
    pilot: Annotated[
        Path | None,
        typer.Option(
            help="Results of finished runs: take flip rates and clustering from their declared "
            "comparisons, instead of --flips, --rows-per-cluster and --correlation."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say how many test images it takes to see a drop, or to show that there is none.

    Both sides are read on the same images, which takes far fewer than two separate samples: only
    images that change sides count. Numbers are rounded to the nearest image.
    """
    if pilot is not None:
        _from_pilot(
            pilot, drop, margin, alpha=alpha, power=power, comparisons=comparisons, as_json=json
        )
        return
    from probes.statistics.power import (
        design_effect,
        detectable_drop,
        equivalence_rows,
        paired_rows,
        unpaired_rows,
    )

    effect, level = design_effect(rows_per_cluster, correlation), alpha / comparisons
    apart = effect * unpaired_rows(score / 100, drop / 100, alpha=level, power=power)
    rows = []
    usual = [rate for rate in (10.0, 15.0, 25.0, 35.0) if rate >= drop] or [drop]
    for rate in flips or usual:
        paired = effect * paired_rows(drop / 100, rate / 100, alpha=level, power=power)
        row = {
            "flips": rate,
            "paired": round(paired),
            "unpaired": round(apart),
            "equivalence": round(
                effect * equivalence_rows(margin / 100, rate / 100, alpha=alpha, power=power)
            ),
        }
        if images is not None:
            seen = 100 * detectable_drop(images / effect, rate / 100, alpha=level, power=power)
            row["detectable"] = None if isnan(seen) else seen
        rows.append(row)
    head = (
        f"Images for a drop of {drop:g} points with {100 * power:g} % power at a two-sided level "
        f"of {alpha:g}{f', Holm over {comparisons}' if comparisons > 1 else ''}"
        f"{f', design effect {effect:.3g}' if effect > 1 else ''}:"
    )
    lines = [head, "", _header(images, margin)]
    lines += [_line(row, images) for row in rows]
    lines += ["", f"Unpaired: of each of two separate samples, from a score of {score:g}."]
    found = {"drop": drop, "alpha": alpha, "power": power, "comparisons": comparisons,
             "design_effect": effect, "margin": margin, "images": images, "rows": rows}  # fmt: skip
    emit(found, "\n".join(lines), as_json=json)


def _header(images: int | None, margin: float) -> str:
    text = f"{'flips':>8}  {'paired':>10}  {'unpaired':>10}  {f'equivalent ±{margin:g}':>14}"
    return text if images is None else f"{text}  {f'drop seen with {images:,}':>24}"


def _line(row: dict[str, float | None], images: int | None) -> str:
    text = (
        f"{row['flips']:>6g} %  {row['paired']:>10,}  {row['unpaired']:>10,}  "
        f"{row['equivalence']:>14,}"
    )
    if images is None:
        return text
    seen = row["detectable"]
    return f"{text}  {'none: too few flips' if seen is None else f'{seen:.2f} points':>24}"


def _from_pilot(
    pilot: Path,
    drop: float,
    margin: float,
    *,
    alpha: float,
    power: float,
    comparisons: int,
    as_json: bool,
) -> None:
    """The same figures for each declared comparison of finished runs."""
    from probes.statistics.pilot import pilot_rows
    from reports.load import read_records

    rows = pilot_rows(
        read_records(pilot),
        drop=drop,
        margin=margin,
        alpha=alpha,
        power=power,
        comparisons=comparisons,
    )
    head = (
        f"Images of the pilot's kind for a drop of {drop:g} points with {100 * power:g} % power at "
        f"a two-sided level of {alpha:g}"
        f"{f', Holm over {comparisons}' if comparisons > 1 else ''}:"
    )
    name = max(len(f"{row.pair} {row.task} {row.question}") for row in rows)
    lines = [
        head,
        "",
        f"{'pilot':<{name}}  {'images':>7}  {'flips':>7}  {'design':>6}  {'needed':>8}  "
        f"{'drop seen':>9}  {f'equivalent ±{margin:g}':>14}",
    ]
    for row in rows:
        flips = "–" if row.flips is None else f"{row.flips:.1f} %"
        effect = "–" if row.design_effect is None else f"{row.design_effect:.2f}"
        lines.append(
            f"{f'{row.pair} {row.task} {row.question}':<{name}}  {row.images:>7,}  {flips:>7}  "
            f"{effect:>6}  {round(row.needed):>8,}  {row.detectable:>9.2f}  "
            f"{round(row.equivalence):>14,}"
        )
    lines += ["", "Design: the variance over that of independent images. Drop seen: in points, with"
              " as many images as the pilot's."]  # fmt: skip
    emit([asdict(row) for row in rows], "\n".join(lines), as_json=as_json)
