"""Records as files: one JSON document each, written whole and read checked.

What a record was computed from, its predictions, is known by a SHA-256 in it. Its own content is
known by another, the last key of the file, so that a number changed by hand is noticed. That is no
proof against somebody who computes it anew.
"""

import hashlib
import json
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError

from degradation.cache.files import write_atomically
from degradation.errors import DataError
from probes.records import FileRecord

__all__ = ["check_predictions", "read_record", "write_record"]

AnyRecord = TypeVar("AnyRecord", bound=FileRecord)
SEAL = "content_sha256"
"""Key of the digest of all other keys and values."""


def write_record(path: Path, record: FileRecord) -> None:
    """Write a record, over what is there.

    Raises:
        CacheError: The disk is full or cannot be written.
    """
    content = json.loads(record.model_dump_json())
    sealed = content | {SEAL: _digest(content)}
    write_atomically(path, (json.dumps(sealed, indent=1, ensure_ascii=False) + "\n").encode())


def _digest(content: Any) -> str:
    """SHA-256 of JSON values, however they are laid out in a file."""
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()


def read_record(path: Path, kind: type[AnyRecord], command: str) -> AnyRecord:
    """A record of one kind, checked against its schema and its own digest.

    Args:
        path: A JSON file.
        kind: What it should hold.
        command: Of `sdiag`, that writes it anew.

    Raises:
        DataError: It cannot be read, is of another schema, or was changed after it was written.
    """
    again = f"Run `sdiag {command}` again to rewrite it, or move the file out of the results."
    try:
        text = path.read_bytes()
        content = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"Expected a JSON result record in {path}, found: {error}. {again}"
        ) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise DataError(
            f"Expected a result record with a `schema_version` in {path}, found other JSON. "
            "Move the file out of the results."
        )
    if content["schema_version"] != kind.version():
        raise DataError(
            f"Expected schema version {kind.version()} in {path}, found "
            f"{content['schema_version']!r} (written by sdiag {content.get('tool_version', '?')}). "
            f"Run `sdiag {command}` again with this version, or report with the version that wrote "
            "it."
        )
    seal = content.pop(SEAL, None)
    if seal != _digest(content):
        found = "another SHA-256 than it says" if seal else f"no {SEAL}"
        raise DataError(
            f"Expected {path} as sdiag wrote it, found that it was changed since: its content has "
            f"{found}. {again}"
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise DataError(
            f"Expected a whole result record in {path}, found {error.error_count()} fault(s), "
            f"first at {where}: {first['msg']}. {again}"
        ) from error


def _finite(text: str) -> float:
    """A number as JSON has it; `1e400` reads as infinity elsewhere."""
    value = float(text)
    if not isfinite(value):
        _refused(text)
    return value


def _refused(text: str) -> NoReturn:
    raise ValueError(f"the number {text[:20]}, which is none")


def check_predictions(path: Path, sha256: str, *, record: Path, command: str) -> None:
    """Refuse predictions that are missing or are not those that a record was made from.

    Args:
        path: Of the predictions.
        sha256: Of the file, as the record has it.
        record: Path of the record.
        command: Of `sdiag`, that writes both anew.

    Raises:
        DataError: They are.
    """
    again = f"Run `sdiag {command}` again to rewrite it, or move the folder out of the results."
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"Expected the predictions of {record} in {path}, found: {error.strerror}. {again}"
        ) from error
    if found != sha256:
        raise DataError(
            f"{path} is not the file that {record} was made from (SHA-256 {found[:12]}, expected "
            f"{sha256[:12]}): one of them was changed after the run. {again}"
        )
