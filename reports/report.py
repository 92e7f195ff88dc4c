"""The report: `report.md` and `report.html`, figures and numbers, from result records only.

The report is written beside its destination and moved there when it is whole, so a run that fails
leaves an earlier report as it was, and no half of a new one.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import pandas as pd

from degradation.errors import ConfigError
from reports.document import MARKER, Settings, compose
from reports.html import PAGE_MARKER, page
from reports.load import load_results
from reports.verdicts.cells import judged_cells
from reports.verdicts.tables import declared_table

__all__ = ["ReportSummary", "write_report"]

DOCUMENT, PAGE, NUMBERS, FIGURES = "report.md", "report.html", "numbers.csv", "figures"
PARTS = (FIGURES, NUMBERS, PAGE, DOCUMENT)
"""All that a report is, in the order in which it is put in place."""
DRAFT = ".draft-"
"""Beginning of the name of a folder in which a report is being written, by which process."""


@dataclass(frozen=True, slots=True, eq=False)
class ReportSummary:
    """What was written.

    Attributes:
        path: The Markdown file.
        page: The same as one HTML file that needs no other.
        table: The confirmatory comparisons, as `verdict_table` returns them.
        incomplete: What is missing from the results, one sentence in Markdown each.
    """

    path: Path
    page: Path
    table: pd.DataFrame
    incomplete: tuple[str, ...]


def write_report(
    results: Path,
    out: Path,
    *,
    margin: float = 2.0,
    alpha: float = 0.05,
    command: str | None = None,
) -> ReportSummary:
    """Write `report.md`, `report.html`, `numbers.csv` and `figures/` into the folder `out`.

    Args:
        results: Folder of the runs, `<results>/<pair>/<task>/`.
        out: Folder of the report; made if need be. An earlier report in it is replaced, other
            files in it and in its `figures/` are left alone.
        margin: Equivalence margin in points, not negative.
        alpha: Level of the tests, between 0 and 1.
        command: Command line that made the report, for its last section.

    Returns:
        The path of the Markdown, the verdict table, and what is missing.

    Raises:
        ConfigError: A setting that cannot be used, no records, or `out` cannot be written or
            holds something of a report's name that is not a report's.
        DataError: A record that is damaged, of another schema, or was changed after its run.
    """
    _check_settings(margin, alpha)
    loaded = load_results(results)
    cells = judged_cells(loaded.records, margin=margin, alpha=alpha)
    _check_destination(out)
    settings = Settings(margin=margin, alpha=alpha, command=command)
    with _written_whole(out) as draft:
        (draft / FIGURES).mkdir()
        document = compose(loaded, cells, settings, draft / FIGURES, draft / NUMBERS)
        (draft / DOCUMENT).write_text(document.text, encoding="utf-8", newline="\n")
        (draft / PAGE).write_text(page(document.text, draft), encoding="utf-8", newline="\n")
    shown = declared_table(cells)
    return ReportSummary(out / DOCUMENT, out / PAGE, shown, document.incomplete)


def _check_settings(margin: float, alpha: float) -> None:
    """Refuse a margin or a level that means nothing."""
    if not (isfinite(margin) and margin >= 0):
        raise ConfigError(f"Expected a margin of 0 points or more, found {margin}. Try --margin 2.")
    if not 0 < alpha < 1:
        raise ConfigError(f"Expected a level between 0 and 1, found {alpha}. Try --alpha 0.05.")


def _check_destination(out: Path) -> None:
    """Refuse to replace what is not a report."""
    if os.path.lexists(out) and not os.path.isdir(out):
        raise ConfigError(f"Expected a folder for the report, found a file at {out}. Name another.")
    own = {DOCUMENT: _starts(out / DOCUMENT, MARKER), PAGE: _starts(out / PAGE, PAGE_MARKER)}
    own |= dict.fromkeys((NUMBERS, FIGURES), own[DOCUMENT])
    for name, written in own.items():
        if os.path.lexists(out / name) and not written:
            raise ConfigError(
                f"Expected no {name} or an earlier report in {out}, found a {name} that sdiag did "
                "not write. Move it away or name another folder with --out."
            )


def _starts(path: Path, marker: str) -> bool:
    """Whether a file begins as those of a report do."""
    try:
        return path.read_text(encoding="utf-8").startswith(marker)
    except (OSError, UnicodeDecodeError):
        return False


@contextlib.contextmanager
def _written_whole(out: Path) -> Iterator[Path]:
    """A draft folder beside `out`, moved into it if the block ends well, removed in any case."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out)
        draft = Path(tempfile.mkdtemp(prefix=f"{DRAFT}{os.getpid()}-", dir=out))
    except OSError as error:
        raise ConfigError(
            f"Expected a folder that can be written at {out}, found: {error.strerror}. "
            "Name another with --out."
        ) from error
    try:
        yield draft
        _move_into(out, draft)
    except OSError as error:
        raise ConfigError(
            f"Could not write the report into {out}: {error.strerror}. Free some space or name "
            "another folder with --out; an earlier report there is unchanged."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        with contextlib.suppress(OSError):
            out.rmdir()  # only if nothing was written: rmdir refuses a folder that holds anything


def _remove_abandoned(out: Path) -> None:
    """Remove the drafts of processes that are dead."""
    for draft in out.glob(f"{DRAFT}*"):
        writer = draft.name.removeprefix(DRAFT).partition("-")[0]
        try:
            os.kill(int(writer), 0)
        except ProcessLookupError:
            shutil.rmtree(draft, ignore_errors=True)
        except (PermissionError, ValueError, OverflowError):  # alive, or not a name of ours
            continue


def _move_into(out: Path, draft: Path) -> None:
    """Put a report in place file by file, the document last; put the old one back if a move fails.

    Every file is replaced in one go, so that a kill between two of them leaves none missing.
    """
    new, earlier = _files(draft), _earlier(out)
    old = draft / "old"
    for name in earlier:
        _below(old, name).write_bytes((out / name).read_bytes())
    try:
        for name in new:
            (draft / name).replace(_below(out, name))
        for name in earlier - set(new):
            (out / name).unlink()
    except OSError:
        for name in new:
            if name in earlier:
                (old / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)
        raise


def _files(folder: Path) -> list[str]:
    """The files of a report in a folder, in the order in which they are put in place."""
    return [
        file.relative_to(folder).as_posix()
        for part in PARTS
        for file in (sorted((folder / part).iterdir()) if part == FIGURES else [folder / part])
    ]


def _earlier(out: Path) -> set[str]:
    """The files of the report that is there: what is not in its text is not of it."""
    if not (out / DOCUMENT).exists():
        return set()
    text = (out / DOCUMENT).read_text(encoding="utf-8")
    stems = {Path(one).stem for one in re.findall(rf"\]\(({FIGURES}/[^)]+)\)", text)}
    figures = {f"{FIGURES}/{stem}{kind}" for stem in stems for kind in (".png", ".svg", ".csv")}
    return {name for name in (*figures, NUMBERS, PAGE, DOCUMENT) if (out / name).is_file()}


def _below(folder: Path, name: str) -> Path:
    """A path in a folder, in which its own folder is made."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
