"""The record of a SocialFusion run, `fusion.json`, and how it is written and read.

A run is one folder, `<results>/socialfusion/<run>/`, with `fusion.json` (a `FusionRecord`),
`fusion-predictions.parquet` (what the trained model says of every test row, in the form of
`probes.predictions`), checkpoints `checkpoint-000500/` and the trained model, `final/`. Questions
are named `task/question`, as in `scenes-relation/domain`. Scores and errors are in points (x 100);
losses are in nats.
"""

from pathlib import Path
from typing import Literal

from degradation.cache.files import write_atomically
from probes.predictions import read_predictions
from probes.questions import Prediction
from probes.record_files import check_predictions, read_record, write_record
from probes.records import Estimate, FileRecord, Record, SplitCard, TaskCard

__all__ = [
    "FINAL",
    "PREDICTIONS",
    "PROBE",
    "RECORD",
    "FrozenDigests",
    "FusionEncoder",
    "FusionRecord",
    "FusionSettings",
    "Generated",
    "LanguageModelCard",
    "LossPoint",
    "QuestionRows",
    "Score",
    "Stop",
    "Trained",
    "ValidationPoint",
    "WrittenAnswer",
    "read_fusion",
    "read_fusion_predictions",
    "run_folder",
    "write_fusion",
]

RECORD, PREDICTIONS, FINAL = "fusion.json", "fusion-predictions.parquet", "final"
PROBE = "socialfusion"
"""Name of the model in the predictions; its baseline, the class shares or the mean map of the
training rows, is `prior` with block -1."""


class FusionSettings(Record):
    """Everything that decides what is trained. Two runs with equal settings give equal numbers.

    Devices, trackers and how often checkpoints are written are no part of it.
    """

    encoder: str
    """As typed: `tiny:pre`, `qwen2-vl:post`, `PAIR:SIDE`."""
    tasks: tuple[str, ...]
    language_model: str
    """Name on the hub, or folder."""
    steps: int
    """Optimiser steps."""
    block: int | None = None
    """Encoder block whose tokens are read; None for the pair's declared one."""
    row_list: str = ""
    """Name of the row lists that chose the rows; empty for all rows of the official splits."""
    batch_size: int = 16
    seed: int = 0
    mixing: Literal["equal", "temperature"] = "equal"
    """`equal`: every step has rows of each question. `temperature`: the question of a batch is
    drawn with probability n^(1/T) over its n training rows."""
    temperature: float = 1.0
    budget: Literal["per-task", "total"] = "per-task"
    """`per-task`: each question sees `batch_size` rows a step, as in a run of its own. `total`: all
    questions share the `batch_size` rows of a step, as many as a run of one question sees."""
    accumulation: int = 1
    """Batches a step under temperature mixing, for each question that the budget counts."""
    learning_rate: float = 2e-4
    warmup: float = 0.03
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient; larger ones are scaled down to it."""
    connector_depth: int = 3
    connector_width: int = 4096
    lora_rank: int = 32
    lora_dropout: float = 0.0
    """Share of an adapter's inputs that is dropped in training."""
    heatmap_weight: float = 50.0
    box_masks: bool = True
    attention: Literal["causal", "prefix"] = "causal"
    """`causal`: as the language model was trained. `prefix`: picture and prompt see each other both
    ways, so that cells before a marked head know of it too."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    eval_every: int = 0
    """Steps between looks at the validation rows; 0 for none, then the last weights are kept."""
    patience: int = 0
    """Looks without a better validation loss after which a question stops; 0 for never."""
    validation_rows: int = 500
    """Most rows of each question that a look at the validation rows takes."""
    aggregator: str = ""
    """Name of the TorchJD aggregator that combines the questions' gradients; empty for their
    mean."""
    online: bool = False
    """Whether tokens are computed from the pictures at every step."""
    augment: bool = False
    """Whether pictures are flipped and cut at random, which needs `online`."""
    train_encoder: bool = False
    """Whether the encoder is trained along, up to the block that is read; its tokens are computed
    from the pictures at every step, as with `online`."""
    encoder_learning_rate: float | None = None
    """Peak learning rate of the encoder's weights where they are trained; None for a tenth of
    `learning_rate`."""
    vlm: bool = False
    """Whether `language_model` is a Qwen2-VL that is fine-tuned itself, in place of SocialFusion;
    of the encoder then nothing is used but the rows of its cache."""
    train_vision: bool = False
    """Whether its vision tower is trained, too."""
    max_pixels: int = 576 * 28 * 28
    """Largest area of a picture as it sees it."""

    @property
    def from_pictures(self) -> bool:
        """Whether tokens are computed from the pictures, not read from the cache."""
        return self.online or self.train_encoder


class FusionEncoder(Record):
    """The encoder whose tokens are read, before any training with `train_encoder`."""

    name: str
    digest: str
    pair: str
    """Pair in whose name the tokens were cached; empty if they were computed online."""
    side: Literal["pre", "post", "none"]
    block: int
    grid: tuple[int, int]
    width: int
    protocol: str


class LanguageModelCard(Record):
    """The frozen language model."""

    name: str
    digest: str
    """SHA-256 over the names and bytes of its weights."""


class QuestionRows(Record):
    """One question, and its rows."""

    label: str
    task: str
    name: str
    kind: Literal["classes", "gaze"]
    social: bool
    prompt: str
    classes: tuple[str, ...]
    """Empty for gaze."""
    metrics: tuple[str, ...]
    """The first is confirmatory."""
    train: int
    validation: int
    test: int
    splits: tuple[str, str, str]
    """Where the rows of train, validation and test come from: a split, or the part of one."""
    rows_digest: str
    """SHA-256 over the ids of train, validation and test."""


class LossPoint(Record):
    """Mean training losses since the point before."""

    step: int
    losses: dict[str, float]
    """By question; of those that were seen."""
    learning_rate: float
    gradient_norm: float
    """Mean, before clipping."""


class ValidationPoint(Record):
    """One look at the validation rows."""

    step: int
    losses: dict[str, float]
    """By question, the gaze loss with its weight."""
    scores: dict[str, float | None]
    """By question, its declared metric as a fraction; None where it is undefined."""


class Stop(Record):
    """When and why a question got no more batches."""

    step: int
    reason: str
    """`budget used up`, `no better validation loss in 3 looks`, or `interrupted`."""


class Score(Record):
    """One metric of one question on the test rows."""

    question: str
    """`task/question`."""
    metric: str
    higher_is_better: bool
    estimate: Estimate
    n: int
    clusters: int
    chance: float | None
    """What the prior reaches, in points; None where it has no value."""
    signature: str


class WrittenAnswer(Record):
    """What was written about one row."""

    row: str
    """Its id."""
    right: str
    text: str


class Generated(Record):
    """Free generation against scoring, on the same rows of a class question."""

    question: str
    accuracy: float
    """Share of rows, in points, whose generated text is the right answer."""
    scored: float
    """The same by the highest score."""
    other: float
    """Share of rows, in points, whose text is no answer at all."""
    n: int
    examples: tuple[WrittenAnswer, ...] = ()
    """A few rows: texts that are no answer first, then wrong answers, then right ones."""


class FrozenDigests(Record):
    """Proof that frozen parts stayed frozen: digests before training and after it.

    The encoder's is that of the cache, `EncoderInfo.digest`. Where it computes in the run, every
    tensor of it was compared before and after; where tokens come from the cache, it is not loaded.
    One that was trained along (`train_encoder`) has two digests of its weights, by
    `socialfusion.frozen`, which differ; its blocks behind the one that is read were compared.
    """

    language_model_before: str
    language_model_after: str
    encoder_before: str
    encoder_after: str


class Trained(Record):
    """What was trained."""

    parameters: dict[str, int]
    """Number of trained parameters by part: connector, boxes, heatmap, lora, encoder."""
    digest: str
    """SHA-256 over their names and bytes, as they were evaluated."""
    step: int
    """The step whose weights were evaluated."""
    rule: str
    """Why that one: `best mean validation loss`, or `last step`."""


class FusionRecord(FileRecord):
    """One run of SocialFusion."""

    schema_version: Literal[1] = 1
    run: str
    settings: FusionSettings
    encoder: FusionEncoder
    language_model: LanguageModelCard
    tasks: dict[str, TaskCard]
    splits: dict[str, dict[str, SplitCard]]
    """By task and split, as they were cached or read."""
    questions: tuple[QuestionRows, ...]
    steps_run: int
    samples_seen: dict[str, int]
    """By question, over all processes."""
    seconds: float
    """Wall time of training alone, over all of its parts."""
    losses: tuple[LossPoint, ...]
    validation: tuple[ValidationPoint, ...]
    stops: dict[str, Stop]
    trained: Trained
    frozen: FrozenDigests
    scores: tuple[Score, ...]
    undefined: dict[str, str]
    """Why a metric has no value, by `task/question metric`."""
    generated: tuple[Generated, ...] = ()
    predictions_sha256: str


def run_folder(results: Path, run: str) -> Path:
    """Folder of a run."""
    return results / "socialfusion" / run


def write_fusion(folder: Path, record: FusionRecord, predictions: bytes) -> None:
    """Write both files; the record, which names the checksum of the other, comes last.

    Args:
        folder: From `run_folder`.
        record: What came out.
        predictions: From `probes.predictions.encode`.

    Raises:
        CacheError: The disk is full or cannot be written.
    """
    write_atomically(folder / PREDICTIONS, predictions)
    write_record(folder / RECORD, record)


def read_fusion(folder: Path) -> FusionRecord | None:
    """The record of a run; None where the run is not finished or is none.

    Raises:
        DataError: The record cannot be read or is of another schema.
    """
    path = folder / RECORD
    return read_record(path, FusionRecord, "train-socialfusion") if path.exists() else None


def read_fusion_predictions(folder: Path, record: FusionRecord) -> dict[str, Prediction]:
    """What the trained model says of the test rows, by question.

    Args:
        folder: Of the run.
        record: From `read_fusion`.

    Raises:
        DataError: They are missing or are not those that the record was made from.
    """
    path = folder / PREDICTIONS
    check_predictions(
        path,
        record.predictions_sha256,
        record=folder / RECORD,
        command=f"train-socialfusion --run {record.run}",
    )
    return {one.question: one for one in read_predictions(path) if one.probe == PROBE}
