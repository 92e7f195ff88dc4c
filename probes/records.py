"""The result record: what a probe run leaves behind, and all that a report may read.

A run is one folder, `<results>/<pair>/<task>/`, or `<task>@<row list>/` where row lists chose the
rows, with `record.json` (a `RunRecord`) and
`predictions.parquet` (one row per test sample, question, block, probe and side). Every number of
the record can be recomputed from the predictions. Scores, errors and deltas are in points
(x 100); a delta is post minus pre and negative means worse, for errors too.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = [
    "Analysis",
    "ArmCard",
    "Baseline",
    "ClassCard",
    "Comparison",
    "Estimate",
    "FileRecord",
    "Numbers",
    "OriginCard",
    "PairCard",
    "Record",
    "Robustness",
    "RunRecord",
    "SplitCard",
    "TaskCard",
    "TrainingVariance",
    "TuningPoint",
    "Undefined",
]


class Record(BaseModel):
    """Base of all records: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(Record):
    """Base of the records that are a file of their own.

    A kind declares `schema_version: Literal[N] = N`.
    """

    schema_version: int
    tool_version: str

    @classmethod
    def version(cls) -> int:
        """The version of its schema that this kind of record has."""
        return cls.model_fields["schema_version"].default


class Estimate(Record):
    """A number with its 95 % interval (paired cluster bootstrap, percentile), in points."""

    value: float
    low: float
    high: float


class ArmCard(Record):
    """A further way in which the same features were read."""

    name: str
    regions: tuple[str, ...]
    balanced: bool


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
    balanced: bool = False
    """Whether every class had the same weight in the declared fits."""
    arms: tuple[ArmCard, ...] = ()
    """The arms that were probed beside the declared one."""
    row_list: str = ""
    """Name of the row lists that chose the rows; empty for all rows of the official splits."""

    @property
    def label(self) -> str:
        """The task with its row list: `pisc-domain`, or `pisc-domain@clean`."""
        return f"{self.name}@{self.row_list}" if self.row_list else self.name


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
    """None for weights that ship or come through another library."""
    post_origin: OriginCard | None = None


class SplitCard(Record):
    """One split as it was probed."""

    rows_digest: str
    n: int
    clusters: int
    left_out: dict[str, int]
    """Number of rows left out, by reason."""
    read_digest: str
    """Digest of all rows of the split as they were read, which is what an audit knows it by."""


class Analysis(FileRecord):
    """Base of the records that further analyses leave beside a run."""

    task: TaskCard
    pair: PairCard
    splits: dict[str, SplitCard]
    seed: int


class ClassCard(Record):
    """How many rows of one class were fitted and predicted in the declared arm.

    A class that was not fitted is never predicted; one that was not predicted takes no part in the
    means over classes.
    """

    question: str
    name: str
    fitted: int
    predicted: int


class Undefined(Record):
    """A metric that has no value, and why."""

    question: str
    arm: str
    """Empty for the declared one."""
    metric: str
    reason: str


class Baseline(Record):
    """What the same probe reads without the encoder."""

    question: str
    name: str
    """`prior`, `boxes`, `pixels`, `histogram`; for gaze `centre`, `head-position`, `pixels`
    and, where rows have several annotators, `human`: one of them against the others. For both, at
    the declared block, `random-tower`: the same architecture with fresh weights; and
    `shuffled-pre`, `shuffled-post`: the features of a side with labels of other clusters."""
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
    interval: str = "paired cluster bootstrap, percentile"
    """Method behind the intervals of pre, post and delta and behind p."""
    se: float | None = None
    """Standard error of the delta, None in older records, as all below."""
    dof: float | None = None
    """Degrees of freedom of the standard error."""
    effective_clusters: float | None = None
    """How many clusters of equal size weigh as these do."""
    p_permutation: float | None = None
    """Two-sided p by swapping sides within whole clusters; None for a metric that ranks, unless it
    is the first such metric of its question."""
    percentile_low: float | None = None
    """95 % percentile interval of the delta by the paired cluster bootstrap, beside the other."""
    percentile_high: float | None = None
    bca_low: float | None = None
    """The same, bias-corrected and accelerated."""
    bca_high: float | None = None
    warning: str = ""
    """What to bear in mind where there are few clusters."""


class Comparison(Numbers):
    """Pre against post on one question, block, probe and metric."""

    question: str
    """A label set of the task, or `gaze`."""
    block: int
    probe: str
    """Name of the probe, as `logistic-l2`; with that of an arm beside the declared one after a
    slash, as `logistic-l2/image`."""
    metric: str
    higher_is_better: bool
    confirmatory: bool
    """True for the arm, block and metric declared before looking."""
    strength_pre: float
    """Chosen L2 strength (see `probes.solver.logistic`)."""
    strength_post: float
    selection: str
    """How the strengths were chosen, for example `validation split, log-loss`."""
    signature: str
    """One line that pins all definitions behind this number."""
    blocks_chosen: tuple[int, int] | None = None
    """Where each side was read at a block of its own: pre's and post's; `block` is then -1."""

    @property
    def arm(self) -> str:
        """The arm beside the declared one; empty for that."""
        return self.probe.partition("/")[2]


class TuningPoint(Record):
    """Pre against post with one strength on both sides."""

    strength: float
    pre: float
    post: float
    delta: Estimate


class TrainingVariance(Record):
    """The delta with the training clusters drawn anew, and where its uncertainty comes from.

    See `probes.statistics.variance`. Refits see fewer different clusters than the fit that is
    reported, so their mean may lie a little off it; what matters here is their spread.
    """

    refits: int
    mean: float
    """Mean delta of the refits, in points."""
    low: float
    """Lower end of its 95 % interval, for both reasons."""
    high: float
    sampling_se: float
    """Standard error from the test clusters."""
    training_sd: float
    """Standard deviation of one refit from the training clusters."""
    single_se: float
    """Standard error of the delta of one refit, for both reasons."""


class Robustness(Record):
    """Whether the declared delta would have come out otherwise."""

    question: str
    block: int
    metric: str
    tuning: tuple[TuningPoint, ...]
    """By rising strength; empty if it was not asked for."""
    training: TrainingVariance | None
    """None if it was not asked for or is undefined."""

    def against(self, delta: float) -> tuple[TuningPoint, ...]:
        """Strengths whose delta has the other sign, with an interval that leaves 0 out."""
        return tuple(
            point
            for point in self.tuning
            if delta * point.delta.value < 0 and point.delta.low * point.delta.high > 0
        )


class RunRecord(FileRecord):
    """One pair on one task."""

    schema_version: Literal[1] = 1
    task: TaskCard
    pair: PairCard
    splits: dict[str, SplitCard]
    seed: int
    draws: int
    """Bootstrap draws behind the intervals."""
    classes: tuple[ClassCard, ...] = ()
    undefined: tuple[Undefined, ...] = ()
    baselines: tuple[Baseline, ...]
    comparisons: tuple[Comparison, ...]
    robustness: tuple[Robustness, ...] = ()
    """Of the declared comparisons; empty in older records."""
    predictions_sha256: str
