"""`LogisticProbe`: the solver behind scikit-learn's interface.

For pipelines, grid searches and comparisons with other classifiers. The tool itself calls
`fit_logistic`, which fits many groups of rows and strengths at once.
"""

from typing import Any

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from degradation.errors import DataError
from probes.selection import clustered_folds
from probes.solver.logistic import fit_logistic
from probes.solver.prepared import Prepared, prepare

__all__ = ["LogisticProbe"]


class LogisticProbe(ClassifierMixin, BaseEstimator):
    """Multinomial logistic regression on z-scored features, its strength chosen by folds.

    The objective is mean log-loss + strength / 2 * ||W||^2 over the rows fitted, where W are the
    weights of the z-scored features (see `probes.solver.logistic`). float32 features are fitted in
    float32, others in float64.

    Args:
        strength: L2 strength, or several of which the one with the lowest held-out log-loss is
            taken (of equals the strongest).
        folds: Folds of the clusters that choose among several strengths; with fewer clusters there
            are as many folds as clusters.
        class_weight: None, "balanced", or class label to weight, as in scikit-learn.
        tol: Nats from the optimum at which a fit stops; the default lets rounding decide.
        max_iter: Most L-BFGS steps.
        device: Where fits are computed.
        random_state: Decides the folds.

    Attributes:
        classes_: Class labels, shape (c,).
        coef_: Weights of the features as they are, shape (c, d), or (1, d) for two classes.
        intercept_: Shape (c,), or (1,).
        strength_: The strength that was used.
        held_out_loss_: Held-out log-loss of each of several strengths, shape (b,), over the rows
            whose class occurs in another fold; absent for one.
        certificate_: Objective, gradient norm, iterations and gap of the fit.
        n_iter_: L-BFGS steps, shape (1,).
        n_features_in_: Number of features d.

    Example:
        >>> x, y = np.array([[0.0], [1.0], [2.0], [3.0]]), ["low", "low", "high", "high"]
        >>> LogisticProbe(strength=0.1).fit(x, y).predict([[0.5], [2.5]]).tolist()
        ['low', 'high']
    """

    def __init__(
        self,
        strength=1e-2,
        *,
        folds=5,
        class_weight=None,
        tol=1e-22,
        max_iter=500,
        device="cpu",
        random_state=0,
    ):  # without annotations: scikit-learn's protocol stores whatever is given and checks in fit
        self.strength = strength
        self.folds = folds
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None, groups=None) -> "LogisticProbe":
        """Choose the strength, if there are several, and fit on all rows.

        Args:
            X: Features, shape (n, d).
            y: Class labels, shape (n,).
            sample_weight: How often each row counts, shape (n,); z-scores are weighted too, so
                that a weight of 2 is the same as a repeated row and 0 as a row left out.
            groups: Cluster of each row, never divided between folds, shape (n,).

        Raises:
            ValueError: If rows, labels or weights are not what they should be, there are fewer
                than two classes, or folds that choose among strengths cannot be made or judged.
        """
        strengths = sorted(np.atleast_1d(self.strength).astype(float).tolist())
        if not strengths or not all(0 < s < np.inf for s in strengths):
            raise ValueError(f"Expected strengths that are positive and finite, found {strengths}.")
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        counts = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if len(np.unique(index[counts > 0])) < 2:
            raise ValueError(
                "Expected rows of at least two classes with a positive weight, found one class."
            )
        of_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        if self.class_weight == "balanced":
            mass = np.bincount(index, counts, minlength=len(self.classes_))
            of_class = mass.sum() / (np.count_nonzero(mass) * np.maximum(mass, 1e-300))
        prepared, weights = prepare(X, device=self.device), of_class[index]
        options = {
            "n_classes": len(self.classes_),
            "gap": self.tol,
            "max_iterations": self.max_iter,
        }
        self.strength_ = strengths[0]
        if len(strengths) > 1:
            held = self._folds(index, groups)
            self.strength_ = self._choose(
                prepared, index, strengths, counts, weights, held, options
            )
        path = fit_logistic(
            prepared, index, [self.strength_], counts=counts[None], weights=weights[None], **options
        )
        coef, intercept = (part[0] for part in path.raw())
        if len(self.classes_) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept
        self.certificate_, self.n_iter_ = path.certificate, path.certificate.iterations
        return self

    def _choose(
        self,
        prepared: Prepared,
        index: np.ndarray,
        strengths: list[float],
        counts: np.ndarray,
        weights: np.ndarray,
        held: np.ndarray,
        options: dict[str, Any],
    ) -> float:
        """The strength with the lowest loss on the rows that folds hold out; keeps all losses."""
        fitted = np.where(held, 0.0, counts)
        known = fitted @ np.eye(len(self.classes_))[index] > 0
        judged = np.where(held & known[:, index], counts * weights, 0.0)
        if (known.sum(1) < 2).any() or not judged.any():
            raise ValueError(
                f"Expected two classes outside of each of {len(held)} folds to choose a strength "
                "by, found fewer. Give one strength, other folds or more rows."
            )
        path = fit_logistic(
            prepared, index, strengths, counts=fitted,
            weights=np.tile(weights, (len(held), 1)), **options,
        )  # fmt: skip
        share = path.loss.groups.share.new_tensor(judged)
        losses = path.loss.log_loss(path.weights, path.bias, share)
        total = losses.view(len(held), -1).sum(0).cpu().numpy()
        self.held_out_loss_ = total / judged.sum()
        return strengths[len(total) - 1 - int(total[::-1].argmin())]

    def _folds(self, index: np.ndarray, groups) -> np.ndarray:
        """Which rows each fold holds out, shape (k, n)."""
        clusters = np.arange(len(index)) if groups is None else np.asarray(groups)
        rng = np.random.default_rng(self.random_state)
        try:
            fold = clustered_folds(clusters, index.astype(np.int64), self.folds, rng=rng)
        except DataError as error:
            raise ValueError(str(error)) from error
        return fold == np.arange(fold.max() + 1)[:, None]

    def decision_function(self, X) -> Float64[np.ndarray, "n ..."]:
        """Logits, shape (n, c); of the second class against the first, (n,), for two."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        logits = X.astype(np.float64) @ self.coef_.T + self.intercept_
        return logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X) -> Float64[np.ndarray, "n c"]:
        """Probabilities of the classes, shape (n, c)."""
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X) -> Float64[np.ndarray, "n c"]:
        """Log-probabilities of the classes, shape (n, c)."""
        logits = self.decision_function(X)
        if logits.ndim == 1:
            logits = np.stack([np.zeros_like(logits), logits], axis=1)
        logits = logits - logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def predict(self, X) -> np.ndarray:
        """The most probable class of each row, shape (n,)."""
        logits = self.decision_function(X)
        index = (logits > 0).astype(int) if logits.ndim == 1 else logits.argmax(axis=1)
        return self.classes_[index]
