"""The measurement: linear probes, gaze readouts, statistics and result records."""

from degradation.lazy import lazy

_NAMES = {
    "LogisticProbe": "probes.solver.estimator",
    "conflict_frame": "probes.frames",
    "conflict_pair": "probes.conflict.run",
    "diagnose_pair": "probes.diagnosis.run",
    "diagnosis_frame": "probes.frames",
    "drift_frame": "probes.frames",
    "drift_pair": "probes.drift.run",
    "probe_frame": "probes.frames",
    "probe_pair": "probes.run",
    "slice_run": "probes.slices.run",
    "where_pair": "probes.slices.where",
}
__all__ = list(_NAMES)
__getattr__ = lazy(__name__, _NAMES)
