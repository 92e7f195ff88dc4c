"""`sdiag plan`: how many test images a question takes, before they are collected."""

from dataclasses import asdict, dataclass
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
    aim = _Aim(drop, margin, alpha, power, comparisons)
    if pilot is not None:
        _from_pilot(pilot, aim, as_json=json)
        return
    from probes.statistics.power import design_effect, unpaired_rows

    effect, level = design_effect(rows_per_cluster, correlation), alpha / comparisons
    apart = round(effect * unpaired_rows(score / 100, drop / 100, alpha=level, power=power))
    usual = [rate for rate in (10.0, 15.0, 25.0, 35.0) if rate >= drop] or [drop]
    rows = [_row(rate, aim, effect, apart, images) for rate in flips or usual]
    design = f"{aim.text}, design effect {effect:.3g}" if effect > 1 else aim.text
    lines = [f"Images for {design}:", "", _header(images, margin)]
    lines += [_line(row, images) for row in rows]
    lines += ["", f"Unpaired: of each of two separate samples, from a score of {score:g}."]
    found = asdict(aim) | {"design_effect": effect, "images": images, "rows": rows}
    emit(found, "\n".join(lines), as_json=json)


@dataclass(frozen=True, slots=True)
class _Aim:
    """What is to be seen, and how surely; in points and as fractions."""

    drop: float
    margin: float
    alpha: float
    power: float
    comparisons: int

    @property
    def text(self) -> str:
        """The aim in words."""
        many = f", Holm over {self.comparisons}" if self.comparisons > 1 else ""
        return (
            f"a drop of {self.drop:g} points with {100 * self.power:g} % power at a two-sided "
            f"level of {self.alpha:g}{many}"
        )


def _row(
    rate: float, aim: _Aim, effect: float, unpaired: int, images: int | None
) -> dict[str, float | None]:
    """The figures at one flip rate, in %."""
    from probes.statistics.power import detectable_drop, equivalence_rows, paired_rows

    flips, level = rate / 100, aim.alpha / aim.comparisons
    paired = effect * paired_rows(aim.drop / 100, flips, alpha=level, power=aim.power)
    equal = effect * equivalence_rows(aim.margin / 100, flips, alpha=aim.alpha, power=aim.power)
    row: dict[str, float | None] = {
        "flips": rate,
        "paired": round(paired),
        "unpaired": unpaired,
        "equivalence": round(equal),
    }
    if images is not None:
        seen = 100 * detectable_drop(images / effect, flips, alpha=level, power=aim.power)
        row["detectable"] = None if isnan(seen) else seen
    return row


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


def _from_pilot(pilot: Path, aim: _Aim, *, as_json: bool) -> None:
    """The same figures for each declared comparison of finished runs."""
    from probes.statistics.pilot import pilot_rows
    from reports.load import read_records

    rows = pilot_rows(read_records(pilot), **asdict(aim))
    names = [f"{row.pair} {row.task} {row.question}" for row in rows]
    width = max(map(len, names))
    lines = [
        f"Images of the pilot's kind for {aim.text}:",
        "",
        f"{'pilot':<{width}}  {'images':>7}  {'flips':>7}  {'design':>6}  {'needed':>8}  "
        f"{'drop seen':>9}  {f'equivalent ±{aim.margin:g}':>14}",
    ]
    for name, row in zip(names, rows, strict=True):
        flips = "–" if row.flips is None else f"{row.flips:.1f} %"
        effect = "–" if row.design_effect is None else f"{row.design_effect:.2f}"
        lines.append(
            f"{name:<{width}}  {row.images:>7,}  {flips:>7}  {effect:>6}  {round(row.needed):>8,}  "
            f"{row.detectable:>9.2f}  {round(row.equivalence):>14,}"
        )
    lines += [
        "",
        "Design: the variance over that of independent images.",
        "Drop seen: in points, with as many images as the pilot's.",
    ]
    emit([asdict(row) for row in rows], "\n".join(lines), as_json=as_json)
