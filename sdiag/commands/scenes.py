"""`sdiag scenes`: look at the rendered world, export it, or train the pair `tiny` on it again."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from sdiag.commands.options import Json, emit

__all__ = ["app"]

EXPORT = (
    "Examples:  sdiag scenes export --as pisc pisc-mini  |  sdiag scenes export --as pisc  |  "
    "sdiag scenes export --as pisc faulty --quirk box-outside --quirk both-orders"
)

app = typer.Typer(
    help="The rendered social world and the pair that was trained on it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command(epilog="Example:  sdiag scenes preview --out scenes.png --seed 3")
def preview(
    out: Annotated[Path, typer.Option(help="PNG file to write.")] = Path("scenes.png"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world.")] = 0,
    json: Json = False,
) -> None:
    """Write a contact sheet of the rendered scenes."""
    from degradation.scenes.preview import contact_sheet

    out.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(seed=seed)
    sheet.save(out)
    emit({"file": str(out), "size": sheet.size}, f"Contact sheet: {out}", as_json=json)


@app.command(epilog=EXPORT)
def export(
    name: Annotated[
        str, typer.Option("--as", help="Data set: affectnet, hagrid, gazefollow, pisc or lam.")
    ],
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR",
            help="New or empty folder. Without it, nothing is written and quirks are listed.",
        ),
    ] = None,
    quirk: Annotated[
        list[str] | None,
        typer.Option(help="Fault of the real data set to put in; repeat for several."),
    ] = None,
    scale: Annotated[
        float, typer.Option(help="Factor on the number of samples; 1 is enough to probe.", min=0.01)
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the world.")] = 0,
    json: Json = False,
) -> None:
    """Write a miniature of a data set, as its owners ship it, out of rendered scenes."""
    from degradation.scenes.export.registry import MINIATURES, quirks_of
    from degradation.scenes.export.registry import export as write

    known = quirks_of(name)
    if folder is None:
        width = max(map(len, known))
        lines = [f"{one:<{width}}  {text}" for one, text in known.items()]
        emit({"as": name, "quirks": dict(known)}, "\n".join(lines), as_json=json)
        return
    write(name, folder, seed=seed, scale=scale, quirks=quirk or ())
    tasks, root = MINIATURES[name], shlex.quote(str(folder))
    chosen = {one: known[one] for one in quirk or ()}
    lines = [
        f"Wrote a miniature of {name} to {folder}.",
        *(f"With {one}: {text}." for one, text in chosen.items()),
        f"Next:  sdiag doctor --task {tasks[0]} --data-root {root}",
        f"       sdiag extract {' '.join(f'--task {task}' for task in tasks)} --data-root {root}",
    ]
    emit(
        {"as": name, "folder": str(folder), "tasks": tasks, "quirks": chosen, "scale": scale}
        | {"seed": seed},
        "\n".join(lines),
        as_json=json,
    )


@app.command(epilog="Example:  sdiag scenes train --out my-tiny --seed 1")
def train(
    out: Annotated[Path, typer.Option(help="Folder for the weights and the record.")] = Path(
        "tiny-weights"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, pictures and words.")] = 0,
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
