"""Average precision by ranking once and weighting often, with and without the precision envelope.

Two definitions are in use. *Plain*: the mean over positives of the precision at the threshold of
each (scikit-learn's `average_precision_score`). *Envelope* (VOC, all points): that precision is
first replaced by the highest one at its threshold or any lower, which is never less; so PISC
(Li et al. 2017) and Ego4D looking-at-me score. In both, rows with equal scores share a threshold,
so the order of rows never matters. The owners' code differs from the envelope here in two small
things: it breaks ties by the order of the sort, and GRIT's for PISC adds 1e-6 to the number of
positives, which lowers AP by less than a millionth of a positive's share.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

__all__ = ["Ranking", "average_precision", "rank"]

BLOCK = 200_000
"""Row weights handled at once, so that the passes over them stay in the processor's cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """Rows by falling score, and the thresholds that let in a positive.

    Attributes:
        order: Rows, highest score first, shape (n,).
        positives: Those of them that are positive, in that order, shape (p,).
        ends: Position in `order` of the last row at each threshold, shape (t,).
        hits: Position in `positives` of the last one at each threshold, shape (t,).
    """

    order: Int64[np.ndarray, " n"]
    positives: Int64[np.ndarray, " p"]
    ends: Int64[np.ndarray, " t"]
    hits: Int64[np.ndarray, " t"]


def rank(scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> Ranking:
    """The ranking of rows by score; at least one row."""
    order = np.argsort(-scores, kind="stable")
    ordered, mask = scores[order], positive[order]
    ends = np.nonzero(np.append(ordered[1:] != ordered[:-1], True))[0]
    # The envelope peaks, and gain is made, only at a threshold that lets in a positive.
    ends = ends[np.add.reduceat(mask.astype(int), np.append(0, ends[:-1] + 1)) > 0]
    return Ranking(order, order[mask], ends, mask.cumsum()[ends] - 1)


def average_precision(
    ranking: Ranking, weights: Float[np.ndarray, "b n"], *, envelope: bool = True
) -> Float64[np.ndarray, " b"]:
    """Average precision under each row weighting, shape (b,); NaN where no positive has weight.

    Float32 weights, which are quicker, count rows exactly up to 2^24.

    Example:
        >>> ranking = rank(np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, True, True, False]))
        >>> average_precision(ranking, np.ones((1, 4))).round(3).tolist()
        [0.667]
        >>> average_precision(ranking, np.ones((1, 4)), envelope=False).round(3).tolist()
        [0.583]
    """
    areas = np.full(len(weights), np.nan)
    if not len(ranking.positives):
        return areas
    step = max(1, BLOCK // weights.shape[1])
    for start in range(0, len(weights), step):
        drawn = weights[start : start + step]
        # Sums of whole numbers are exact in float32 as well; the quotients below are not.
        total = drawn[:, ranking.order].cumsum(axis=1)[:, ranking.ends]
        hit = drawn[:, ranking.positives].cumsum(axis=1)[:, ranking.hits]
        precision = np.zeros(hit.shape)
        np.divide(hit, total, out=precision, where=total > 0, dtype=np.float64)
        if envelope:
            backwards = precision[:, ::-1]
            np.maximum.accumulate(backwards, axis=1, out=backwards)
        gain = np.diff(hit, axis=1, prepend=hit.dtype.type(0))
        area, found = np.einsum("bt,bt->b", gain, precision), hit[:, -1].astype(np.float64)
        np.divide(area, found, out=areas[start : start + step], where=found > 0)
    return areas
