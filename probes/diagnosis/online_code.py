"""Description length of the labels given the features, by an online code, in bits.

Sender and receiver know the features and code the labels portion by portion (Voita and Titov,
arXiv 2003.12298): the first uniformly, each further one with a probe fitted on all before it, whose
number of clusters doubles. Features that hold a label in a way that a linear probe finds from few
rows give a short code; so the code measures accuracy and the rows it takes in one number.

A code may not look ahead, so nothing is chosen on held-out rows: probes of several prior
precisions p (L2 strength p / rows fitted) are mixed with weights that double with every bit a
probe has saved so far. Not knowing the best precision costs log2 of their number at most.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from probes.diagnosis.samples import class_shares, nested_portions
from probes.problems import ClassProblem
from probes.statistics.bootstrap import stream

__all__ = ["OnlineCode", "code_rows", "encode_labels", "portion_shares"]

PRECISIONS = (0.1, 1.0, 10.0, 100.0, 1000.0)
"""Of the Gaussian prior on the weights of z-scored features."""
DOUBLINGS = 7

Rows = Int64[np.ndarray, " _"]


@dataclass(frozen=True, slots=True, eq=False)
class OnlineCode:
    """Labels coded once for each random order of the clusters.

    Attributes:
        rows: The rows coded, in table order, shape (k,).
        scores: Probabilities by which each row was coded, shape (orders, k, c).
    """

    rows: Rows
    scores: Float64[np.ndarray, "o k c"]

    def bits(self, labels: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, "o k"]:
        """Bits that each row took, in each order."""
        own = np.take_along_axis(self.scores, labels[self.rows][None, :, None], axis=2)[..., 0]
        return -np.log2(own)


def portion_shares(clusters: int) -> list[float]:
    """Shares that double up to 1, from the 2^-7 or from that which leaves two clusters at least."""
    doublings = min(DOUBLINGS, int(np.log2(max(clusters, 2) / 2)))
    return [2.0**-k for k in range(doublings, -1, -1)]


def encode_labels(
    problem: ClassProblem,
    rows: Rows,
    clusters: np.ndarray,
    *,
    orders: int,
    seed: int,
    name: str,
) -> OnlineCode:
    """Code the labels of some rows.

    Args:
        problem: Features and labels.
        rows: The rows coded.
        clusters: Of all rows of the table; none is divided between portions, shape (n,).
        orders: Random orders of the clusters.
        seed: Of the run.
        name: Of the question; with the seed it decides the orders.
    """
    rows = np.sort(rows)
    shares = portion_shares(len(set(clusters[rows])))
    scores = np.empty((orders, len(rows), problem.n_classes))
    for order in range(orders):
        rng = stream(seed, f"online code/{name}/{order}")
        portions = nested_portions(clusters, rows, shares, rng=rng)
        scores[order] = code_rows(problem, rows, portions)
    return OnlineCode(rows, scores)


def code_rows(
    problem: ClassProblem, rows: Rows, portions: list[Rows]
) -> Float64[np.ndarray, "k c"]:
    """Probabilities by which each of the rows is coded, in their order, shape (k, c).

    Of every probe's probabilities 1 / (rows fitted + 1) is spread evenly, so that a class it has
    not seen costs finitely many bits.

    Args:
        problem: Features and labels.
        rows: All rows, ascending; the last portion.
        portions: Nested, each ascending.
    """
    c = problem.n_classes
    scores = np.full((len(rows), c), 1 / c)
    saved = np.zeros(len(PRECISIONS))
    for known, more in itertools.pairwise(portions):
        new = np.setdiff1d(more, known, assume_unique=True)
        if not len(new):
            continue
        each = _predictive(problem, known, new)
        weight = np.exp2(saved - saved.max())
        scores[np.searchsorted(rows, new)] = np.tensordot(weight / weight.sum(), each, axes=1)
        own = np.take_along_axis(each, problem.labels[new][None, :, None], axis=2)
        saved += np.log2(own).sum(axis=(1, 2))
    return scores


def _predictive(problem: ClassProblem, known: Rows, new: Rows) -> Float64[np.ndarray, "b k c"]:
    """Probabilities of new rows by the probe of each precision, never zero."""
    if len(np.unique(problem.labels[known])) < 2:
        shares = class_shares(problem, known)
        return np.broadcast_to(shares, (len(PRECISIONS), len(new), len(shares))).copy()
    strengths = [precision / len(known) for precision in PRECISIONS]
    scores = problem.fit(known, strengths).scores(new)
    even = 1 / (len(known) + 1)
    return (1 - even) * scores + even / problem.n_classes
