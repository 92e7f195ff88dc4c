"""The record of an audit, `audit.json`: what the splits of a task share with what is learned from.

It is about the rows of a task, whatever encoder reads them, so it lies beside the folders of the
pairs, in `<results>/audits/<task>/`. One audit of several tasks leaves one record for each of
them, and the last audit of a task is the one on record.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from degradation.audit import Audit, Exposed, ImpliedLabels, Overlap, RowList, SplitCount
from degradation.cache.schema import slug
from probes.cards import tool_version
from probes.record_files import read_record, write_record
from probes.records import FileRecord

__all__ = ["RECORD", "AuditRecord", "audit_path", "audit_records", "read_audit", "write_audits"]

RECORD = "audit.json"


class AuditRecord(FileRecord):
    """What was found about one task, alone and beside the others that were audited with it."""

    schema_version: Literal[1] = 1
    task: str
    radius: int
    """Bits by which hashes of pictures that look the same may differ."""
    opened: bool
    """Whether pictures were opened; if not, they were compared by name."""
    splits: tuple[SplitCount, ...]
    """All splits that were audited together, those of other tasks too."""
    overlaps: tuple[Overlap, ...]
    """What splits of the task share with any that is learned from, also where it is nothing."""
    exposed: tuple[Exposed, ...]
    """The same in all, by task that is learned from."""
    implied: tuple[ImpliedLabels, ...]
    """What labels seen elsewhere say of those of the task."""
    row_list: str
    """Name of the row lists without leaks that were written; empty if none were."""
    kept: dict[str, int]
    """How many rows of each split of the task these keep."""

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that were audited together."""
        return frozenset(one.task for one in self.splits)

    def digests(self, task: str) -> dict[str, str]:
        """Digest of the rows of each split of a task, as they were read."""
        return {one.split: one.digest for one in self.splits if one.task == task}

    def exposed_to(self, seen: str, split: str) -> Exposed | None:
        """The rows of a split of this task that learning from a task sees; None if unknown."""
        for one in self.exposed:
            if (one.seen, one.evaluated[1]) == (seen, split):
                return one
        return None


def audit_records(found: Audit, lists: Iterable[RowList] = (), name: str = "") -> list[AuditRecord]:
    """One record for each audited task.

    Args:
        found: From `audit_tasks`.
        lists: From `write_clean_lists`; none if they were not written.
        name: Of the lists.
    """
    kept: dict[str, dict[str, int]] = {}
    for one in lists:
        kept.setdefault(one.task, {})[one.split] = one.kept
    return [
        AuditRecord(
            tool_version=tool_version(),
            task=task,
            radius=found.radius,
            opened=found.opened,
            splits=found.splits,
            overlaps=tuple(one for one in found.overlaps if one.evaluated[0] == task),
            exposed=tuple(one for one in found.exposed if one.evaluated[0] == task),
            implied=tuple(one for one in found.implied if one.evaluated[0] == task),
            row_list=name if kept else "",
            kept=kept.get(task, {}),
        )
        for task in dict.fromkeys(one.task for one in found.splits)
    ]


def audit_path(results: Path, task: str) -> Path:
    """Where the record of a task lies."""
    return results / "audits" / slug(task) / RECORD


def write_audits(results: Path, records: Sequence[AuditRecord]) -> list[Path]:
    """Write records over those of earlier audits, and return where they lie.

    Raises:
        CacheError: The disk is full or cannot be written.
    """
    paths = [audit_path(results, one.task) for one in records]
    for path, one in zip(paths, records, strict=True):
        write_record(path, one)
    return paths


def read_audit(path: Path) -> AuditRecord:
    """The record of an audit.

    Raises:
        DataError: It cannot be read, is of another schema, or was changed after it was written.
    """
    return read_record(path, AuditRecord, "audit")
