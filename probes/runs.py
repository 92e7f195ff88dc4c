"""The folder of a run: `record.json` and `predictions.parquet`, written whole and read checked.

Beside them stand the records of further analyses of the same pair and task, one file each.
"""

from pathlib import Path
from typing import TypeVar

from degradation.cache.files import write_atomically
from probes.record_files import check_predictions, read_record, write_record
from probes.records import Analysis, RunRecord

__all__ = [
    "PREDICTIONS",
    "RECORD",
    "read_analysis",
    "read_run",
    "write_analysis",
    "write_run",
]

RECORD, PREDICTIONS = "record.json", "predictions.parquet"
AnalysisKind = TypeVar("AnalysisKind", bound=Analysis)


def write_run(folder: Path, record: RunRecord, predictions: bytes) -> None:
    """Write both files of a run; the record, which names the checksum of the other, comes last.

    Raises:
        CacheError: If the disk is full or cannot be written.
    """
    write_atomically(folder / PREDICTIONS, predictions)
    write_record(folder / RECORD, record)


def read_run(folder: Path) -> RunRecord:
    """The record of a run, after checking that its predictions are the ones it was made from.

    Raises:
        DataError: The record cannot be read or is of another schema, or its predictions are
            missing or were changed.
    """
    path = folder / RECORD
    record = read_record(path, RunRecord, "probe")
    predictions = folder / PREDICTIONS
    check_predictions(predictions, record.predictions_sha256, record=path, command="probe")
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
    write_record(folder / f"{name}.json", record)


def read_analysis(folder: Path, name: str, kind: type[AnalysisKind]) -> AnalysisKind | None:
    """The record of a further analysis in the folder of a run; None if there is none.

    Raises:
        DataError: The record cannot be read or is of another schema.
    """
    path = folder / f"{name}.json"
    return read_record(path, kind, name) if path.exists() else None
