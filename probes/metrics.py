"""The metrics of the tasks, in a form that a bootstrap can evaluate for many weightings at once.

A metric maps the outcome of one side and row weights (b, n) to b values. Most are functions of sums
over rows (hits, a confusion matrix, an error), so a bootstrap over clusters needs only the sums of
each cluster; average precision depends on the ranking and takes the weights themselves.

Where a metric is undefined it is NaN, by rules stated with each: `probes.summary` turns a NaN of
the sample itself into an error and leaves NaN draws out of the interval. AUC is computed on the
encoder's grid, not at the picture's original size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64
from scipy.stats import rankdata

from degradation.errors import ConfigError, DataError

__all__ = [
    "ClassOutcome",
    "GazeOutcome",
    "Metric",
    "average_precision",
    "delta",
    "evaluate",
    "gaze_outcome",
    "resolve",
]


@dataclass(frozen=True, slots=True, eq=False)
class ClassOutcome:
    """True and predicted classes of one side.

    Attributes:
        labels: Class indices, shape (n,).
        scores: Probabilities, shape (n, c).
    """

    labels: Int64[np.ndarray, " n"]
    scores: Float32[np.ndarray, "n c"]

    @property
    def predicted(self) -> Int64[np.ndarray, " n"]:
        """The class with the highest score (the first of equals), shape (n,)."""
        return self.scores.argmax(axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class GazeOutcome:
    """Gaze metrics of each row of one side, by metric name, each of shape (n,)."""

    values: Mapping[str, Float64[np.ndarray, " n"]]


Outcome = ClassOutcome | GazeOutcome


@dataclass(frozen=True, slots=True)
class Metric:
    """One number about an outcome.

    Attributes:
        name: As typed, for example `macro_f1` or `recall:happy`.
        label: For people.
        higher_is_better: False for errors.
        rows: Outcome to the statistics of each row, shape (n, k), whose weighted sums decide the
            metric; None where the ranking does.
        finish: Sums (b, k) to values (b,).
        ranked: Outcome and weights (b, n) to values (b,); None unless `rows` is.
    """

    name: str
    label: str
    higher_is_better: bool
    rows: Callable[[Outcome], np.ndarray] | None = None
    finish: Callable[[np.ndarray], np.ndarray] | None = None
    ranked: Callable[[Outcome, np.ndarray], np.ndarray] | None = None


def evaluate(
    metric: Metric, outcome: Outcome, weights: Float[np.ndarray, "b n"] | None = None
) -> Float64[np.ndarray, " b"]:
    """Values of the metric, as fractions, under each row weighting (all ones where absent).

    Raises:
        DataError: If the outcome has no rows.

    Example:
        >>> outcome = ClassOutcome(np.array([0, 1]), np.float32([[0.9, 0.1], [0.6, 0.4]]))
        >>> evaluate(resolve("accuracy", ("no", "yes")), outcome).tolist()
        [0.5]
    """
    n = _length(outcome)
    if n == 0:
        raise DataError(f"Expected at least one row to compute {metric.name}, found none.")
    weights = np.ones((1, n)) if weights is None else weights
    if metric.rows is None:
        return metric.ranked(outcome, weights)
    return metric.finish(weights.astype(np.float64) @ metric.rows(outcome))


def _length(outcome: Outcome) -> int:
    if isinstance(outcome, ClassOutcome):
        return len(outcome.labels)
    return len(next(iter(outcome.values.values())))


def delta(
    pre: float | Float64[np.ndarray, " b"], post: float | Float64[np.ndarray, " b"], metric: Metric
) -> float | Float64[np.ndarray, " b"]:
    """Post minus pre in points, errors flipped: negative means worse for every metric."""
    # Adding 0 turns -0.0, which a flipped "no difference" would print, into 0.0.
    return (100.0 if metric.higher_is_better else -100.0) * (post - pre) + 0.0


def resolve(name: str, classes: Sequence[str]) -> Metric:
    """The metric of that name for a question with these classes (none for gaze).

    Names: `accuracy`, `micro_f1` (equal to accuracy when each row has one label), `macro_f1`,
    `mean_average_precision`, `binary_mean_average_precision`, `recall:CLASS`,
    `average_precision:CLASS`; for gaze `average_l2_error`, `minimum_l2_error`, `auc_score`.

    Raises:
        ConfigError: If there is no such metric for the question.
    """
    known = _class_metrics(tuple(classes)) if classes else _GAZE_METRICS
    if name not in known:
        raise ConfigError(f"Expected a metric among {', '.join(known)}; found {name!r}.")
    return known[name]


def average_precision(
    scores: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    weights: Float[np.ndarray, "b n"],
) -> Float64[np.ndarray, " b"]:
    """Area under the precision envelope (VOC, all points), under each row weighting.

    The precision at each positive is replaced by the highest precision at its threshold or any
    lower one and averaged over positives, as for PISC (Li et al. 2017) and Ego4D looking-at-me.
    Rows with equal scores share a threshold, so the order of rows never matters.

    Returns:
        Shape (b,); NaN where no positive has weight. Float32 weights, which are quicker, count
        rows exactly up to 2^24.
    """
    order = np.argsort(-scores, kind="stable")
    ordered, mask = scores[order], positive[order]
    last = np.append(ordered[1:] != ordered[:-1], True)
    ends = np.nonzero(last)[0]
    # Precision can only peak at a threshold that lets in a positive.
    ends = ends[np.add.reduceat(mask.astype(int), np.append(0, ends[:-1] + 1)) > 0]
    if not len(ends):
        return np.full(len(weights), np.nan)
    drawn = weights[:, order]
    # Sums of whole numbers are exact in float32 as well; the quotients below are not.
    total = drawn.cumsum(axis=1)[:, ends].astype(np.float64)
    counted = drawn[:, mask].cumsum(axis=1)
    hit = counted[:, mask.cumsum()[ends] - 1].astype(np.float64)
    precision = np.divide(hit, total, out=np.zeros_like(hit), where=total > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    gain = np.diff(hit, axis=1, prepend=0)
    found = hit[:, -1]
    area = (gain * envelope).sum(axis=1)
    return np.divide(area, found, out=np.full_like(area, np.nan), where=found > 0)


def gaze_outcome(
    heat: Float[np.ndarray, "n t"],
    predicted: Float[np.ndarray, "n 2"],
    points: Float[np.ndarray, "n a 2"],
    cells: Int64[np.ndarray, "n a"],
) -> GazeOutcome:
    """Gaze metrics of each row.

    `average_l2_error` is the distance to the mean annotated point (GazeFollow's "Avg L2", not the
    mean of distances), `minimum_l2_error` the distance to the nearest; both in normalised
    coordinates. `auc_score` is the area under the ROC curve of the heat over the cells, exact with
    ties, where the cells that hold an annotated point are positive, each once; NaN where all are.

    Args:
        heat: Score of each cell in raster order, shape (n, h*w).
        predicted: Points, normalised xy, shape (n, 2).
        points: Annotated points, normalised xy, NaN-padded, shape (n, a, 2).
        cells: Cell of each annotated point, -1 where there is none, shape (n, a).
    """
    known = cells >= 0
    mean = np.where(known[..., None], points, 0).sum(1) / known.sum(1, keepdims=True)
    away = np.linalg.norm(points - predicted[:, None], axis=2)
    positive = np.zeros(heat.shape, dtype=bool)
    row, annotator = np.nonzero(known)
    positive[row, cells[row, annotator]] = True
    p, t = positive.sum(axis=1), heat.shape[1]
    rank_sum = np.where(positive, rankdata(heat, axis=1), 0).sum(axis=1)
    pairs = (p * (t - p)).astype(np.float64)
    auc = np.divide(rank_sum - p * (p + 1) / 2, pairs, out=np.full(len(heat), np.nan),
                    where=pairs > 0)  # fmt: skip
    return GazeOutcome(
        {
            "average_l2_error": np.linalg.norm(predicted - mean, axis=1).astype(np.float64),
            "minimum_l2_error": np.where(known, away, np.inf).min(axis=1).astype(np.float64),
            "auc_score": auc,
        }
    )


def _ratio(sums: Float64[np.ndarray, "b 2"]) -> Float64[np.ndarray, " b"]:
    """First column over second; NaN where the second is 0."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def _hits(outcome: ClassOutcome) -> Float64[np.ndarray, "n 2"]:
    hit = outcome.predicted == outcome.labels
    return np.stack([hit, np.ones_like(hit)], axis=1).astype(np.float64)


def _confusion(outcome: ClassOutcome) -> Float64[np.ndarray, "n cells"]:
    """One-hot of (true, predicted), whose sums are the confusion matrix."""
    c = outcome.scores.shape[1]
    return np.eye(c * c)[outcome.labels * c + outcome.predicted]


def _macro_f1(sums: Float64[np.ndarray, "b cells"]) -> Float64[np.ndarray, " b"]:
    """Mean F1 over the classes that occur among labels or predictions, as in scikit-learn."""
    c = round(sums.shape[1] ** 0.5)
    matrix = sums.reshape(-1, c, c)
    either = matrix.sum(axis=1) + matrix.sum(axis=2)
    f1 = np.divide(2 * np.einsum("bii->bi", matrix), either, out=np.zeros_like(either),
                   where=either > 0)  # fmt: skip
    return f1.sum(axis=1) / (either > 0).sum(axis=1)


def _mean_average_precision(
    outcome: ClassOutcome, weights: Float[np.ndarray, "b n"]
) -> Float64[np.ndarray, " b"]:
    """One-vs-rest, mean over the classes that have a positive with weight; NaN if there is none."""
    each = np.stack([
        average_precision(outcome.scores[:, k], outcome.labels == k, weights)
        for k in range(outcome.scores.shape[1])
    ])  # fmt: skip
    present = ~np.isnan(each)
    sums = np.stack([np.where(present, each, 0).sum(axis=0), present.sum(axis=0)], axis=1)
    return _ratio(sums)


def _recall(k: int) -> Callable[[ClassOutcome], np.ndarray]:
    def rows(outcome: ClassOutcome) -> Float64[np.ndarray, "n 2"]:
        own = outcome.labels == k
        return np.stack([own & (outcome.predicted == k), own], axis=1).astype(np.float64)

    return rows


def _class_average_precision(k: int) -> Callable[[ClassOutcome, np.ndarray], np.ndarray]:
    def ranked(
        outcome: ClassOutcome, weights: Float[np.ndarray, "b n"]
    ) -> Float64[np.ndarray, " b"]:
        return average_precision(outcome.scores[:, k], outcome.labels == k, weights)

    return ranked


def _value(name: str) -> Callable[[GazeOutcome], np.ndarray]:
    def rows(outcome: GazeOutcome) -> Float64[np.ndarray, "n 2"]:
        value = outcome.values[name]
        return np.stack([value, np.ones_like(value)], axis=1)

    return rows


def _class_metrics(classes: tuple[str, ...]) -> dict[str, Metric]:
    """Every metric of a question with these classes, by name.

    `recall:CLASS` and `average_precision:CLASS` are NaN without rows of the class.
    """
    found = [
        Metric("accuracy", "accuracy", True, _hits, _ratio),
        Metric("micro_f1", "micro F1", True, _hits, _ratio),
        Metric("macro_f1", "macro F1", True, _confusion, _macro_f1),
        Metric("mean_average_precision", "mAP", True, ranked=_mean_average_precision),
    ]
    if len(classes) == 2:
        name = "binary_mean_average_precision"
        found.append(Metric(name, "mAP (both classes)", True, ranked=_mean_average_precision))
    for k, of in enumerate(classes):
        found += [
            Metric(f"recall:{of}", f"recall of {of}", True, _recall(k), _ratio),
            Metric(f"average_precision:{of}", f"AP of {of}", True,
                   ranked=_class_average_precision(k)),
        ]  # fmt: skip
    return {metric.name: metric for metric in found}


_GAZE_METRICS = {
    name: Metric(name, label, higher, _value(name), _ratio)
    for name, label, higher in (
        ("average_l2_error", "L2 to the mean point", False),
        ("minimum_l2_error", "L2 to the nearest point", False),
        ("auc_score", "AUC on the grid", True),
    )
}
