"""The record of gradient conflict, `gcd.json`, and how it is written and read.

It lies in `<results>/<pair>/`, beside the folders of the tasks, since it is about pairs of tasks;
for a model that is no pair, in a folder of the model's own. Beside it lie the scalar products that
every number follows from, one file a side: `gcd-products-pre.h5`. What is measured between two
*questions*, named `task/question` as in `scenes-relation/domain`, is a cosine or 1 minus one: from
0 (the gradients agree) over 1 (they have nothing to do with each other) to 2 (they are opposite).
"""

from pathlib import Path
from typing import Literal

from degradation.errors import PairingError
from probes.record_files import read_record, write_record
from probes.records import FileRecord, PairCard, Record

__all__ = [
    "RECORD",
    "Change",
    "ConflictRecord",
    "Head",
    "Interval",
    "PairNumbers",
    "Part",
    "QuestionCard",
    "SideRecord",
    "SizeNumbers",
    "TaskNumbers",
    "Word",
    "check_same_batches",
    "products_name",
    "read_conflict",
    "write_conflict",
]

RECORD = "gcd.json"

Word = Literal["conflict", "aligned", "unclear", "below floor"]
"""`conflict`: the 95 % interval of the corrected GCD lies above 1; `aligned`: below 1; `unclear`:
1 is inside; `below floor`: a question's own gradient cannot be told from noise."""

Labels = Literal["own", "swapped"]


class Interval(Record):
    """A number with its 95 % interval; the ends are None where there is none."""

    value: float
    low: float | None
    high: float | None


class QuestionCard(Record):
    """One question, and the rows that its gradients were taken from."""

    label: str
    """`task/question`."""
    task: str
    question: str
    social: bool
    kind: Literal["classes", "gaze"]
    block: int | None
    """Block that the head reads, None for a model with heads of its own."""
    n: int
    """Rows in all batches together."""
    clusters: int
    """Different clusters among these."""
    available: int
    """Rows of the split that could have been drawn."""
    rows_digest: str
    """SHA-256 over ids and pixel hashes in the order of the batches; the same for all sides."""


class Head(Record):
    """How the loss of a question came about on one side."""

    label: str
    probe: str
    """`logistic-l2` or `gaze-logit-l2`; `own` for a model with heads of its own."""
    strength: float | None
    """L2 strength of the fit; it is no part of the loss that is differentiated."""
    strength_from: str
    """Where the strength comes from: `run record`, or the rule by which it was chosen."""
    fitted: int
    """Rows fitted."""
    drift: float | None = None
    """Largest difference between a feature of the batches and the cached one that the head was
    fitted on, over the deviation of that feature; None if it was not looked at."""


class Part(Record):
    """A part of the parameters, whose gradients were compared on their own."""

    name: str
    """`all`, `block 2`, `attention`, `block 2 attention`, `embedding` ..."""
    block: int | None
    """None for a part of all blocks, or outside of them."""
    kind: str
    """Kind of module; empty for all kinds."""
    parameters: int
    sketched: bool
    """Whether products of different batches come from a sketch and not from whole gradients."""


class TaskNumbers(Record):
    """The gradients of one question on one part."""

    label: str
    part: str
    norm: float
    """Root mean square norm of the gradient of a batch, noise included."""
    signal: Interval | None
    """Norm of the expected gradient, from products of different batches; None if their mean is not
    positive, so that the gradient cannot be told from noise."""
    floor: float
    """1 - cosine between consecutive batches of the same question, averaged: what a question scores
    with itself, for noise alone."""


class PairNumbers(Record):
    """Two questions against each other on one part."""

    first: str
    second: str
    part: str
    raw: float
    """1 - cosine of the gradients of two batches, averaged over batches."""
    raw_of_means: float
    """1 - cosine of the gradients averaged over all batches, noise still included."""
    floor: float
    """What two gradients of the same question score, averaged over both questions."""
    cosine: Interval | None
    """Noise-corrected cosine, never clipped; the corrected GCD is 1 minus it. None below floor."""
    below_floor: tuple[str, ...]
    """Questions whose own gradient cannot be told from noise."""
    norm_ratio: Interval | None
    """Corrected norm of the first over that of the second; None below floor."""
    in_conflict: Interval
    """Share of batches with a cosine below 0, with Wilson's interval."""
    null_low: float | None
    """2.5 % quantile of the corrected cosine with the questions' gradients swapped within batches;
    None where it is undefined in more than 5 % of the draws."""
    null_high: float | None
    """97.5 % quantile of the same."""
    p: float | None
    """How often questions differ as much with their gradients swapped within batches, with the +1
    rule: small where they do not point the same way. None below floor."""
    word: Word

    @property
    def gcd(self) -> Interval | None:
        """The corrected gradient conflict degree, 1 minus the cosine."""
        if self.cosine is None:
            return None
        low, high = self.cosine.low, self.cosine.high
        return Interval(
            value=1 - self.cosine.value,
            low=None if high is None else 1 - high,
            high=None if low is None else 1 - low,
        )


class SizeNumbers(Record):
    """Two questions at one size of batch, larger ones made of consecutive ones; all parameters."""

    first: str
    second: str
    batch_size: int
    batches: int
    raw: float
    floor: float
    cosine: Interval | None
    """Noise-corrected cosine; it should not depend on the batch size."""


class SideRecord(Record):
    """The gradients of one model on the batches."""

    name: str
    """`pre`, `post`, or `step-000500`."""
    labels: Labels
    """`swapped`: heads were fitted, and gradients taken, with the labels of other clusters."""
    model: str
    digest: str
    """Of the weights."""
    step: int | None
    """Training step, of a checkpoint on the way."""
    products: str
    """Name of the file of scalar products."""
    products_sha256: str
    losses: dict[str, Interval]
    """Mean loss in nats by question, over batches."""
    heads: tuple[Head, ...]
    parts: tuple[Part, ...]
    tasks: tuple[TaskNumbers, ...]
    pairs: tuple[PairNumbers, ...]
    sizes: tuple[SizeNumbers, ...]
    signature: str
    """One line that pins all definitions behind these numbers."""

    def pair(self, first: str, second: str, part: str = "all") -> PairNumbers:
        """The numbers of two questions, in either order of the names.

        Raises:
            KeyError: There are none.
        """
        for one in self.pairs:
            if one.part == part and {one.first, one.second} == {first, second}:
                return one
        raise KeyError((first, second, part))


class Change(Record):
    """How the corrected cosine of two questions differs between two sides, on the same batches."""

    before: str
    """Name of a side."""
    after: str
    labels: Labels
    first: str
    second: str
    part: str
    cosine: Interval | None
    """After minus before, with the interval of a jackknife that leaves out the same batches on both
    sides; negative means more conflict. None where a side is below floor."""


class ConflictRecord(FileRecord):
    """Gradient conflict between the questions of several tasks, on one model or several."""

    schema_version: Literal[1] = 1
    pair: PairCard | None
    """None for a model that is not a pair of encoders."""
    model: str
    """What was measured, in words: the name of the pair, or the folder of the checkpoints."""
    definition: str
    """What the numbers mean, in one sentence."""
    reduction: str
    """How a batch becomes a loss."""
    parameters: str
    """As asked for: `encoder`, `blocks:1,2`, `connector` ..."""
    split: str
    row_list: str
    batch_size: int
    batches: int
    batches_asked: int
    """More than `batches` where a question has too few clusters."""
    arithmetic: str
    """Dtype of the forward and backward pass; sums are in float32."""
    exact: bool
    """False if all products come from sketches."""
    sketch: int
    """Numbers kept of a gradient in all, k."""
    preconditioner: str
    """`none`, or how gradients were scaled."""
    seed: int
    draws: int
    """Label swaps behind the null."""
    questions: tuple[QuestionCard, ...]
    sides: tuple[SideRecord, ...]
    changes: tuple[Change, ...]

    def side(self, name: str, labels: Labels = "own") -> SideRecord:
        """The side of that name.

        Raises:
            KeyError: There is none.
        """
        for one in self.sides:
            if (one.name, one.labels) == (name, labels):
                return one
        raise KeyError((name, labels))


def check_same_batches(first: ConflictRecord, second: ConflictRecord) -> None:
    """Check that two records are about the same batches, so that their sides can be compared.

    Raises:
        PairingError: Naming the first question whose batches differ, or that only one has.
    """
    ours, theirs = ({one.label: one for one in record.questions} for record in (first, second))
    if (first.batch_size, first.batches) != (second.batch_size, second.batches):
        raise PairingError(
            f"Expected the same batches in both records, found {first.batches} of "
            f"{first.batch_size} rows in {first.model} and {second.batches} of "
            f"{second.batch_size} in {second.model}. Measure both with the same options."
        )
    for label in dict.fromkeys([*ours, *theirs]):
        digests = [side[label].rows_digest if label in side else None for side in (ours, theirs)]
        if digests[0] != digests[1]:
            raise PairingError(
                f"Expected the same batches of {label} in both records, but {first.model} and "
                f"{second.model} were asked with different ones, or only one was. Measure both "
                "with the same tasks, rows, options and seed."
            )


def products_name(side: str, labels: Labels = "own") -> str:
    """File of the scalar products of a side."""
    return f"gcd-products-{side}{'' if labels == 'own' else '-' + labels}.h5"


def write_conflict(folder: Path, record: ConflictRecord) -> None:
    """Write the record into the folder of a pair or model.

    Raises:
        CacheError: If the disk is full or cannot be written.
    """
    write_record(folder / RECORD, record)


def read_conflict(folder: Path) -> ConflictRecord | None:
    """The record in the folder of a pair or model; None if there is none.

    Raises:
        DataError: The record cannot be read or is of another schema.
    """
    path = folder / RECORD
    return read_record(path, ConflictRecord, "gcd") if path.exists() else None
