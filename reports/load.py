"""Result records off the disk, checked: whole, of this schema, and with untouched predictions.

A results folder holds one folder a run, `<results>/<pair>/<task>/`, with `record.json` and
`predictions.parquet`. Whatever is not exactly that is refused with the file's name; a report
made from damaged evidence is worse than none.
"""

from dataclasses import dataclass
from pathlib import Path

from degradation.errors import ConfigError, DataError
from probes.records import RunRecord
from probes.runs import PREDICTIONS, RECORD, read_run

__all__ = ["Results", "load_results", "read_records"]


@dataclass(frozen=True, slots=True)
class Results:
    """All runs below a results folder, and the folders that hold no finished run.

    Attributes:
        records: Sorted by pair and task name, the rows of a list after all rows.
        unfinished: Folders, relative to the results, with predictions but no record.
    """

    records: tuple[RunRecord, ...]
    unfinished: tuple[str, ...]


def load_results(results: Path) -> Results:
    """All runs below `results`, each validated against its schema and its predictions' digest.

    Args:
        results: A results folder, or the folder of one pair or of one run in it.

    Returns:
        The records and the names of the folders of unfinished runs.

    Raises:
        ConfigError: There is no such folder, or no record in it.
        DataError: A record cannot be read, is of another schema, its predictions are missing or
            were changed, or two records describe the same pair, task and rows.
    """
    if not results.is_dir():
        raise ConfigError(
            f"Expected a folder of result records, found no folder at {results}. "
            "Name the folder that `sdiag probe` wrote to, or run `sdiag probe` first."
        )
    files = [path for path in sorted(results.rglob(RECORD)) if not _hidden(path, results)]
    if not files:
        raise ConfigError(
            f"Expected `<pair>/<task>/{RECORD}` below {results}, found none. "
            "Run `sdiag probe` first, or name the folder that it wrote to."
        )
    found: dict[tuple[str, str], tuple[Path, RunRecord]] = {}
    for path in files:
        record = read_run(path.parent)
        key = (record.pair.name, record.task.label)
        if key in found:
            raise DataError(
                f"Expected one record of pair {key[0]!r} on task {key[1]!r}, found two: "
                f"{found[key][0]} and {path}. Move one of them out of the results."
            )
        found[key] = (path, record)
    unfinished = tuple(
        path.parent.relative_to(results).as_posix()
        for path in sorted(results.rglob(PREDICTIONS))
        if not _hidden(path, results) and not path.with_name(RECORD).exists()
    )
    return Results(tuple(record for _, (_, record) in sorted(found.items())), unfinished)


def read_records(results: Path) -> tuple[RunRecord, ...]:
    """The records of `load_results`, by pair and task; it raises what that raises."""
    return load_results(results).records


def _hidden(path: Path, root: Path) -> bool:
    """Whether some folder between root and path is hidden: a run that is still being written."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)
