"""The same rows on both sides of one block, and their values in the measures made of sums."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64

from degradation.errors import DataError
from probes.drift.anisotropy import anisotropy, anisotropy_centred
from probes.drift.cka import cka_of_sums
from probes.drift.classes import canonical_cosines, class_means, class_shares, class_signal
from probes.drift.procrustes import angle, procrustes_cosine
from probes.drift.spectrum import (
    RANKME_EPSILON,
    entropy_rank,
    participation,
    principal_axes,
    singular_values,
)
from probes.drift.sums import CrossSums, Frame, PairSums, chunks_of, finite_rows, stream_sums

__all__ = [
    "NO_SIGNAL",
    "Key",
    "Sides",
    "Values",
    "class_variance_null",
    "moment_values",
    "pair_values",
    "shuffled_values",
    "subspace_angles",
]

NO_SIGNAL = "the class means differ by no more than chance"
TOO_FEW = ", or there are fewer than two rows for each component"


class Key(NamedTuple):
    """What a value is of: a measure, and where it applies a question, a side, components."""

    measure: str
    question: str = ""
    side: str = ""
    components: int = 0


@dataclass(frozen=True, slots=True)
class Values:
    """Values by key, and why others have none.

    Attributes:
        found: Finite values.
        missing: Reasons by key.
    """

    found: dict[Key, float]
    missing: dict[Key, str]

    def add(self, keys: Sequence[Key], compute: Callable[[], Sequence[float]]) -> None:
        """Put in what `compute` returns, one value a key, or the reason why it cannot."""
        try:
            values = compute()
        except DataError as error:
            self.missing.update(dict.fromkeys(keys, str(error)))
            return
        for key, value in zip(keys, values, strict=True):
            if np.isfinite(value):
                self.found[key] = float(value)
            else:
                self.missing[key] = NO_SIGNAL + (TOO_FEW if key.measure == "fisher_top" else "")


@dataclass(frozen=True, slots=True, eq=False)
class Sides:
    """The n rows of one block.

    Attributes:
        x: Features of pre, shape (n, d).
        y: Features of post, shape (n, e); the same array where the sides are equal.
        labels: By question, the class of each row, -1 where unknown, shape (n,).
        clusters: Shape (n,).
    """

    x: Float64[np.ndarray, "n d"]
    y: Float64[np.ndarray, "n e"]
    labels: Mapping[str, Int64[np.ndarray, " n"]]
    clusters: np.ndarray

    @classmethod
    def of(
        cls,
        x: Float[np.ndarray, "n d"],
        y: Float[np.ndarray, "n e"],
        labels: Mapping[str, Int64[np.ndarray, " n"]],
        clusters: np.ndarray,
    ) -> "Sides":
        """Checked rows in the fewest coordinates that keep every measure.

        Raises:
            DataError: If a feature is not finite.
        """
        first = _in_span(finite_rows(x))
        second = first if np.array_equal(x, y) else _in_span(finite_rows(y))
        return cls(first, second, labels, clusters)

    @property
    def identical(self) -> bool:
        """Whether both sides are the same bit for bit."""
        return self.x is self.y

    def take(self, rows: np.ndarray) -> "Sides":
        """The rows at `rows` (positions or a mask)."""
        first = self.x[rows]
        return Sides(
            first,
            first if self.identical else self.y[rows],
            {name: one[rows] for name, one in self.labels.items()},
            self.clusters[rows],
        )

    def sums(self) -> PairSums:
        """Their sums, in one pass."""
        return stream_sums(chunks_of(self.x, self.y))


def _in_span(x: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n m"]:
    """Fewer rows than features: the rows in an orthonormal basis of their span, shape (n, n).

    All measures are invariant to orthogonal maps, so none notices, and what costs d^3 costs n^3.
    """
    return x if x.shape[1] <= len(x) else np.ascontiguousarray(np.linalg.qr(x.T, mode="r").T)


def moment_values(sides: Sides, sums: PairSums, components: Sequence[int]) -> Values:
    """All measures that follow from sums over rows, classes and lengths of rows.

    Args:
        sides: The rows.
        sums: Their sums.
        components: Numbers of principal components for the curves.
    """
    values = pair_values(sides, sums)
    every = [("pre", sides.x, sums.xx, sums.x), ("post", sides.y, sums.yy, sums.y)]
    for side, rows, own, frame in every[: 1 if sides.identical else 2]:
        _add_side(values, side, sides, rows, (own, frame), components)
    if sides.identical:
        for bag in (values.found, values.missing):
            bag |= {key._replace(side="post"): bag[key] for key in list(bag) if key.side == "pre"}
    return values


def pair_values(sides: Sides, sums: PairSums) -> Values:
    """Of these, the measures that compare the sides."""
    values = Values({}, {})
    values.add([Key("linear_cka")], lambda: [cka_of_sums(sums)])

    def procrustes() -> list[float]:
        cosine = procrustes_cosine(sums)
        return [angle(cosine), cosine**2]

    values.add([Key("procrustes_angle"), Key("procrustes_explained")], procrustes)
    _add_class_subspaces(values, sides, sums)
    return values


def shuffled_values(
    sides: Sides, sums: PairSums, order: Int64[np.ndarray, " n"]
) -> dict[Key, float]:
    """`pair_values` when row i of pre is set beside row `order[i]` of post.

    Classes stay with the rows of pre, so those of post mean nothing: what is left of a measure of
    class subspaces is what fitting class means to noise gives.
    """
    mixed = Sides(sides.x, sides.y[order], sides.labels, sides.clusters)
    crossed = CrossSums.of(sums.x.place(mixed.x), sums.y.place(mixed.y))
    return pair_values(mixed, PairSums(sums.x, sums.y, sums.xx, crossed, sums.yy)).found


def class_variance_null(
    sides: Sides, sums: PairSums, *, shuffles: int, rng: np.random.Generator
) -> dict[Key, float]:
    """Mean class variance under shuffled labels, where rows are clusters of their own."""
    found: dict[Key, list[float]] = {}
    rows = np.arange(len(sides.x))
    for side, x, own, frame in (
        ("pre", sides.x, sums.xx, sums.x), ("post", sides.y, sums.yy, sums.y)
    ):  # fmt: skip
        if own.flat:
            continue
        scores = frame.place(x) @ principal_axes(own)[1]
        for question, labels in sides.labels.items():
            for _ in range(shuffles):
                values = Values({}, {})
                key = Key("class_variance", question, side)
                mixed = Sides(sides.x, sides.y, {question: rng.permutation(labels)}, rows)
                _add_classes(values, side, mixed, scores, ())
                found.setdefault(key, []).extend(values.found.values())
    return {key: float(np.mean(values)) for key, values in found.items() if values}


def subspace_angles(sides: Sides, sums: PairSums) -> dict[str, tuple[float, ...]]:
    """Principal angles between class subspaces in degrees, smallest first, of each question."""
    found = {}
    for question, labels in sides.labels.items():
        with suppress(DataError):  # the measure made of the same cosines says why
            cosines = _class_cosines(sides, sums, labels)
            found[question] = tuple(np.degrees(np.arccos(cosines)).tolist())
    return found


def _class_cosines(
    sides: Sides, sums: PairSums, labels: Int64[np.ndarray, " n"]
) -> Float64[np.ndarray, " a"]:
    means = [
        class_means(frame.place(rows), labels)
        for frame, rows in ((sums.x, sides.x), (sums.y, sides.y))
    ]
    return canonical_cosines(sums, *means)


def _add_class_subspaces(values: Values, sides: Sides, sums: PairSums) -> None:
    for question, labels in sides.labels.items():
        values.add(
            [Key("class_subspace", question)],
            lambda labels=labels: [float((_class_cosines(sides, sums, labels) ** 2).mean())],
        )


def _add_side(
    values: Values,
    side: str,
    sides: Sides,
    rows: Float64[np.ndarray, "n d"],
    own: tuple[CrossSums, Frame],
    components: Sequence[int],
) -> None:
    """Ranks, anisotropy and curves of one side."""
    values.add([Key("anisotropy", side=side)], lambda: [anisotropy(rows)])
    values.add([Key("anisotropy_centred", side=side)], lambda: [anisotropy_centred(rows)])
    ranks = ("effective_rank", "effective_rank_uncentred", "rankme", "participation_ratio",
             "participation_ratio_uncentred")  # fmt: skip
    curve = [Key("variance_top", "", side, k) for k in components]
    try:
        axes = principal_axes(own[0])
    except DataError as error:
        classes = [
            Key(name, question, side)
            for name in ("class_variance", "class_top", "fisher_top")
            for question in sides.labels
        ]
        keys = [*(Key(name, side=side) for name in ranks), *curve, *classes]
        values.missing.update(dict.fromkeys(keys, str(error)))
        return
    raw = singular_values(axes, *own)
    size = min(rows.shape)
    values.add(
        [Key(name, side=side) for name in ranks],
        lambda: [
            entropy_rank(np.sqrt(axes[0])),
            entropy_rank(raw),
            entropy_rank(raw, size=size, epsilon=RANKME_EPSILON),
            participation(axes[0]),
            participation(raw**2),
        ],
    )
    running = np.append(0.0, axes[0].cumsum() / axes[0].sum())
    values.add(curve, lambda: [running[: k + 1][-1] for k in components])
    _add_classes(values, side, sides, own[1].place(rows) @ axes[1], components)


def _add_classes(
    values: Values,
    side: str,
    sides: Sides,
    scores: Float64[np.ndarray, "n r"],
    components: Sequence[int],
) -> None:
    for question, labels in sides.labels.items():
        keys = [Key("class_variance", question, side)]
        for name in ("class_top", "fisher_top"):
            keys += [Key(name, question, side, k) for k in components]

        def signal(labels: np.ndarray = labels) -> list[float]:
            found = class_signal(scores, labels, sides.clusters)
            shares = class_shares(found, n=int((labels >= 0).sum()))
            tops = [float(one[: k + 1][-1]) for one in shares for k in components]
            return [float(found[1].sum() / found[0].sum()), *tops]

        values.add(keys, signal)
