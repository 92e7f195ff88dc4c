"""The result record: what a probe run leaves behind, and all that a report may read.

A run is one folder, `<results>/<pair>/<task>/`, with `record.json` (a `RunRecord`) and
`predictions.parquet` (one row per test sample, question, block, probe and side). Every number of
the record can be recomputed from the predictions. Scores, errors and deltas are in points
(x 100); a delta is post minus pre and negative means worse, for errors too.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "Baseline",
    "Comparison",
    "Estimate",
    "Numbers",
    "OriginCard",
    "PairCard",
    "RunRecord",
    "SplitCard",
    "TaskCard",
]

SCHEMA_VERSION = 1


class Record(BaseModel):
    """Base of all records: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(Record):
    """A number with its 95 % interval (paired cluster bootstrap, percentile), in points."""

    value: float
    low: float
    high: float


class TaskCard(Record):
    """The task as it was asked (the fields of `degradation.tasks.task.TaskSpec` that matter)."""

    name: str
    kind: Literal["classes", "pair-classes", "gaze", "track"]
    social: bool
    label_sets: dict[str, tuple[str, ...]]
    regions: tuple[str, ...]
    metrics: dict[str, tuple[str, ...]]
    cluster: str
    source: str


class OriginCard(Record):
    """Where published weights were read from (see `degradation.encoders.encoder.Origin`)."""

    place: str
    revision: str | None
    files: dict[str, str]


class PairCard(Record):
    """Both encoders, with the digests of their weights and the lineage of the pair."""

    name: str
    pre: str
    post: str
    pre_digest: str
    post_digest: str
    lineage: str
    source: str
    protocol: str
    imported: bool
    pre_origin: OriginCard | None = None
    """None for weights that ship or come through another library, and in older records."""
    post_origin: OriginCard | None = None


class SplitCard(Record):
    """One split as it was probed."""

    rows_digest: str
    n: int
    clusters: int
    left_out: dict[str, int]
    """Number of rows left out, by reason."""


class Baseline(Record):
    """What the same probe reads without the encoder."""

    question: str
    name: str
    """`prior`, `boxes`, `pixels`, `histogram`; for gaze `centre`, `head-position`, `pixels`."""
    metric: str
    estimate: Estimate


class Numbers(Record):
    """Pre against post, as far as the predictions decide it."""

    pre: Estimate
    post: Estimate
    delta: Estimate
    delta_low_90: float
    """Lower end of the 90 % interval of the delta, for the equivalence test."""
    delta_high_90: float
    p: float
    """Two-sided p of the delta by the same paired cluster bootstrap, unadjusted."""
    p_mcnemar: float | None
    """Exact McNemar p; None unless the metric is accuracy."""
    broken: int | None
    """Rows right before and wrong after; None where an outcome is not right or wrong."""
    fixed: int | None
    n: int
    clusters: int


class Comparison(Numbers):
    """Pre against post on one question, block, probe and metric."""

    question: str
    """A label set of the task, or `gaze`."""
    block: int
    probe: str
    metric: str
    higher_is_better: bool
    confirmatory: bool
    """True for the block and metric declared before looking."""
    strength_pre: float
    """Chosen L2 strength (see `probes.logistic`)."""
    strength_post: float
    selection: str
    """How the strengths were chosen, for example `validation split, log-loss`."""
    signature: str
    """One line that pins all definitions behind this number."""


class RunRecord(Record):
    """One pair on one task."""

    schema_version: Literal[1] = SCHEMA_VERSION
    tool_version: str
    task: TaskCard
    pair: PairCard
    splits: dict[str, SplitCard]
    seed: int
    draws: int
    """Bootstrap draws behind the intervals."""
    baselines: tuple[Baseline, ...]
    comparisons: tuple[Comparison, ...]
    predictions_sha256: str
