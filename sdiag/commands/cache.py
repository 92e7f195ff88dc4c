"""`sdiag cache`: see, check, tidy and fill the feature cache."""

from pathlib import Path
from typing import Annotated

import typer

from sdiag.commands.options import CACHE, Cache, Json, emit

__all__ = ["app"]

app = typer.Typer(
    help="The feature cache: see, check, tidy, fill.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("ls", epilog="Example:  sdiag cache ls --cache sdiag-cache")
def ls(cache: Cache = CACHE, json: Json = False) -> None:
    """List the cached feature sets, and how much room kept pictures take."""
    from dataclasses import asdict

    from degradation.cache import kept_pictures, listing

    entries, pictures = listing(cache), kept_pictures(cache)
    lines = [
        f"{entry.address}  {entry.rows:>7} rows  {entry.bytes / 2**20:>8.1f} MB  "
        f"{'complete' if entry.complete else 'incomplete'}  {', '.join(entry.pairs)}"
        for entry in entries
    ]
    data = [asdict(entry) for entry in entries]
    if pictures.count:
        lines.append(
            f"pictures  {pictures.count:,} scaled  {pictures.bytes / 2**20:.1f} MB  "
            "(sdiag cache prune --pictures)"
        )
        data.append({"address": "pictures", "pictures": pictures.count, "bytes": pictures.bytes})
    emit(
        data,
        "\n".join(lines) or f"{cache} is empty.",
        as_json=json,
    )


@app.command("verify", epilog="Example:  sdiag cache verify")
def verify(cache: Cache = CACHE, json: Json = False) -> None:
    """Recompute every checksum; exit code 4 if anything is damaged."""
    from dataclasses import asdict

    from degradation.cache import verify as find_problems
    from degradation.errors import CacheError

    problems = find_problems(cache)
    emit(
        [asdict(problem) for problem in problems],
        "\n".join(f"{problem.address}: {problem.what}" for problem in problems)
        or f"{cache}: no problem found.",
        as_json=json,
    )
    if problems:
        raise typer.Exit(CacheError.exit_code)


@app.command("prune", epilog="Example:  sdiag cache prune --yes")
def prune(
    yes: Annotated[bool, typer.Option("--yes", help="Remove, not only list.")] = False,
    pictures: Annotated[
        bool,
        typer.Option("--pictures", help="Also the scaled pictures kept by --cache-pictures."),
    ] = False,
    cache: Cache = CACHE,
    json: Json = False,
) -> None:
    """Remove incomplete, damaged and unreferenced feature sets; lists them without --yes.

    A damaged side takes its pair's entry with it: extract again before pruning twice, or the good
    side goes as unreferenced.
    """
    from degradation.cache import prune as tidy

    removed = tidy(cache, apply=yes, pictures=pictures)
    verb = "Removed" if yes else "Would remove (give --yes)"
    lines = [f"{verb} {one.path}: {one.reason}, {one.bytes / 2**20:.1f} MB" for one in removed]
    emit(
        [{"path": str(one.path), "reason": one.reason, "bytes": one.bytes} for one in removed],
        "\n".join(lines) or "Nothing to remove.",
        as_json=json,
    )


@app.command(
    "import",
    epilog="Example:  sdiag cache import --pre pre.npy --post post.h5:features --rows rows.csv "
    "--task my-task --pair my-pair",
)
def import_(
    pre: Annotated[
        str | None, typer.Option(help="npy, npz or HDF5 (FILE.h5:DATASET), shape (n, d).")
    ] = None,
    post: Annotated[str | None, typer.Option(help="The same rows after; any width.")] = None,
    rows: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: id, label, optional split and cluster.")
    ] = None,
    task: Annotated[str, typer.Option(help="Name of the task.")] = "imported",
    pair: Annotated[str, typer.Option(help="Name of the pair.")] = "imported",
    cache: Cache = CACHE,
    json: Json = False,
) -> None:
    """Make a cache of features that were computed elsewhere.

    With no files given, an example: scikit-learn's handwritten digits, as 8 x 8 pixels (pre) and
    averaged to 4 x 4 (post).
    """
    from degradation.errors import ConfigError
    from degradation.imported import digits_example, import_features, read_array, read_table

    given = [pre, post, rows]
    if any(given) and not all(given):
        raise ConfigError("--pre, --post and --rows go together. Give all three, or none.")
    if all(given):
        before, after, table = read_array(pre), read_array(post), read_table(rows)
    else:
        before, after, table = digits_example()
        task, pair = "digits", "digits"
    entries = import_features(before, after, table, root=cache, task=task, pair=pair)
    emit(
        [{"pair": one.pair, "task": one.task, "split": one.split} for one in entries],
        f"Imported {len(table)} rows as pair {pair} on task {task}. "
        f"Next: sdiag probe --task {task}",
        as_json=json,
    )
