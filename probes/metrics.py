"""The metrics of the tasks, in a form that a bootstrap can evaluate for many weightings at once.

A metric maps the outcome of one side and row weights (b, n) to b values. Most are functions of sums
over rows (hits, classes, an error), so a bootstrap over clusters needs only the sums of each
cluster; average precision depends on the ranking and takes the weights themselves. Metrics with the
same `rows` or `ranked` share that part of the work.

Where a metric is undefined it is NaN, by the rule stated with it: `probes.summary` turns a NaN of
the sample itself into that reason and leaves NaN draws out of the interval. The gaze
metrics of a row are computed in `probes.gaze_metrics`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64
from scipy.sparse import csr_array

from degradation.errors import ConfigError, DataError
from probes.average_precision import average_precision, rank

__all__ = [
    "GAZE_METRICS",
    "ClassOutcome",
    "GazeOutcome",
    "Metric",
    "delta",
    "evaluate",
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
        rows: Outcome to the statistics of each row, shape (n, k), dense or sparse, whose weighted
            sums (b, k) decide the metric; None where the ranking does.
        finish: Sums, or what the ranking yields, (b, k) to values (b,).
        ranked: Outcome to a function from weights (b, n) to (b, k); None unless `rows` is.
        undefined: When the metric is undefined, as the end of a sentence.
    """

    name: str
    label: str
    higher_is_better: bool
    rows: Callable[[Outcome], np.ndarray | csr_array] | None = None
    finish: Callable[[np.ndarray], np.ndarray] | None = None
    ranked: Callable[[Outcome], Callable[[np.ndarray], np.ndarray]] | None = None
    undefined: str = "no row decides it"


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
        return metric.finish(metric.ranked(outcome)(weights))
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

    Names: `accuracy`, `micro_f1` (equal to accuracy, since each row has one label), `macro_f1`,
    `macro_recall` (balanced accuracy), `recall:CLASS`, `mean_average_precision` (with envelope:
    PISC), `mean_average_precision_plain` (scikit-learn's), `binary_mean_average_precision` (both
    sides of a question with two classes: looking-at-me), `average_precision:CLASS`; for gaze
    those of `GAZE_METRICS`, which `probes.gaze_metrics` defines.

    Raises:
        ConfigError: If there is no such metric for the question.
    """
    known = _class_metrics(tuple(classes)) if classes else GAZE_METRICS
    if name not in known:
        raise ConfigError(f"Expected a metric among {', '.join(known)}; found {name!r}.")
    return known[name]


def _ratio(sums: Float64[np.ndarray, "b 2"]) -> Float64[np.ndarray, " b"]:
    """First column over second; NaN where the second is 0."""
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def _tallies(outcome: ClassOutcome) -> csr_array:
    """Three one-hots side by side, shape (n, 3c): the class, the predicted one, and their match.

    Their sums decide every count-based metric. Sparse, since a row has three entries at most: with
    34 classes a dense confusion matrix of each row would take 1,156 numbers.
    """
    n, c = outcome.scores.shape
    predicted = outcome.predicted
    hit = np.nonzero(predicted == outcome.labels)[0]
    rows = np.concatenate([np.arange(n), np.arange(n), hit])
    columns = [outcome.labels, c + predicted, 2 * c + outcome.labels[hit]]
    return csr_array((np.ones(len(rows)), (rows, np.concatenate(columns))), shape=(n, 3 * c))


def _three(sums: Float64[np.ndarray, "b cells"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of each class, rows predicted as each, and those that are both; each of shape (b, c)."""
    labels, predicted, hits = np.split(sums, 3, axis=1)
    return labels, predicted, hits


def _accuracy(sums: Float64[np.ndarray, "b cells"]) -> Float64[np.ndarray, " b"]:
    """Share of rows whose highest score is that of their class.

    With two classes that is a threshold of 0.5, where a score of exactly 0.5 goes to the first
    class; the code of looking-at-me gives it to the second.
    """
    labels, _, hits = _three(sums)
    return _ratio(np.stack([hits.sum(axis=1), labels.sum(axis=1)], axis=1))


def _macro_f1(sums: Float64[np.ndarray, "b cells"]) -> Float64[np.ndarray, " b"]:
    """Mean F1 over the classes that occur among labels or predictions, as in scikit-learn."""
    labels, predicted, hits = _three(sums)
    return _mean_of_quotients(2 * hits, labels + predicted)


def _macro_recall(sums: Float64[np.ndarray, "b cells"]) -> Float64[np.ndarray, " b"]:
    """Mean recall over the classes that occur among labels (scikit-learn's balanced accuracy)."""
    labels, _, hits = _three(sums)
    return _mean_of_quotients(hits, labels)


def _mean_of_quotients(
    above: Float64[np.ndarray, "b c"], below: Float64[np.ndarray, "b c"]
) -> Float64[np.ndarray, " b"]:
    """Mean over the classes whose denominator is positive; NaN where none is."""
    each = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return _ratio(np.stack([each.sum(axis=1), (below > 0).sum(axis=1)], axis=1))


def _recall(k: int) -> Callable[[np.ndarray], np.ndarray]:
    def finish(sums: Float64[np.ndarray, "b cells"]) -> Float64[np.ndarray, " b"]:
        labels, _, hits = _three(sums)
        return _ratio(np.stack([hits[:, k], labels[:, k]], axis=1))

    return finish


@cache
def _areas(envelope: bool) -> Callable[[ClassOutcome], Callable[[np.ndarray], np.ndarray]]:
    """Average precision of each class against the rest; cached, so that equal ones are shared."""

    def ranked(outcome: ClassOutcome) -> Callable[[np.ndarray], np.ndarray]:
        rankings = [
            rank(outcome.scores[:, k], outcome.labels == k) for k in range(outcome.scores.shape[1])
        ]

        def areas(weights: Float[np.ndarray, "b n"]) -> Float64[np.ndarray, "b c"]:
            each = [average_precision(one, weights, envelope=envelope) for one in rankings]
            return np.stack(each, axis=1)

        return areas

    return ranked


def _mean_area(areas: Float64[np.ndarray, "b c"]) -> Float64[np.ndarray, " b"]:
    """Mean over the classes that occur; NaN unless there are two.

    Of a single class, any scores at all reach 1.
    """
    known = ~np.isnan(areas)
    sums = np.where(known, areas, 0).sum(axis=1)
    return np.where(known.sum(axis=1) > 1, _ratio(np.stack([sums, known.sum(axis=1)], 1)), np.nan)


def _area(k: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda areas: areas[:, k]


def _value(name: str) -> Callable[[GazeOutcome], np.ndarray]:
    def rows(outcome: GazeOutcome) -> Float64[np.ndarray, "n 2"]:
        value = outcome.values[name]
        defined = ~np.isnan(value)
        return np.stack([np.where(defined, value, 0), defined], axis=1)

    return rows


def _class_metrics(classes: tuple[str, ...]) -> dict[str, Metric]:
    """Every metric of a question with these classes, by name."""
    one = "fewer than two classes occur among the rows"
    found = [
        Metric("accuracy", "accuracy", True, _tallies, _accuracy),
        Metric("micro_f1", "micro F1 = accuracy (HaGRID's official F1)", True, _tallies, _accuracy),
        Metric("macro_f1", "macro F1", True, _tallies, _macro_f1),
        Metric("macro_recall", "macro recall", True, _tallies, _macro_recall),
        Metric("mean_average_precision", "mAP", True, None, _mean_area, _areas(True), one),
        Metric("mean_average_precision_plain", "mAP (no envelope)", True, None, _mean_area,
               _areas(False), one),
    ]  # fmt: skip
    if len(classes) == 2:
        name = "binary_mean_average_precision"
        found.append(Metric(name, "mAP (both classes)", True, None, _mean_area, _areas(True), one))
    for k, of in enumerate(classes):
        none = f"no row is of class {of}"
        found += [
            Metric(f"recall:{of}", f"recall of {of}", True, _tallies, _recall(k), None, none),
            Metric(f"average_precision:{of}", f"AP of {of}", True, None, _area(k), _areas(True),
                   none),
        ]  # fmt: skip
    return {metric.name: metric for metric in found}


_NO_NEGATIVES = "in no picture is there a place that no annotator looks at"
GAZE_METRICS = {
    name: Metric(name, label, higher, _value(name), _ratio, None, undefined)
    for name, label, higher, undefined in (
        ("average_l2_error", "L2 to the mean point", False, "no row has an annotated point"),
        ("mean_distance", "mean L2 to the points", False, "no row has an annotated point"),
        ("minimum_l2_error", "L2 to the nearest point", False, "no row has an annotated point"),
        ("peak_l2_error", "L2 from the peak", False, "no row has an annotated point"),
        ("auc_score", "AUC at original size", True,
         f"not all sizes of the pictures are known (then `auc_on_grid` is), or {_NO_NEGATIVES}"),
        ("auc_on_grid", "AUC on the grid", True, _NO_NEGATIVES),
    )
}  # fmt: skip
"""All metrics of gaze; each is the mean of a number a row has, over the rows that have it."""
