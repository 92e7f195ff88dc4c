"""Result records off the disk, checked: whole, of this schema, and with untouched predictions.

A results folder holds one folder a run, `<results>/<pair>/<task>/`, with `record.json` and
`predictions.parquet`. Whatever is not exactly that is refused with the file's name; a report
made from damaged evidence is worse than none.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from degradation.errors import ConfigError, DataError
from probes.records import SCHEMA_VERSION, RunRecord

__all__ = ["Results", "load_results", "read_records"]

RECORD, PREDICTIONS = "record.json", "predictions.parquet"
_AGAIN = "Run `sdiag probe` again to rewrite it, or move the folder out of the results."


@dataclass(frozen=True, slots=True)
class Results:
    """All runs below a results folder, and the folders that hold no finished run.

    Attributes:
        records: Sorted by pair and task name.
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
            were changed, or two records describe the same pair and task.
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
        record = _read(path)
        key = (record.pair.name, record.task.name)
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
    """The records of `load_results`, by pair and task name; it raises what that raises."""
    return load_results(results).records


def _hidden(path: Path, root: Path) -> bool:
    """Whether some folder between root and path is hidden: a run that is still being written."""
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _read(path: Path) -> RunRecord:
    """One record, validated, with its predictions checked."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"Expected a JSON result record in {path}, found: {error}. {_AGAIN}"
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise DataError(
            f"Expected a result record with a `schema_version` in {path}, found other JSON. "
            "Move the file out of the results."
        )
    if content["schema_version"] != SCHEMA_VERSION:
        raise DataError(
            f"Expected schema version {SCHEMA_VERSION} in {path}, found "
            f"{content['schema_version']!r} (written by sdiag {content.get('tool_version', '?')}). "
            "Run `sdiag probe` again with this version, or report with the version that wrote it."
        )
    try:
        record = RunRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise DataError(
            f"Expected a whole result record in {path}, found {error.error_count()} fault(s), "
            f"first at {where}: {first['msg']}. {_AGAIN}"
        ) from error
    _check_predictions(path.with_name(PREDICTIONS), record.predictions_sha256)
    return record


def _check_predictions(path: Path, expected: str) -> None:
    """Refuse predictions that are missing or are not those that the record was made from."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"Expected the predictions of {path.with_name(RECORD)} in {path}, "
            f"found: {error.strerror}. {_AGAIN}"
        ) from error
    if found != expected:
        raise DataError(
            f"Expected predictions with SHA-256 {expected[:12]} in {path}, found {found[:12]}: "
            f"the file or its record was changed after the run. {_AGAIN}"
        )
