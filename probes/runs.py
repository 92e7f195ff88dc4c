"""The folder of a run: `record.json` and `predictions.parquet`, written whole and read checked.

Beside them stand the records of further analyses of the same pair and task, one file each.
"""

import hashlib
import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from degradation.cache.files import write_atomically
from degradation.errors import DataError
from probes.records import SCHEMA_VERSION, Analysis, Record, RunRecord

__all__ = [
    "PREDICTIONS",
    "RECORD",
    "read_analysis",
    "read_record",
    "read_run",
    "write_analysis",
    "write_run",
]

RECORD, PREDICTIONS = "record.json", "predictions.parquet"
AnalysisKind = TypeVar("AnalysisKind", bound=Analysis)
AnyRecord = TypeVar("AnyRecord", bound=Record)
_AGAIN = "Run `sdiag probe` again to rewrite it, or move the folder out of the results."


def write_run(folder: Path, record: RunRecord, predictions: bytes) -> None:
    """Write both files of a run; the record, which names the checksum of the other, comes last.

    Raises:
        CacheError: If the disk is full or cannot be written.
    """
    write_atomically(folder / PREDICTIONS, predictions)
    write_atomically(folder / RECORD, (record.model_dump_json(indent=1) + "\n").encode())


def read_run(folder: Path) -> RunRecord:
    """The record of a run, after checking that its predictions are the ones it was made from.

    Raises:
        DataError: The record cannot be read or is of another schema, or its predictions are
            missing or were changed.
    """
    record = read_record(folder / RECORD, RunRecord, SCHEMA_VERSION, "probe")
    _check_predictions(folder / PREDICTIONS, record.predictions_sha256)
    return record


def write_analysis(folder: Path, name: str, record: Analysis) -> None:
    """Write the record of a further analysis, `<name>.json`, into the folder of a run.

    Args:
        folder: `<results>/<pair>/<task>/`, whether or not it holds a run already.
        name: Of the analysis, which is also that of its command: `drift`, `diagnose`, `slices`.
        record: What it found.

    Raises:
        CacheError: If the disk is full or cannot be written.
    """
    write_atomically(folder / f"{name}.json", (record.model_dump_json(indent=1) + "\n").encode())


def read_analysis(folder: Path, name: str, kind: type[AnalysisKind]) -> AnalysisKind | None:
    """The record of a further analysis in the folder of a run; None if there is none.

    Raises:
        DataError: The record cannot be read or is of another schema.
    """
    path = folder / f"{name}.json"
    return read_record(path, kind, kind.version(), name) if path.exists() else None


def read_record(path: Path, kind: type[AnyRecord], version: int, command: str) -> AnyRecord:
    """A record of one kind, checked against its schema.

    Args:
        path: A JSON file.
        kind: What it should hold.
        version: The version of its schema.
        command: Of `sdiag`, that writes it anew.

    Raises:
        DataError: It cannot be read or is of another schema.
    """
    again = f"Run `sdiag {command}` again to rewrite it, or move the file out of the results."
    try:
        text = path.read_bytes()
        content = json.loads(text)
    except (OSError, ValueError) as error:
        raise DataError(
            f"Expected a JSON result record in {path}, found: {error}. {again}"
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise DataError(
            f"Expected a result record with a `schema_version` in {path}, found other JSON. "
            "Move the file out of the results."
        )
    if content["schema_version"] != version:
        raise DataError(
            f"Expected schema version {version} in {path}, found "
            f"{content['schema_version']!r} (written by sdiag {content.get('tool_version', '?')}). "
            f"Run `sdiag {command}` again with this version, or report with the version that wrote "
            "it."
        )
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise DataError(
            f"Expected a whole result record in {path}, found {error.error_count()} fault(s), "
            f"first at {where}: {first['msg']}. {again}"
        ) from error


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
