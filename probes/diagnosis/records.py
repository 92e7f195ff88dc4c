"""The record of a diagnosis: `diagnose.json` beside a run, with `diagnosis.parquet`.

Scores, errors and deltas are in points, negative = worse, as everywhere; shares are in per cent;
code lengths are in bits, and their delta too is negative where the features after are worse. Every
number can be recomputed from the predictions, except those about the features themselves (`signal`
and the R^2 of the maps).
"""

from typing import Literal

from probes.records import Analysis, Estimate, Numbers, Record

__all__ = [
    "Capacity",
    "CodeLength",
    "CurvePoint",
    "DiagnosisRecord",
    "QuestionDiagnosis",
    "Signal",
    "TransferParts",
    "TransferStep",
    "Word",
]

Word = Literal[
    "unchanged",
    "rotated",
    "re-mapped",
    "re-encoded",
    "no longer linear",
    "buried in noise",
    "faded",
    "gone",
    "undecided",
]


class Capacity(Record):
    """One probe on the same rows, splits and selection procedure on both sides."""

    probe: str
    """`logistic-l2` or `gaze-logit-l2`, `mlp`, `attentive`."""
    numbers: Numbers
    recovered: Estimate | None
    """Share of the linear loss that this probe does not have, in per cent; None for the linear
    probe and where nothing was lost."""
    spread_pre: float | None = None
    """Standard deviation of the score over seeds, in points; None for a probe without any."""
    spread_post: float | None = None
    chosen_pre: str = ""
    """What the held-out rows chose."""
    chosen_post: str = ""


class CurvePoint(Record):
    """The linear probe after a share of the training clusters, a mean over random subsets."""

    share: float
    rows: float
    """Rows fitted, on average."""
    subsets: int
    pre: Estimate
    post: Estimate
    delta: Estimate


class CodeLength(Record):
    """Description length of the labels by an online code, in bits a row."""

    rows: int
    orders: int
    uniform: float
    """log2 of the number of classes: the length without features."""
    pre: Estimate
    post: Estimate
    delta: Estimate
    """Bits a row that the features after save more; negative = they save less."""
    total_delta: float
    """The same for all rows together."""
    compression_pre: float
    """Uniform length over length."""
    compression_post: float


class TransferStep(Record):
    """The probe of the features before, put on mapped features after."""

    map: Literal["raw", "orthogonal", "affine"]
    numbers: Numbers
    r2: float
    """How well the map rebuilds the features before on the rows predicted."""
    r2_class_signal: float | None
    """The same along the directions of the class means."""


class TransferParts(Record):
    """What the loss of the old probe on the raw features after is made of, in points.

    The three parts add up to the delta of `pre-probe/raw`, where the widths agree.
    """

    rotation: Estimate | None
    """Brought back by the orthogonal map, as a negative delta: what the rotation had cost."""
    linear_map: Estimate | None
    """Brought back by the affine map beyond that."""
    remaining: Estimate | None
    """Lost to the old probe under either map."""


class Signal(Record):
    """Scatter between and within classes, after over before (`probes.diagnosis.signal`)."""

    signal: Estimate
    spread: Estimate
    common: float
    before: float


class QuestionDiagnosis(Record):
    """What happened to one question at one block."""

    question: str
    block: int
    metric: str
    higher_is_better: bool
    word: Word
    reasons: tuple[str, ...]
    """The numbers behind the word, one sentence each."""
    identical: bool
    """Whether the features of both sides are the same, bit for bit."""
    remains: Estimate | None
    """What is left of the score above chance, in per cent, by the linear probe."""
    capacity: tuple[Capacity, ...]
    absent: dict[str, str]
    """Why a part is missing, by its name."""
    curve: tuple[CurvePoint, ...]
    gain_pre: Estimate | None
    """Points gained by the last doubling of the training clusters."""
    gain_post: Estimate | None
    code: CodeLength | None
    transfer: tuple[TransferStep, ...]
    parts: TransferParts
    signal: Signal | None


class DiagnosisRecord(Analysis):
    """The diagnoses of one pair on one task."""

    schema_version: Literal[1] = 1
    draws: int
    margin: float
    """Points below which a difference is too small to matter."""
    questions: tuple[QuestionDiagnosis, ...]
    refused: dict[str, str]
    """Why a question could not be asked."""
    predictions_sha256: str
