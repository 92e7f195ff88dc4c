"""The records of transfer and of ablations: what joint training does to each metric.

`<results>/transfer/<name>.json` holds a `TransferRecord`, `<results>/ablations/<name>.json` an
`AblationRecord`. Both are made from the predictions of the runs that they name, in
`<results>/socialfusion/<run>/`, and can be made from them again. Differences are in points, errors
flipped once: positive means that the other training reads the test rows better.
"""

from pathlib import Path
from typing import Literal

from probes.record_files import read_record, write_record
from probes.records import Estimate, FileRecord, Record
from socialfusion.records import FusionSettings

__all__ = [
    "AblationRecord",
    "Count",
    "Effect",
    "RunCard",
    "Setting",
    "TransferRecord",
    "VariantCard",
    "Word",
    "ablation_path",
    "read_ablation",
    "read_transfer",
    "transfer_path",
    "write_ablation",
    "write_transfer",
]

Word = Literal["improved", "degraded", "equivalent", "undecided", "not judged"]
"""As in `probes.statistics.verdict`; `not judged` with fewer than three training seeds, where the
interval does not hold what another seed would change."""


class RunCard(Record):
    """One training run."""

    run: str
    """Folder below `<results>/socialfusion/`."""
    tasks: tuple[str, ...]
    seed: int
    steps_run: int
    samples_seen: dict[str, int]
    """By question."""
    seconds: float
    predictions_sha256: str


class Effect(Record):
    """What another training does to one metric of one question, on the same test rows."""

    question: str
    """`task/question`."""
    metric: str
    declared: bool
    """Whether it is the first metric of the question."""
    counted: bool
    """Whether it is among those by which positive transfers are counted."""
    before: float
    """Mean over seeds with the single task, or with the reference settings, in points."""
    after: float
    """The same with the other training."""
    change: Estimate
    """After less before, errors flipped. The interval holds test clusters and, from three seeds on,
    training seeds."""
    by_seed: tuple[float, ...]
    """The change of each seed."""
    se: float
    dof: float
    low_90: float
    high_90: float
    p: float
    """Two-sided, of no change."""
    p_adjusted: float
    """After the correction of its family: Holm over declared metrics, Benjamini and Hochberg over
    all others, of one list of effects."""
    sampling: float
    """Standard error from test clusters alone."""
    training: float | None
    """Deviation of one seed's change from training; None where fewer than three seeds leave it
    unknown."""
    relative: float | None
    """The change in % of what is read before above chance; None where that is not above it for
    certain, or chance is not known."""
    n: int
    clusters: int
    word: Word
    warning: str = ""
    """Why the interval may be too short."""


class Count(Record):
    """How many of the counted metrics a training improves."""

    of: int
    positive: int
    """By the point estimate."""
    negative: int
    surely_positive: int
    """Whose 95 % interval lies above 0."""
    surely_negative: int
    metrics: tuple[str, ...]
    """Which were counted, as `task/question metric`."""


class VariantCard(Record):
    """One way to compare: by a budget, on some rows."""

    name: str
    """`equal-samples`, `equal-steps`, either with `@LIST` on the rows of row lists."""
    budget: Literal["per-task", "total"]
    """`per-task`: every question sees as many rows jointly as alone (equal samples). `total`: every
    run has as many steps of as many rows (equal steps)."""
    row_list: str
    """Empty for the official rows."""
    runs: tuple[RunCard, ...]
    joint: tuple[Effect, ...]
    """All tasks together against each alone."""
    count: Count
    pairwise: dict[str, tuple[Effect, ...]]
    """By the task that was trained beside: two tasks together against each alone. Empty where pairs
    were not asked for."""
    undefined: dict[str, str]
    """Why an effect has no value, by `task/question metric`, of a pair after ` with TASK`."""


class TransferRecord(FileRecord):
    """Joint against single training, over seeds."""

    schema_version: Literal[1] = 1
    name: str
    settings: FusionSettings
    """Of the joint run of the first seed and variant."""
    tasks: tuple[str, ...]
    encoder_digest: str
    language_model_digest: str
    seeds: tuple[int, ...]
    margin: float
    """Points below which a difference is too small to matter."""
    variants: tuple[VariantCard, ...]
    signature: str
    """One line that pins all definitions behind these numbers."""

    def variant(self, name: str) -> VariantCard:
        """The variant of that name.

        Raises:
            KeyError: There is none.
        """
        for one in self.variants:
            if one.name == name:
                return one
        raise KeyError(name)


class Setting(Record):
    """One changed setting of an ablation, against the reference."""

    label: str
    changes: dict[str, str | int | float | bool]
    runs: tuple[RunCard, ...]
    trained: int
    """Number of trained parameters."""
    effects: tuple[Effect, ...]
    undefined: dict[str, str]
    """Why an effect has no value, by `task/question metric`."""


class AblationRecord(FileRecord):
    """The same tasks trained with one setting changed."""

    schema_version: Literal[1] = 1
    name: str
    settings: FusionSettings
    """The reference, with its first seed."""
    reference: str
    """The reference's value, in words."""
    runs: tuple[RunCard, ...]
    """Of the reference."""
    trained: int
    """Number of parameters that the reference trains."""
    seeds: tuple[int, ...]
    margin: float
    ablated: tuple[Setting, ...]
    signature: str


def transfer_path(results: Path, name: str) -> Path:
    """File of a transfer record."""
    return results / "transfer" / f"{name}.json"


def ablation_path(results: Path, name: str) -> Path:
    """File of an ablation record."""
    return results / "ablations" / f"{name}.json"


def write_transfer(results: Path, record: TransferRecord) -> None:
    """Write the record.

    Raises:
        CacheError: The disk is full or cannot be written.
    """
    write_record(transfer_path(results, record.name), record)


def write_ablation(results: Path, record: AblationRecord) -> None:
    """Write the record.

    Raises:
        CacheError: The disk is full or cannot be written.
    """
    write_record(ablation_path(results, record.name), record)


def read_transfer(path: Path) -> TransferRecord:
    """The transfer record in a file.

    Raises:
        DataError: It cannot be read or is of another schema.
    """
    return read_record(path, TransferRecord, "transfer")


def read_ablation(path: Path) -> AblationRecord:
    """The ablation record in a file.

    Raises:
        DataError: It cannot be read or is of another schema.
    """
    return read_record(path, AblationRecord, "ablate")
