"""The record of drift, `drift.json`: what changed, whether or not anything was lost.

Similarities and shares are fractions (1 is the same, or all), ranks are numbers of directions and
angles are degrees: nothing here is in points, and nothing here is a loss.
"""

from typing import Literal

from probes.records import Analysis, Record

__all__ = ["BlockMap", "Curve", "DriftRecord", "Missing", "Number", "Shape", "Similarity"]


class Number(Record):
    """A value with its 95 % interval (delete-group jackknife over clusters)."""

    value: float
    low: float
    high: float


class Similarity(Record):
    """How alike the same rows are on both sides of one block."""

    measure: str
    block: int
    question: str = ""
    """The label set whose classes it reads; empty for most."""
    n: int
    number: Number
    null: float
    """Mean over shuffles of the rows of one side: what unrelated sides of this size score."""
    null_best: float
    """The most alike of the shuffles; with 19 of them, p <= 0.05 beyond it."""
    halves: float | None
    """Between random halves of the features of pre: what one encoder scores with itself."""
    chance: float | None = None
    """Exact expectation for unrelated sides, where there is one: k / (n - 1) for neighbours."""
    angles: tuple[float, ...] = ()
    """All principal angles between class subspaces, in degrees, smallest first; else empty."""


class Shape(Record):
    """A fact about each side of one block, and its change."""

    measure: str
    block: int
    question: str = ""
    n: int
    pre: Number
    post: Number
    change: Number
    """Post minus pre, paired: both sides without the same groups."""
    pre_halves: tuple[float, float] | None
    """On each half of the clusters: how far two samples of half the size differ."""
    post_halves: tuple[float, float] | None
    null: float | None = None
    """Mean over shuffles of the labels, for measures of classes."""


class Curve(Record):
    """Running shares over the principal components of each side, largest first.

    A side without a class signal above chance has no curve of it: its tuple is empty.
    """

    measure: str
    block: int
    question: str = ""
    n: int
    components: tuple[int, ...]
    pre: tuple[Number, ...]
    post: tuple[Number, ...]


class BlockMap(Record):
    """One similarity for every pair of blocks, as rows of the first side by columns of the second.

    Values with the ends of their 95 % intervals, each of shape (l, l); None for a block that does
    not tell rows apart.
    """

    measure: str
    sides: Literal["pre-post", "pre-pre", "post-post"]
    blocks: tuple[int, ...]
    n: int
    values: tuple[tuple[float | None, ...], ...]
    low: tuple[tuple[float | None, ...], ...]
    high: tuple[tuple[float | None, ...], ...]


class Missing(Record):
    """A measure that has no value, and why."""

    measure: str
    block: int
    question: str
    reason: str


class DriftRecord(Analysis):
    """Drift of one pair on the rows of one task."""

    schema_version: Literal[1] = 1
    measured: tuple[str, ...]
    """Splits whose rows were compared."""
    regions: tuple[str, ...]
    """Pooled regions, concatenated."""
    n: int
    clusters: int
    left_out: dict[str, int]
    """Rows of these splits left out, by reason."""
    block: int
    """The declared block."""
    row_cap: int
    """Most rows for measures that compare every row with every other."""
    n_capped: int
    """Rows that those had."""
    groups: int
    """Groups of the jackknife."""
    shuffles: int
    neighbours: int
    bandwidth: float
    """Of the RBF kernel, over the median distance."""
    identical: tuple[int, ...]
    """Blocks whose features are the same bit for bit."""
    similarities: tuple[Similarity, ...]
    shapes: tuple[Shape, ...]
    curves: tuple[Curve, ...]
    maps: tuple[BlockMap, ...]
    missing: tuple[Missing, ...]
    signature: str
    """One line that pins all definitions behind these numbers."""
