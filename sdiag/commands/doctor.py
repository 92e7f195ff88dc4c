"""`sdiag doctor`: is this folder the data set that it should be?"""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sdiag.commands.options import Json, emit
from sdiag.commands.task_roots import DataRoot, RootedTasks, task_roots

if TYPE_CHECKING:
    from degradation.doctor import Examination, Fault, Split

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES = (
    "Examples:  sdiag doctor --task affectnet --data-root AffectNet/  |  "
    "sdiag doctor --task manifest:labels.csv  |  "
    "sdiag doctor --task hagrid=/data/hagrid --task lam=/data/ego4d --json"
)

_WIDTH = 100


def doctor(
    task: RootedTasks = None,
    data_root: DataRoot = None,
    pictures: Annotated[int, typer.Option(help="How many pictures to open.", min=0)] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Decides which pictures.")] = 0,
    json: Json = False,
) -> None:
    """Say what a data set is, what of it is there, and what cannot be used, with the reasons.

    Where the data come from and under which licence is said even if the folder is missing. The
    exit code is 0 if the task can be used, else that of the error.
    """
    from degradation.doctor import examine

    found = [
        examine(name, root, sample=pictures, seed=seed)
        for name, root in task_roots(task, data_root).items()
    ]
    emit(
        [facts(one) for one in found],
        "\n\n".join("\n".join(account(one)) for one in found),
        as_json=json,
    )
    if code := next((one.exit_code for one in found if one.exit_code), 0):
        raise typer.Exit(code)


def facts(found: "Examination") -> dict[str, Any]:
    """What was found, as JSON values."""
    from degradation.cache.schema import plain

    return plain(found) | {
        "folder": str(found.folder) if found.folder else None,
        "usable": not found.errors,
    }


def account(found: "Examination") -> Iterator[str]:
    """What was found, for people, line by line."""
    yield found.task if found.about is None else f"{found.task}: {found.about.title}"
    if found.about:
        yield from _item("paper", found.about.paper)
        yield from _item("from", found.about.page)
        yield from _item("access", found.about.access)
        yield from _item("licence", found.about.licence)
        for note in found.about.notes:
            yield from _item("note", note)
        yield from _layout(found)
    elif found.source:
        yield from _item("source", found.source)
    for split in found.splits:
        yield from _split(split, found.unit)
    if found.pictures:
        opened, bad = found.pictures.opened, sum(one.count for one in found.pictures.faults)
        yield f"  pictures: {opened} of {found.pictures.of:,} opened, {bad} failed"
        yield from _faults(found.pictures.faults)
    for warning in found.warnings:
        yield from _item("warning", warning)
    for error in found.errors:
        yield from _item("error", error)
    yield "  can be used" if not found.errors else "  cannot be used"


def _layout(found: "Examination") -> Iterator[str]:
    if not found.layout:
        yield "  expected in the data root (give --data-root to check):"
        for pattern, what in found.about.layout.items():
            yield from _item(f"  {pattern}", what)
        return
    yield f"  layout of {found.folder}:"
    for part in found.layout:
        count = f"{part.found:,}{'+' if part.more else ''}" if part.found else "not found"
        yield from _item(f"  {part.pattern} ({count})", part.what)


def _split(split: "Split", unit: str) -> Iterator[str]:
    known = "" if split.known is None else f"; the release has {split.known:,}: {split.state}"
    yield (
        f"  {split.name}: {split.rows:,} rows of {split.clusters:,} clusters ({unit}), "
        f"{split.left_out:,} left out{known}"
    )
    for name, labels in split.labels.items():
        counts = ", ".join(f"{one} {count:,}" for one, count in labels.counts.items())
        unknown = f", unknown {labels.unknown:,}" if labels.unknown else ""
        yield from _item(f"  {name}", f"{counts}{unknown}")
        if labels.baseline is not None:
            yield f"    always {labels.majority!r}: {100 * labels.baseline:.1f} % right"
    if split.points:
        low, median, high = split.points.annotators
        centre = "" if split.points.centre is None else f"{100 * split.points.centre:.1f}"
        yield (
            f"    targets of {split.points.rows:,} rows, {low} to {high} annotators a row "
            f"(median {median:g}); always the centre: L2 error {centre or '–'}"
        )
    yield from _faults(split.faults)


def _faults(faults: "tuple[Fault, ...]") -> Iterator[str]:
    for one in faults:
        yield from _item(f"  {one.count:,} x", f"{one.reason} (such as {one.example})")


def _item(head: str, text: str) -> Iterator[str]:
    """`head: text`, wrapped under its start; a count needs no colon."""
    colon = "" if head.endswith(" x") else ":"
    yield from textwrap.wrap(
        f"  {head}{colon} {text}",
        _WIDTH,
        subsequent_indent=" " * 6,
        break_long_words=False,
        break_on_hyphens=False,
    )
