"""What is fitted: the linear probes as problems that `probes.selection` can fit on any rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float32, Float64, Int64

from probes.gaze import GazePath, fit_gaze
from probes.selection import Counts, Trials
from probes.solver.logistic import Certificate, LogisticPath, fit_logistic
from probes.solver.prepared import Prepared, prepare
from probes.table import TableRows

__all__ = ["ClassProblem", "Features", "GazeProblem", "balanced_weights"]

FINAL, CHOOSING = 3e-7, 1e-4
"""Nats from the optimum at which to stop, for the fit that predicts and for those that only choose
a strength: held-out losses of neighbouring strengths differ by far more wherever the choice
matters."""
FINAL_GAZE, CHOOSING_GAZE = 1e-6, 1e-3
"""The same for the gaze readout."""


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of all rows of a table, and those last prepared of some of them.

    Questions asked of the same rows share the z-scores and the eigenbasis through this object.
    It keeps two: of the training rows, and of those with the validation rows.

    Attributes:
        x: Shape (n, d); NaN only in rows that no question uses. Those of a table on disk are read
            at each pass, some at a time.
        device: Where the fits are computed.
    """

    x: Float[np.ndarray, "n d"] | TableRows
    device: str = "cpu"
    _prepared: dict[bytes, Prepared] = field(default_factory=dict, repr=False)

    def prepared(self, rows: Int64[np.ndarray, " k"]) -> Prepared:
        """The features of these rows, in this order."""
        key = rows.tobytes()
        if key not in self._prepared:
            while len(self._prepared) > 1:
                del self._prepared[next(iter(self._prepared))]
            self._prepared[key] = prepare(self.only(rows), device=self.device)
        return self._prepared[key]

    def only(self, rows: Int64[np.ndarray, " k"]) -> Float[np.ndarray, "k d"] | TableRows:
        """Some rows, read or still on disk as all of them are."""
        return self.x[rows] if isinstance(self.x, np.ndarray) else self.x.only(rows)


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

    def held_out(
        self, rows: Int64[np.ndarray, " k"], trials: Trials, strengths: Sequence[float]
    ) -> Float64[np.ndarray, " b"]:
        """See `probes.selection.Problem`; all trials and strengths are fitted side by side.

        A held-out row of a class that its trial has not seen, whose loss is infinite at every
        strength, is left out.
        """
        labels = self.labels[rows]
        counts, held = (np.zeros((len(trials), len(rows))) for _ in range(2))
        for trial, (fit, out) in enumerate(trials):
            fitted, left = np.isin(rows, fit), np.isin(rows, out)
            counts[trial, fitted] = 1
            held[trial, left] = balanced_weights(labels[left]) if self.balanced else 1
            held[trial, ~np.isin(labels, labels[fitted])] = 0
        prepared = self.features.prepared(rows)
        path = self._fit(prepared, labels, strengths, counts, CHOOSING)
        share = path.loss.groups.share.new_tensor(held)
        losses = path.loss.log_loss(path.weights, path.bias, share)
        return losses.view(len(trials), len(strengths)).sum(0).cpu().numpy()

    def fit(
        self,
        rows: Int64[np.ndarray, " k"],
        strengths: Sequence[float],
        counts: Counts | None = None,
    ) -> "FittedClasses":
        """See `probes.selection.Problem`."""
        prepared, labels = self.features.prepared(rows), self.labels[rows]
        return FittedClasses(self, self._fit(prepared, labels, strengths, counts, FINAL))

    def _fit(
        self,
        prepared: Prepared,
        labels: Int64[np.ndarray, " k"],
        strengths: Sequence[float],
        counts: Counts | None,
        gap: float,
    ) -> LogisticPath:
        groups = np.ones((1, len(labels))) if counts is None else counts
        weights = np.ones(groups.shape)
        for group in range(len(groups) if self.balanced else 0):
            held = np.repeat(np.arange(len(labels)), groups[group].astype(np.int64))
            weights[group, held] = balanced_weights(labels[held])
        return fit_logistic(
            prepared,
            labels,
            strengths,
            n_classes=self.n_classes,
            counts=counts,
            weights=weights if self.balanced else None,
            gap=gap,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedClasses:
    """Fits of a `ClassProblem`."""

    problem: ClassProblem
    path: LogisticPath

    @property
    def certificate(self) -> Certificate:
        """How exact the fits are."""
        return self.path.certificate

    def scores(self, rows: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "b k c"]:
        """Class probabilities."""
        return self.path.probabilities(self.problem.features.only(rows))


@dataclass(frozen=True, slots=True, eq=False)
class GazeProblem:
    """The gaze readout of cell targets (n, t) from head features, or from phi alone."""

    features: Features | None
    phi: Float32[np.ndarray, "n t m"]
    targets: Float64[np.ndarray, "n t"]

    def held_out(
        self, rows: Int64[np.ndarray, " k"], trials: Trials, strengths: Sequence[float]
    ) -> Float64[np.ndarray, " b"]:
        """See `probes.selection.Problem`; `rows` are of no use, since each trial has its prior."""
        total = np.zeros(len(strengths))
        for fit, held in trials:
            fitted = self._fit(fit, strengths, None, CHOOSING_GAZE)
            total -= (fitted.log_probabilities(held) * self.targets[held]).sum(axis=(1, 2))
        return total

    def fit(
        self,
        rows: Int64[np.ndarray, " k"],
        strengths: Sequence[float],
        counts: Counts | None = None,
    ) -> "FittedGaze":
        """See `probes.selection.Problem`."""
        return self._fit(rows, strengths, counts, FINAL_GAZE)

    def _fit(
        self,
        rows: Int64[np.ndarray, " k"],
        strengths: Sequence[float],
        counts: Counts | None,
        gap: float,
    ) -> "FittedGaze":
        prepared = None if self.features is None else self.features.prepared(rows)
        phi, targets = self.phi[rows], self.targets[rows]
        return FittedGaze(self, fit_gaze(prepared, phi, targets, strengths, counts=counts, gap=gap))


@dataclass(frozen=True, slots=True, eq=False)
class FittedGaze:
    """Fits of a `GazeProblem`."""

    problem: GazeProblem
    path: GazePath

    @property
    def certificate(self) -> Certificate:
        """How exact the fits are."""
        return self.path.certificate

    def scores(self, rows: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "b k t"]:
        """Probabilities of the cells."""
        return np.exp(self.log_probabilities(rows))

    def log_probabilities(self, rows: Int64[np.ndarray, " k"]) -> Float64[np.ndarray, "b k t"]:
        """Log-probabilities of the cells."""
        features = self.problem.features
        x = np.zeros((len(rows), 0)) if features is None else features.x[rows]
        return self.path.log_probabilities(x, self.problem.phi[rows])
