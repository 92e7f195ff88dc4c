"""Multinomial logistic regression with an L2 penalty, for a whole path of strengths at once.

For features z (n, d), z-scored with the statistics of the rows fitted, classes c and strength s the
objective is convex and its optimum unique:

    mean log-loss + s / 2 * ||W||^2,        W (c, d) penalised, bias (c,) free.

In scikit-learn's terms C = 1 / (n s) for three or more classes; for two, whose scikit-learn form
has one weight vector w = W[1] - W[0], C = 2 / (n s).

Rows may have weights: the mean of the log-loss is then the weighted one (scikit-learn's
`sample_weight`, with n the sum of weights). Z-scores and eigenbasis stay those of the rows as they
are: they only say in which units the penalty is measured, and so weighted and plain fits of the
same rows share them and the penalty.

Three things make it quick without changing the optimum. The features are rotated into the
eigenbasis of their covariance, where the curvature is close to diagonal, so that a diagonal
preconditioner per strength leaves some tens of L-BFGS steps. Where d > n the optimum lies in the
span of the rows (representer theorem), so the rotation has at most n columns. All strengths share
each pass over the features. Everything is float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from degradation.errors import DataError
from probes.solver.lbfgs import Objective, minimise

__all__ = ["Basis", "Certificate", "LogisticPath", "fit_logistic", "prepare"]

MAX_ITERATIONS = 500


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Features of the rows fitted, z-scored and rotated into the eigenbasis of their covariance.

    Attributes:
        mean: Subtracted from every feature, shape (d,).
        scale: One over the standard deviation (denominator n), shape (d,); 0 for a constant column.
        rotation: Orthonormal columns, shape (d, r), r = min(n, d).
        rows: The rows fitted in the new axes, one axis a row, shape (r, n).
        spread: Variance along each axis, shape (r,).
    """

    mean: Float64[Tensor, " d"]
    scale: Float64[Tensor, " d"]
    rotation: Float64[Tensor, "d r"]
    rows: Float64[Tensor, "r n"]
    spread: Float64[Tensor, " r"]

    def turn(self, x: Float[np.ndarray, "m d"]) -> Float64[Tensor, "r m"]:
        """Other rows in the same axes, shape (r, m)."""
        z = (_tensor(x) - self.mean) * self.scale
        return (z @ self.rotation).T.contiguous()


def prepare(x: Float[np.ndarray, "n d"]) -> Basis:
    """Z-score features with their own statistics and rotate them; shared by all fits on the rows.

    Args:
        x: Features, shape (n, d), any float type and memory order.

    Raises:
        DataError: If there are no rows or a feature is not finite.
    """
    if len(x) == 0:
        raise DataError("Expected features of at least one row to fit on, found none.")
    z = _tensor(x)
    mean = z.mean(0)
    z = z - mean
    deviation = z.square().mean(0).sqrt()
    # Compared by value: the deviation of a constant column can be rounding instead of 0.
    constant = torch.from_numpy(np.asarray(x.max(0) == x.min(0)))
    scale = torch.where(constant | (deviation == 0), 0.0, 1 / deviation)
    z = z * scale
    span = torch.eye(z.shape[1], dtype=z.dtype)
    if z.shape[1] > len(z):
        span, triangle = torch.linalg.qr(z.T)
        z = triangle.T
    spread, axes = torch.linalg.eigh(z.T @ z / len(z))
    rows = (z @ axes).T.contiguous()
    return Basis(mean, scale, span @ axes, rows, spread.clamp_min(0))


def _tensor(x: Float[np.ndarray, "n d"]) -> Float64[Tensor, "n d"]:
    """A float64 copy (torch aligns it, so equal values give equal results), checked for NaN."""
    z = torch.tensor(np.ascontiguousarray(x), dtype=torch.float64)
    if not torch.isfinite(z).all():
        bad = int((~torch.isfinite(z)).any(1).sum())
        raise DataError(
            f"Expected finite features, found NaN or infinity in {bad} of {len(z)} rows. "
            "Run `sdiag cache verify`, or extract again."
        )
    return z


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """How far each fit can be from its optimum.

    Attributes:
        gap: Duality gap, shape (b,): objective minus optimum is at most this.
        distance: sqrt(2 gap / strength), shape (b,): Euclidean distance of W from the optimal W is
            at most this, since the objective is strongly convex in W.
        gradient_norm: Norm of the gradient, shape (b,).
        iterations: L-BFGS steps, shape (b,).
        converged: Whether the gradient met its tolerance, shape (b,).
    """

    gap: Float64[np.ndarray, " b"]
    distance: Float64[np.ndarray, " b"]
    gradient_norm: Float64[np.ndarray, " b"]
    iterations: Int64[np.ndarray, " b"]
    converged: Bool[np.ndarray, " b"]


@dataclass(frozen=True, slots=True, eq=False)
class LogisticPath:
    """Fits at b strengths.

    Attributes:
        basis: The axes of the features.
        strengths: L2 strengths, shape (b,).
        weights: In the rotated axes, shape (b, k, r), for the k classes seen.
        bias: Shape (b, k), summing to 0 over classes.
        seen: Class indices that occur in the rows fitted, shape (k,).
        n_classes: Number of classes c of the label set.
        certificate: How exact the fits are.
    """

    basis: Basis
    strengths: Float64[np.ndarray, " b"]
    weights: Float64[Tensor, "b k r"]
    bias: Float64[Tensor, "b k"]
    seen: Int64[np.ndarray, " k"]
    n_classes: int
    certificate: Certificate

    def coefficients(self) -> Float64[np.ndarray, "b c d"]:
        """Weights of the z-scored features, shape (b, c, d); 0 for classes not seen."""
        full = np.zeros((len(self.strengths), self.n_classes, len(self.basis.mean)))
        full[:, self.seen] = (self.weights @ self.basis.rotation.T).numpy()
        return full

    def log_probabilities(self, x: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "b m c"]:
        """Log-probabilities of rows, shape (b, m, c); -inf for a class that was not seen."""
        logits = self.weights @ self.basis.turn(x) + self.bias[:, :, None]
        full = np.full((len(self.strengths), len(x), self.n_classes), -np.inf)
        full[:, :, self.seen] = torch.log_softmax(logits, dim=1).transpose(1, 2).numpy()
        return full

    def probabilities(self, x: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "b m c"]:
        """Probabilities of rows, shape (b, m, c); exactly 0 for a class not seen."""
        return np.exp(self.log_probabilities(x))


def fit_logistic(
    basis: Basis,
    labels: Int64[np.ndarray, " n"],
    strengths: Sequence[float],
    *,
    n_classes: int,
    row_weights: Float64[np.ndarray, " n"] | None = None,
    precision: float = 1e-5,
    gap: float = 0.0,
) -> LogisticPath:
    """Fit all strengths at once.

    Args:
        basis: From `prepare`, on the same n rows.
        labels: Class indices in [0, n_classes), shape (n,).
        strengths: L2 strengths, positive.
        n_classes: Number of classes of the label set, whether or not they occur in `labels`.
        row_weights: Positive weight of each row in the mean log-loss, shape (n,); only their
            ratios matter. Equal where absent.
        precision: The solver stops when the gradient proves W to be this close to the optimum
            (Euclidean norm, for a bias gradient of zero); the certificate holds what was reached.
        gap: It also stops when the gradient proves the objective to be this close to its optimum,
            in nats: by strong convexity the gap is at most ||gradient||^2 / (2 strength). At weak
            strengths that comes far earlier, since weights are large and hardly matter.

    Returns:
        The fits with a certificate. A class that is absent from `labels` takes no part in the fit
        and has probability 0.

    Raises:
        DataError: If `labels` hold fewer than two classes, or a weight is not positive and finite.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> path = fit_logistic(prepare(x), np.array([0, 0, 1, 1]), [0.1], n_classes=2)
        >>> path.probabilities(x).argmax(-1).tolist()
        [[0, 0, 1, 1]]
    """
    seen, index = np.unique(labels, return_inverse=True)
    if len(seen) < 2:
        raise DataError(
            f"A probe needs at least two classes to fit, found {len(seen)} in {len(labels)} rows. "
            "Use more rows, or leave this question out."
        )
    target = torch.nn.functional.one_hot(torch.from_numpy(index.reshape(-1)), len(seen))
    target = target.T.to(torch.float64)
    row_share, spread = _weighting(basis, row_weights)
    s = torch.tensor(list(strengths), dtype=torch.float64)
    (b, k), r = (len(s), len(seen)), len(basis.spread)
    share = target @ row_share
    x0 = torch.zeros(b, k, r + 1, dtype=torch.float64)
    x0[:, :, r] = share.log() - share.log().mean()
    # Curvature of the log-loss at the class shares, an upper bound for most rows later on.
    curve = torch.cat([spread, torch.ones(1, dtype=torch.float64)])
    curve = (share * (1 - share))[:, None] * curve + torch.cat(
        [s[:, None].expand(b, r), torch.full((b, 1), 1e-9, dtype=torch.float64)], dim=1
    )[:, None, :]
    minimum = minimise(
        _objective(basis.rows, target, row_share, s),
        x0.reshape(b, -1),
        tolerance=torch.maximum(precision * s.clamp_max(1e-1), (2 * s * gap).sqrt()),
        max_iterations=MAX_ITERATIONS,
        inverse_curvature=(1 / curve).reshape(b, -1),
    )
    solution = minimum.x.reshape(b, k, r + 1)
    weights, bias = solution[:, :, :r].contiguous(), solution[:, :, r].contiguous()
    gap = _duality_gap(basis.rows, target, row_share, s, weights, bias)
    return LogisticPath(
        basis=basis,
        strengths=s.numpy(),
        weights=weights,
        bias=bias,
        seen=seen,
        n_classes=n_classes,
        certificate=Certificate(
            gap=gap.numpy(),
            distance=(2 * gap / s).sqrt().numpy(),
            gradient_norm=minimum.gradient_norm.numpy(),
            iterations=minimum.iterations.numpy(),
            converged=minimum.converged.numpy(),
        ),
    )


def _weighting(
    basis: Basis, row_weights: Float64[np.ndarray, " n"] | None
) -> tuple[Float64[Tensor, " n"], Float64[Tensor, " r"]]:
    """The share of each row in the mean, summing to 1, and the weighted mean square of each axis.

    The latter is what the curvature of the log-loss is proportional to while all rows still have
    the class shares as their probabilities; without weights it is the spread.
    """
    n = basis.rows.shape[1]
    if row_weights is None:
        return torch.full((n,), 1 / n, dtype=torch.float64), basis.spread
    if not (np.isfinite(row_weights) & (row_weights > 0)).all():
        raise DataError("Expected row weights that are positive and finite; found others.")
    share = torch.from_numpy(row_weights / row_weights.sum())
    # One axis at a time: a second array as large as the features might not fit.
    return share, torch.stack([axis.square() @ share for axis in basis.rows])


def _objective(
    rows: Float64[Tensor, "r n"],
    target: Float64[Tensor, "k n"],
    row_share: Float64[Tensor, " n"],
    s: Float64[Tensor, " b"],
) -> Objective:
    """Values and gradients of the strengths asked for, in one pass; the bias comes last."""
    (r, n), k = rows.shape, len(target)

    def evaluate(
        x: Float64[Tensor, "m p"], which: Int64[Tensor, " m"]
    ) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "m p"]]:
        strength, weights = s[which], x.reshape(len(x), k, r + 1)
        logits = (weights[:, :, :r].reshape(-1, r) @ rows).reshape(-1, k, n)
        logits += weights[:, :, r:]
        norm = logits.logsumexp(dim=1)
        loss = (norm - (logits * target).sum(1)) @ row_share
        residual = logits.sub_(norm[:, None]).exp_().sub_(target).mul_(row_share)
        gradient = torch.empty_like(weights)
        gradient[:, :, :r] = (residual.reshape(-1, n) @ rows.T).reshape(-1, k, r)
        gradient[:, :, :r] += strength[:, None, None] * weights[:, :, :r]
        gradient[:, :, r] = residual.sum(2)
        penalty = weights[:, :, :r].square().sum(dim=(1, 2))
        return loss + strength / 2 * penalty, gradient.reshape(len(x), -1)

    return evaluate


def _duality_gap(
    rows: Float64[Tensor, "r n"],
    target: Float64[Tensor, "k n"],
    row_share: Float64[Tensor, " n"],
    s: Float64[Tensor, " b"],
    weights: Float64[Tensor, "b k r"],
    bias: Float64[Tensor, "b k"],
) -> Float64[Tensor, " b"]:
    """Objective minus a lower bound on the optimum.

    With v_i the share of row i in the mean, the Fenchel dual of the objective is, over
    row-stochastic q (k, n) whose class means equal those of the target (the price of a free bias),

        sum_i v_i entropy of q_i - ||sum_i v_i (q_i - target_i) row_i^T||^2 / (2 s).

    The model's own probabilities miss the constraint by the bias gradient; mixing in a constant row
    with the smallest weight that repairs the means makes them feasible.
    """
    logits = (weights @ rows) + bias[:, :, None]
    log_p = torch.log_softmax(logits, dim=1)
    primal = -((log_p * target).sum(1) @ row_share) + s / 2 * weights.square().sum(dim=(1, 2))
    share = target @ row_share
    mean = log_p.exp() @ row_share
    mix = ((mean - share) / mean).clamp_min(0).amax(1).clamp_min(1e-15)[:, None]
    row = (share + (1 - mix) / mix * (share - mean)).clamp_min(0)
    q = (1 - mix[:, :, None]) * log_p.exp() + (mix * row)[:, :, None]
    entropy = -torch.xlogy(q, q).sum(1) @ row_share
    residual = ((q - target) * row_share).reshape(-1, rows.shape[1])
    moment = (residual @ rows.T).square().reshape(len(s), -1).sum(1)
    return (primal - entropy + moment / (2 * s)).clamp_min(0)
