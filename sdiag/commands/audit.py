"""`sdiag audit`: what test splits share with what is learned from, within and across tasks."""

import csv
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdiag.commands.options import CACHE, RESULTS, Cache, Json, Results, emit
from sdiag.commands.task_roots import DataRoot, RootedTasks, picture_root, task_roots

if TYPE_CHECKING:
    from degradation.audit import Audit, ImpliedLabels, Overlap, RowList

__all__ = ["EXAMPLES", "audit", "audit_rows"]

EXAMPLES = (
    "Examples:  sdiag audit --task pisc-domain --task pisc-relationship --data-root PISC/  |  "
    "sdiag audit --task hagrid=/data/hagrid --task lam=/data/ego4d --clean joint --out leaks"
)

_OVERLAPS = ("evaluated", "seen in", "kind", "units", "of", "share", "rows", "of rows", "row share")
_IMPLIED = (
    "evaluated", "seen in", "rows met", "of", "share", "agreement", "majority", "backward",
    "implied",
)  # fmt: skip


def audit(
    task: RootedTasks = None,
    data_root: DataRoot = None,
    clean: Annotated[
        str | None,
        typer.Option(help="Write row lists of this name that remove the leaks from train and val."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the tables as CSV and Markdown.")
    ] = None,
    radius: Annotated[
        int, typer.Option(help="Bits by which hashes of near-duplicates may differ.", min=0, max=16)
    ] = 4,
    by_name: Annotated[
        bool,
        typer.Option(
            "--by-name", help="Open no picture: the same is only what has the same name and root."
        ),
    ] = False,
    cache: Cache = CACHE,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Find leaks: pictures, near-duplicates, clusters and labels of test that training has seen.

    Every split that is evaluated (val, test) is compared with every one that is learned from, in
    all the tasks. Hashes of pictures are kept, so that a second audit is quick. A record for each
    task goes to the results, from which the report warns.
    """
    found, lists, records = audit_rows(
        task_roots(task, data_root),
        cache=cache,
        results=results,
        radius=radius,
        open_pictures=not by_name,
        clean=clean or "",
        progress=not json,
    )
    if out:
        write_tables(found, out)
    emit(
        facts(found, lists) | {"records": [str(path) for path in records]},
        f"{account(found, lists, clean)}\n\nThe report will tell of this from {results}/audits.",
        as_json=json,
    )


def audit_rows(
    roots: Mapping[str, Path | None],
    *,
    cache: Path,
    results: Path,
    radius: int,
    open_pictures: bool = True,
    clean: str = "",
    progress: bool = False,
) -> "tuple[Audit, list[RowList], list[Path]]":
    """Audit tasks together, write row lists if they are named, and leave a record of each task.

    Args:
        roots: Data root by task.
        cache: Root of all caches, where hashes of pictures and row lists are kept.
        results: Folder of the records.
        radius: Bits by which hashes of near-duplicates may differ.
        open_pictures: If False, pictures are the same only if their names and roots are.
        clean: Name of the row lists; empty for none.
        progress: Whether to show bars on stderr.

    Returns:
        What was found, the lists that were written, and the paths of the records.

    Raises:
        ConfigError: A name of lists that is not plain, or splits that the audit does not know.
        DataError: Rows that cannot be read.
        CacheError: The disk is full or cannot be written.
    """
    from degradation.audit import audit_tasks, write_clean_lists
    from degradation.row_lists import row_list_path
    from degradation.tasks import get_task
    from probes.audits import audit_records, write_audits

    if clean:
        row_list_path(cache, clean, "task", "split")  # a wrong name is refused before hours of work
    tasks = [
        (get_task(name, data_root=root), picture_root(name, root)) for name, root in roots.items()
    ]
    found = audit_tasks(
        tasks, cache=cache, radius=radius, open_pictures=open_pictures, progress=progress
    )
    lists = write_clean_lists(found, clean, cache) if clean else []
    return found, lists, write_audits(results, audit_records(found, lists, clean))


def facts(found: "Audit", lists: "Sequence[RowList]") -> dict[str, Any]:
    """What was found, as JSON values."""
    from degradation.cache.schema import plain

    return {
        "radius": found.radius,
        "opened": found.opened,
        "splits": plain(found.splits),
        "overlaps": plain(found.overlaps),
        "implied_labels": plain(found.implied),
        "row_lists": [plain(one) | {"path": str(one.path)} for one in lists],
    }


def account(found: "Audit", lists: "Sequence[RowList]", clean: str | None) -> str:
    """What was found, for people: all that is shared, and a line on what is not."""
    shared = [one for one in found.overlaps if one.units]
    lines = [f"Compared {len(found.splits)} splits; {len(found.overlaps)} overlaps looked for."]
    lines += [
        f"{one.task}/{one.split}: of {one.pictures:,} pictures, {one.flat:,} flat (compared by "
        f"file only), {one.unreadable:,} unreadable (by name only)."
        for one in found.splits
        if one.flat or one.unreadable
    ]
    if not shared:
        lines.append("Nothing is shared.")
    if shared:
        lines += ["", _aligned(_OVERLAPS, [_overlap_cells(one) for one in shared]), ""]
        for one in shared:
            pairs = ", ".join(f"{a} = {b}" for a, b in one.examples)
            lines.append(f"{'/'.join(one.evaluated)} in {'/'.join(one.seen)}, {one.kind}: {pairs}")
    if found.implied:
        lines += ["", "Rows about the same thing, and what their labels give away:", ""]
        lines.append(_aligned(_IMPLIED, [_implied_cells(one) for one in found.implied]))
    if lists:
        lines += ["", f"Row lists {clean!r}:"]
        lines += [
            f"{one.task}/{one.split}: {one.kept:,} of {one.rows:,} rows: {one.path}"
            for one in lists
        ]
    return "\n".join(lines)


def write_tables(found: "Audit", folder: Path) -> None:
    """Write `overlaps.csv`, `implied-labels.csv` and `audit.md`.

    Raises:
        ConfigError: The folder cannot be written.
    """
    from degradation.errors import ConfigError
    from reports.markdown import code, escape, table

    overlaps = [_overlap_cells(one) for one in found.overlaps]
    implied = [_implied_cells(one) for one in found.implied]
    command = shlex.join(["sdiag", *sys.argv[1:]])
    numbers = range(3, len(_OVERLAPS))
    near = f"hashes within {found.radius} bits" if found.opened else "not looked for"
    text = [
        "# Audit",
        f"{code(command)}",
        "`file`: the same content. `near`: another file that looks the same "
        f"({near}). `cluster`: the same subject, clip ... "
        "Units are pictures, or clusters for that kind.",
        table(_OVERLAPS, [list(map(escape, row)) for row in overlaps], right=numbers),
    ]
    if implied:
        text += [
            "Rows about the same picture and boxes. Agreement: the best map from the seen label "
            "gives the right one; majority: without looking at it; backward: the map in the other "
            "direction; implied: share of all evaluated labels that were given away.",
            table(
                _IMPLIED,
                [list(map(escape, row)) for row in implied],
                right=range(2, len(_IMPLIED)),
            ),
        ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, header, rows in (
            ("overlaps.csv", _OVERLAPS, overlaps),
            ("implied-labels.csv", _IMPLIED, implied),
        ):
            with (folder / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([header, *rows])
        (folder / "audit.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"Expected a folder to write to, found {error}. Name another with --out."
        ) from error


def _overlap_cells(one: "Overlap") -> list[str]:
    return [
        "/".join(one.evaluated),
        "/".join(one.seen),
        one.kind,
        str(one.units),
        str(one.of_units),
        _percent(one.units / max(one.of_units, 1)),
        str(one.rows),
        str(one.of_rows),
        _percent(one.rows / max(one.of_rows, 1)),
    ]


def _implied_cells(one: "ImpliedLabels") -> list[str]:
    return [
        " ".join(("/".join(one.evaluated[:2]), one.evaluated[2])),
        " ".join(("/".join(one.seen[:2]), one.seen[2])),
        str(one.rows),
        str(one.of_rows),
        _percent(one.rows / one.of_rows),
        *map(_percent, (one.agreement, one.majority, one.backward, one.implied)),
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _aligned(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be; names to the left, numbers to the right."""
    table = [header, *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    text = [all(not row[i][:1].isdigit() for row in rows) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(row, widths, text, strict=True)
        ).rstrip()
        for row in table
    )
