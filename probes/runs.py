"""The folder of a run: `record.json` and `predictions.parquet`, written whole and read checked."""

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError

from degradation.cache.files import write_atomically
from degradation.errors import DataError
from probes.records import SCHEMA_VERSION, RunRecord

__all__ = ["PREDICTIONS", "RECORD", "read_run", "write_run"]

RECORD, PREDICTIONS = "record.json", "predictions.parquet"
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
    path = folder / RECORD
    try:
        text = path.read_bytes()
        content = json.loads(text)
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
        record = RunRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise DataError(
            f"Expected a whole result record in {path}, found {error.error_count()} fault(s), "
            f"first at {where}: {first['msg']}. {_AGAIN}"
        ) from error
    _check_predictions(folder / PREDICTIONS, record.predictions_sha256)
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
