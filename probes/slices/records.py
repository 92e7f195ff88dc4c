"""The records that `sdiag slices` and `sdiag where` leave beside a run."""

from typing import Literal

from probes.records import Analysis, Estimate, Record

__all__ = [
    "AttributeCard",
    "CellMap",
    "RefusedSlice",
    "Region",
    "Slice",
    "SlicesRecord",
    "TokenProbe",
    "WhereRecord",
]


class Slice(Record):
    """Pre against post on the rows of one value of one attribute."""

    question: str
    attribute: str
    """`class`, `<role> area`, or the name of an attribute of the task."""
    value: str
    metric: str
    """The declared one of the question; `recall` where the slice is a class."""
    n: int
    clusters: int
    bounds: tuple[float, float] | None
    """Least and largest area of the boxes in it, as shares of the picture."""
    pre: Estimate
    post: Estimate
    delta: Estimate
    se: float
    """Standard error of the delta, as of all intervals here by the cluster jackknife."""
    p: float
    """Two-sided p of the delta, unadjusted."""
    shrunken: Estimate | None
    """The delta drawn towards the mean of the attribute's slices; None for a single slice."""


class RefusedSlice(Record):
    """A slice without numbers, and why."""

    question: str
    attribute: str
    value: str
    n: int
    clusters: int
    reason: str


class AttributeCard(Record):
    """How much the slices of one attribute differ, and the worst of them."""

    question: str
    attribute: str
    slices: int
    unknown: int
    """Rows whose value is not known."""
    mean: float
    """Of the deltas over slices, weighted by precision, in points."""
    spread: float
    """tau: standard deviation of the true deltas between slices (Paule and Mandel), in points."""
    cochran_q: float
    p: float
    """Of that Q if all slices had the same delta, by the bootstrap; unadjusted."""
    worst: str
    """Value of the slice with the lowest shrunken delta."""
    p_worst: float
    """Posterior probability that no other slice is worse."""
    lowest: Estimate
    """Delta of the worst slice, whichever it is: posterior median and 95 % interval."""


class SlicesRecord(Analysis):
    """The predictions of one run, slice by slice."""

    schema_version: Literal[1] = 1
    draws: int
    """Behind shrunken intervals and the test whether slices differ."""
    predictions_sha256: str
    """Of the predictions that were sliced."""
    blocks: dict[str, int]
    """The block of each question."""
    overall: dict[str, Estimate]
    """Delta of all rows, by question."""
    slices: tuple[Slice, ...]
    attributes: tuple[AttributeCard, ...]
    refused: tuple[RefusedSlice, ...]


class Region(Record):
    """What a probe of single tokens reads in one part of the picture."""

    question: str
    region: str
    """A role: the tokens whose cells have their centre in its box; or `background`: in no box."""
    metric: Literal["accuracy", "log_loss"]
    tokens: float
    """Mean number of tokens a picture has there."""
    n: int
    """Pictures that have the region."""
    clusters: int
    pre: Estimate
    post: Estimate
    delta: Estimate
    p: float


class CellMap(Record):
    """Mean delta of the accuracy of single tokens by place, row after row from the top.

    `frame` is `picture`, whose cells are the patches, or a role: the place is then relative to its
    box, from half a box's width left of it to half a width right of it, and so in height.
    """

    question: str
    frame: str
    rows: int
    columns: int
    delta: tuple[float | None, ...]
    """In points; None where fewer than ten clusters have a token."""
    low: tuple[float | None, ...]
    """95 % interval by t with clusters - 1 degrees of freedom, of the error over clusters."""
    high: tuple[float | None, ...]
    p: tuple[float | None, ...]
    """Two-sided, by the same t; unadjusted."""
    n: tuple[int, ...]
    """Pictures with a token there."""


class TokenProbe(Record):
    """How the probe of one question was fitted."""

    question: str
    strength_pre: float
    strength_post: float
    selection: str
    fitted_pictures: int
    fitted_tokens: int
    predicted_pictures: int
    predicted_tokens: int


class WhereRecord(Analysis):
    """Where in the picture the labels of one task can be read, before and after."""

    schema_version: Literal[1] = 1
    block: int
    grid: tuple[int, int]
    tokens_a_picture: int
    """Tokens that were drawn of each picture to fit on."""
    probes: tuple[TokenProbe, ...]
    regions: tuple[Region, ...]
    maps: tuple[CellMap, ...]
    undefined: dict[str, str]
    """Why a question or region has no numbers."""
