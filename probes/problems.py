"""What is fitted: the linear probes as problems that `probes.selection` can fit on any rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float64, Int64

from probes.gaze import GazePath, fit_gaze
from probes.solver.logistic import Basis, Certificate, LogisticPath, fit_logistic, prepare

__all__ = ["ClassProblem", "Features", "GazeProblem", "balanced_weights"]

FINAL, CHOOSING = 1e-2, 0.1
"""Distance from the optimal weights at which to stop, for the fit that predicts and for those that
only choose a strength: the part of the objective due to weights is then exact to 5e-5 and 5e-3
times the strength."""
CHOOSING_GAP = 1e-4
"""Nats from the optimum at which a fit that only chooses may stop as well; held-out losses of
neighbouring strengths differ by far more wherever the choice matters."""
FINAL_GAZE, CHOOSING_GAZE = 1e-2, 1.0
"""The same for the gaze readout."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of all rows of a table, and the bases last prepared on some of them.

    Questions asked of the same rows share the z-scores and the eigenbasis through this object.
    It keeps two: of the training rows, and of those with the validation rows.

    Attributes:
        x: Shape (n, d); NaN only in rows that no question uses.
    """

    x: Float[np.ndarray, "n d"]
    _bases: dict[bytes, Basis] = field(default_factory=dict, repr=False)

    def basis(self, rows: Int64[np.ndarray, " k"]) -> Basis:
        """The basis of these rows."""
        key = rows.tobytes()
        if key not in self._bases:
            while len(self._bases) > 1:
                del self._bases[next(iter(self._bases))]
            self._bases[key] = prepare(self.x[rows])
        return self._bases[key]


def balanced_weights(labels: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Row weights n / (c n_k) under which each of the c classes that occur weighs the same.

    This is scikit-learn's `class_weight="balanced"`. They sum to n; a class that does not occur
    among the rows has no part in it.

    Example:
        >>> balanced_weights(np.array([0, 0, 0, 2])).tolist()
        [0.6666666666666666, 0.6666666666666666, 0.6666666666666666, 2.0]
    """
    counts = np.bincount(labels)
    return len(labels) / (np.count_nonzero(counts) * counts[labels])


@dataclass(frozen=True, slots=True, eq=False)
class ClassProblem:
    """Multinomial logistic regression of labels (n,) on features.

    Attributes:
        features: What is read.
        labels: Class indices, shape (n,).
        n_classes: Number of classes of the label set.
        balanced: Whether every class weighs the same, by `balanced_weights`: in a fit by the
            shares of the rows fitted, in the loss that chooses a strength by those of the rows
            held out, so that it is the mean over classes of the mean loss of each.
    """

    features: Features
    labels: Int64[np.ndarray, " n"]
    n_classes: int
    balanced: bool = False

    def fit(
        self, rows: Int64[np.ndarray, " k"], strengths: Sequence[float], *, final: bool
    ) -> "FittedClasses":
        """See `probes.selection.Problem`."""
        path = fit_logistic(
            self.features.basis(rows),
            self.labels[rows],
            strengths,
            n_classes=self.n_classes,
            row_weights=balanced_weights(self.labels[rows]) if self.balanced else None,
            precision=FINAL if final else CHOOSING,
            gap=0.0 if final else CHOOSING_GAP,
        )
        return FittedClasses(self, path)


@dataclass(frozen=True, slots=True, eq=False)
class FittedClasses:
    """Fits of a `ClassProblem`."""

    problem: ClassProblem
    path: LogisticPath

    @property
    def certificate(self) -> Certificate:
        """How exact the fits are."""
        return self.path.certificate

    def losses(self, rows: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "b k"]:
        """Log-loss times the row's weight; NaN for a class that the fit has not seen.

        Its loss is infinite at every strength.
        """
        logp = self.path.log_probabilities(self.problem.features.x[rows])
        labels = self.problem.labels[rows]
        own = np.take_along_axis(logp, labels[None, :, None], axis=2)[..., 0]
        if self.problem.balanced:
            own = own * balanced_weights(labels)
        return np.where(np.isneginf(own), np.nan, -own)

    def scores(self, rows: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "b k c"]:
        """Class probabilities."""
        return self.path.probabilities(self.problem.features.x[rows])


@dataclass(frozen=True, slots=True, eq=False)
class GazeProblem:
    """The gaze readout of cell targets (n, t) from head features, or from phi alone."""

    features: Features | None
    phi: Float64[np.ndarray, "n t m"]
    targets: Float64[np.ndarray, "n t"]

    def fit(
        self, rows: Int64[np.ndarray, " k"], strengths: Sequence[float], *, final: bool
    ) -> "FittedGaze":
        """See `probes.selection.Problem`."""
        basis = None if self.features is None else self.features.basis(rows)
        precision = FINAL_GAZE if final else CHOOSING_GAZE
        path = fit_gaze(basis, self.phi[rows], self.targets[rows], strengths, precision=precision)
        return FittedGaze(self, path)


@dataclass(frozen=True, slots=True, eq=False)
class FittedGaze:
    """Fits of a `GazeProblem`."""

    problem: GazeProblem
    path: GazePath

    @property
    def certificate(self) -> Certificate:
        """How exact the fits are."""
        return self.path.certificate

    def losses(self, rows: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "b k"]:
        """Cross-entropy against the cell targets."""
        return -(self._log_probabilities(rows) * self.problem.targets[rows]).sum(axis=2)

    def scores(self, rows: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "b k t"]:
        """Probabilities of the cells."""
        return np.exp(self._log_probabilities(rows))

    def _log_probabilities(self, rows: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "b k t"]:
        features = self.problem.features
        x = np.zeros((len(rows), 0)) if features is None else features.x[rows]
        return self.path.log_probabilities(x, self.problem.phi[rows])
