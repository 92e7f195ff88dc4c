"""Leakage between the splits of data sets: shared files, near-duplicates, clusters, labels."""

from degradation.audit.audit import (
    RADIUS,
    Audit,
    RowList,
    SplitCount,
    audit_tasks,
    write_clean_lists,
)
from degradation.audit.implied_labels import ImpliedLabels
from degradation.audit.overlaps import Exposed, Kind, Overlap

__all__ = [
    "RADIUS",
    "Audit",
    "Exposed",
    "ImpliedLabels",
    "Kind",
    "Overlap",
    "RowList",
    "SplitCount",
    "audit_tasks",
    "write_clean_lists",
]
