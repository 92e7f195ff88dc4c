"""What a study file may say. Unknown keys are refused; every default is written out here.

A stage runs if its table is there: `[probe]` alone probes with the defaults. Only `[extract]` runs
without being named, since all others but `[audit]` read what it leaves.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "STAGES",
    "Ablate",
    "Audit",
    "Diagnose",
    "Drift",
    "Extract",
    "Gcd",
    "Needs",
    "PairChoice",
    "Probe",
    "Report",
    "Slices",
    "Study",
    "TaskChoice",
    "Train",
    "Transfer",
    "Where",
]

Side = Literal["pre", "post"]
Arithmetic = Literal["float32", "bfloat16"]
Count = Annotated[int, Field(ge=1)]
Changes = dict[str, str | int | float | bool]
"""Settings of a SocialFusion run by name, in place of its defaults."""

STAGES = (
    "audit", "extract", "probe", "diagnose", "drift", "slices", "where", "gcd", "train", "transfer",
    "ablate", "report",
)  # fmt: skip
"""In the order in which they run."""


class Table(BaseModel):
    """Base of all tables: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Needs(Table):
    """What must be at hand, in words, for whoever chooses a study."""

    data: str
    weights: str
    memory: str
    time: str


class PairChoice(Table):
    """A registered pair by `model`, or any two encoders by `pre` and `post`."""

    model: str | None = None
    pre: str | None = None
    post: str | None = None
    name: str | None = None
    """Of the pair that `pre` and `post` make."""
    size: Annotated[int, Field(ge=1)] | None = None
    """Picture side in pixels; native to pre if left out."""
    blocks: tuple[int, ...] | None = None
    """Blocks to store; all that both sides have if left out."""
    token_blocks: tuple[int, ...] | None = None
    """Blocks whose token maps are stored. Left out: the declared block if a stage reads them."""

    @model_validator(mode="after")
    def _one_way_to_name_it(self) -> "PairChoice":
        if (self.model is None) == (self.pre is None) or (self.pre is None) != (self.post is None):
            raise ValueError("expected either `model`, or `pre` and `post`")
        if self.model is not None and self.name is not None:
            raise ValueError("expected no `name` beside `model`, which is one")
        return self


class TaskChoice(Table):
    """A task, and where its data are."""

    name: str
    data_root: Path | None = None
    """Relative to the study's file."""


class Audit(Table):
    """Leaks between splits, within and across tasks; the options of `sdiag audit`."""

    radius: Annotated[int, Field(ge=0, le=16)] = 4
    by_name: bool = False
    clean: str = ""
    """Name of the row lists to write; that of `rows` for a study on rows without leaks."""


class Extract(Table):
    """How pictures become features; the options of `sdiag extract`."""

    geometry: Literal["squash", "pad", "short-crop", "native"] = "squash"
    max_pixels: Count | None = None
    pool: str = "mean"
    normalisation: str = "native"
    positions: Literal["none", "bicubic"] = "none"
    stage: Literal["block", "native_norm"] = "block"
    precision: Arithmetic = "float32"
    batch_size: Count = 64
    shard_rows: Count = 256
    random_init: bool = False


class Probe(Table):
    """Linear probes; the options of `sdiag probe`."""

    blocks: tuple[int, ...] | None = None
    draws: Annotated[int, Field(ge=100)] = 2000
    arms: bool = True
    curve: bool = True
    refits: Annotated[int, Field(ge=0, le=20)] = 5


class Diagnose(Table):
    """Which kind of loss; the options of `sdiag diagnose`."""

    blocks: tuple[int, ...] | None = None
    quick: bool = False
    draws: Annotated[int, Field(ge=100)] = 2000


class Drift(Table):
    """How far features moved; the options of `sdiag drift`."""

    blocks: tuple[int, ...] | None = None
    split: str = "test"
    row_cap: Annotated[int, Field(ge=50)] = 2000
    shuffles: Count = 19


class Slices(Table):
    """On which rows; needs `[probe]`."""


class Where(Table):
    """Where in the picture; needs token maps."""

    tokens: Count = 8


class Gcd(Table):
    """Gradient conflict; the options of `sdiag gcd`."""

    parameters: str = "encoder"
    batch_size: Count = 16
    batches: Annotated[int, Field(ge=2)] = 32
    split: str = "test"
    micro_batch: Count | None = None
    sketch_only: bool = False
    precondition: Literal["none", "adam"] = "none"
    swapped_labels: bool = False
    precision: Arithmetic = "float32"
    against_transfer: bool = False
    """Set beside pairwise transfer on the last side that `[transfer]` names."""


class Fusion(Table):
    """What every training of SocialFusion has."""

    sides: tuple[Side, ...] = Field(default=("pre", "post"), min_length=1)
    """Sides of every pair whose encoder it is trained on."""
    tasks: tuple[str, ...] | None = None
    """All tasks of the study if left out."""
    seeds: Count = 3
    steps: Count | None = None
    """Left out: that of `sdiag train-socialfusion` for the encoder."""
    save_every: Annotated[int, Field(ge=0)] = 0
    settings: Changes = {}
    """Any other setting of train-socialfusion."""


class Train(Fusion):
    """Runs of SocialFusion on all tasks together."""

    seeds: Count = 1


class Transfer(Fusion):
    """Joint against single; the options of `sdiag transfer`."""

    pairwise: bool = False
    budgets: tuple[Literal["per-task", "total"], ...] = Field(
        default=("per-task", "total"), min_length=1
    )


class Ablate(Fusion):
    """One setting changed; the options of `sdiag ablate`."""

    setting: str
    values: tuple[str | int | float | bool, ...] = ()


class Report(Table):
    """`report.md` and `report.html`."""

    out: Path = Path("sdiag-report")
    """Relative to the current folder, as on the command line."""


class Study(Table):
    """A study: every pair on every task, through every stage that it names."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    about: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of everything but trainings, whose seeds are 0, 1, ..."""
    device: str = "cpu"
    rows: str = ""
    """Name of row lists from `sdiag audit --clean`; empty for all rows."""
    margin: Annotated[float, Field(ge=0)] = 2.0
    """Points below which a difference is too small to matter."""
    needs: Needs | None = None
    pair: tuple[PairChoice, ...] = Field(min_length=1)
    task: tuple[TaskChoice, ...] = Field(min_length=1)
    audit: Audit | None = None
    extract: Extract = Extract()
    probe: Probe | None = None
    diagnose: Diagnose | None = None
    drift: Drift | None = None
    slices: Slices | None = None
    where: Where | None = None
    gcd: Gcd | None = None
    train: Train | None = None
    transfer: Transfer | None = None
    ablate: tuple[Ablate, ...] = ()
    report: Report | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Study":
        names = [one.name for one in self.task]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the task {twice[0]} is named twice")
        if self.slices is not None and self.probe is None:
            raise ValueError("[slices] reads the predictions of [probe], which is not there")
        pairwise = self.transfer is not None and self.transfer.pairwise
        if self.gcd is not None and self.gcd.against_transfer and not pairwise:
            raise ValueError("gcd.against_transfer needs [transfer] with pairwise = true")
        for one in (self.train, self.transfer, *self.ablate):
            if one is not None and (odd := set(one.tasks or ()) - set(names)):
                raise ValueError(f"{min(odd)} is trained on, but is no [[task]] of the study")
        return self

    @property
    def reads_tokens(self) -> bool:
        """Whether a stage reads token maps."""
        return bool(self.where or self.train or self.transfer or self.ablate)
