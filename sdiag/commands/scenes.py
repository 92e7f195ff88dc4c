"""`sdiag scenes`: look at the rendered world, or train the pair `tiny` on it again."""

from pathlib import Path
from typing import Annotated

import typer

from sdiag.commands.options import Json, emit

__all__ = ["app"]

app = typer.Typer(
    help="The rendered social world and the pair that was trained on it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog="Example:  sdiag scenes preview --out scenes.png --seed 3")
def preview(
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("scenes.png"),
    seed: Annotated[int, typer.Option(help="Seed of the world.")] = 0,
    json: Json = False,
) -> None:
    """Write a contact sheet of the rendered scenes."""
    from degradation.scenes.preview import contact_sheet

    out.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(seed=seed)
    sheet.save(out)
    emit({"file": str(out), "size": sheet.size}, f"Contact sheet: {out}", as_json=json)


@app.command(epilog="Example:  sdiag scenes train --out my-tiny --seed 1")
def train(
    out: Annotated[Path, typer.Option(help="Folder for the weights and the record.")] = Path(
        "tiny-weights"
    ),
    seed: Annotated[int, typer.Option(help="Seed of weights, pictures and words.")] = 0,
    shrink: Annotated[
        int, typer.Option(help="Divide the number of pictures by this, for a quick look.", min=1)
    ] = 1,
    json: Json = False,
) -> None:
    """Train the pair `tiny` from scratch with the shipped recipe (about an hour on 2 cores)."""
    from degradation.scenes.train import Recipe, train_tiny

    recipe = Recipe(seed=seed).shrunk(shrink)
    train_tiny(out, recipe)
    emit({"folder": str(out)}, f"Weights and training.json: {out}", as_json=json)
