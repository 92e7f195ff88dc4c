"""Multinomial logistic regression with an L2 penalty: whole paths of strengths, on many row groups.

For features z (n, d), z-scored with the statistics of the rows fitted, classes c and strength s the
objective is convex and its optimum unique:

    mean log-loss + s / 2 * ||W||^2,        W (c, d) penalised, bias (c,) free.

In scikit-learn's terms C = 1 / (n s) for three or more classes; for two, whose scikit-learn form
has one weight vector w = W[1] - W[0], C = 2 / (n s).

Rows may count more than once, or not at all: a fold, a subset of the training rows and a bootstrap
draw are *counts*. They decide the z-scores too, so that counts are the same as repeated rows. Rows
may also have *weights* in the loss alone, as for balanced classes: the mean of the log-loss is then
the weighted one (scikit-learn's `sample_weight`, with n the sum of weights), while the z-scores,
which only say in which units the penalty is measured, stay as they are.

All strengths on all groups are solved side by side (`probes.solver.lbfgs`), sharing each pass over
the features (`probes.solver.passes`), preconditioned in the eigenbasis of their covariance
(`probes.solver.metric`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from degradation.errors import DataError
from probes.solver.lbfgs import MEMORY, Minimum, minimise
from probes.solver.metric import SoftmaxMetric, centred
from probes.solver.passes import ABSENT, Groups, SoftmaxLoss, chunk_rows
from probes.solver.prepared import Prepared, RowSource, group_moments

__all__ = ["Certificate", "LogisticPath", "fit_logistic"]

MAX_ITERATIONS = 500
HISTORY_BYTES = 2**30
"""Memory that the searches of one batch of problems may take."""
SAFETY = 0.1
"""Share of the gap at which to stop, since its estimate by the next step is somewhat too low."""
ROUNDING, FLOOR = 0.5, 0.1
"""Rounding of an objective and of a gradient over many rows, in units of that of one row; errors of
rows cancel."""


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """How exact each fit is.

    Attributes:
        objective: Shape (b,).
        gradient_norm: Euclidean norm of the gradient, shape (b,).
        iterations: L-BFGS steps, shape (b,).
        converged: Whether the gap is what was asked for, or the gradient is all rounding, shape
            (b,).
        gap: Objective minus optimum as estimated by the step that was not taken any more, times
            ten for safety, shape (b,); `probes.solver.duality` has a bound.
    """

    objective: Float64[np.ndarray, " b"]
    gradient_norm: Float64[np.ndarray, " b"]
    iterations: Int64[np.ndarray, " b"]
    converged: Bool[np.ndarray, " b"]
    gap: Float64[np.ndarray, " b"]


@dataclass(frozen=True, slots=True, eq=False)
class LogisticPath:
    """Fits of b problems, group after group and in each of them strength after strength.

    Attributes:
        loss: The problems that were solved.
        weights: Of the z-scores of each problem's own group, shape (b, c, d); 0 for a class that
            does not occur there.
        bias: Shape (b, c), summing to 0 over the classes that occur; `ABSENT` for the others.
        certificate: How exact the fits are.
    """

    loss: SoftmaxLoss
    weights: Float64[Tensor, "b c d"]
    bias: Float64[Tensor, "b c"]
    certificate: Certificate

    @property
    def strengths(self) -> Float64[np.ndarray, " b"]:
        """Strength of each problem."""
        return self.loss.strengths.cpu().numpy()

    @property
    def present(self) -> Bool[np.ndarray, "b c"]:
        """Classes that occur in the rows of each problem."""
        return (self.bias > ABSENT).cpu().numpy()

    def coefficients(self) -> Float64[np.ndarray, "b c d"]:
        """Weights of the z-scored features."""
        return self.weights.cpu().numpy()

    def raw(self) -> tuple[Float64[np.ndarray, "b c d"], Float64[np.ndarray, "b c"]]:
        """Weights and biases for features as they are, without z-scores; `ABSENT` as in `bias`."""
        prepared = self.loss.prepared
        common, bias = self.loss.groups.common(self.weights, self.bias, self.loss.group_of)
        plain = common * prepared.scale
        return plain.cpu().numpy(), (bias - plain @ prepared.mean).cpu().numpy()

    def log_probabilities(
        self, x: Float[np.ndarray, "m d"] | RowSource
    ) -> Float64[np.ndarray, "b m c"]:
        """Log-probabilities of rows, shape (b, m, c); -inf for a class that does not occur."""
        b, c, d = self.weights.shape
        common, offset = self.loss.groups.common(self.weights, self.bias, self.loss.group_of)
        out = np.empty((b, x.shape[0], c))
        step = chunk_rows(b * c)
        for start in range(0, x.shape[0], step):
            z = self.loss.prepared.turn(x[start : start + step]).double()
            logits = (z @ common.view(b * c, d).T).view(-1, b, c) + offset
            logits.masked_fill_(self.bias <= ABSENT, -torch.inf)
            out[:, start : start + step] = logits.log_softmax(2).transpose(0, 1).cpu().numpy()
        return out

    def probabilities(
        self, x: Float[np.ndarray, "m d"] | RowSource
    ) -> Float64[np.ndarray, "b m c"]:
        """Probabilities of rows, shape (b, m, c); exactly 0 for a class that does not occur."""
        return np.exp(self.log_probabilities(x))


def fit_logistic(
    prepared: Prepared,
    target: Int64[np.ndarray, " n"] | Float[np.ndarray, "n c"],
    strengths: Sequence[float],
    *,
    n_classes: int,
    counts: Float[np.ndarray, "g _"] | None = None,
    weights: Float[np.ndarray, "g _"] | None = None,
    gap: float = 3e-7,
    start: LogisticPath | None = None,
    max_iterations: int = MAX_ITERATIONS,
) -> LogisticPath:
    """Fit all strengths on all groups of rows at once.

    Args:
        prepared: From `prepare`, n rows.
        target: Class indices in [0, n_classes), shape (n,), or the share of each class in each row,
            rows summing to 1, shape (n, c).
        strengths: L2 strengths, positive.
        n_classes: Number of classes of the label set, whether or not they occur.
        counts: How often each group holds each row, not negative, shape (g, n); one group with
            every row once where absent.
        weights: Weight of each row in the loss of each group, shape (g, n), positive where the
            group holds the row; only their ratios matter. Equal where absent.
        gap: A fit stops when the next step promises less than a tenth of this in objective, in
            nats, or when rounding hides the rest; `certificate` holds what was reached.
        start: Fits of as many problems from which to start; zero weights and the class shares
            where absent.
        max_iterations: Most L-BFGS steps.

    Returns:
        The fits. A class that is absent from a group takes no part in its fits and has probability
        0 there.

    Raises:
        DataError: If a group holds fewer than two classes, or counts, weights, shares or strengths
            are not what they should be.

    Example:
        >>> x = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> path = fit_logistic(prepare(x), np.array([0, 0, 1, 1]), [0.1], n_classes=2)
        >>> path.probabilities(x).argmax(-1).tolist()
        [[0, 0, 1, 1]]
    """
    shares = _shares(prepared, target, n_classes)
    groups, held = _groups(prepared, counts, weights)
    present = held @ shares.T
    _check_classes(present, len(prepared))
    s = torch.tensor(list(strengths), dtype=torch.float64, device=prepared.device)
    if not len(s) or not (torch.isfinite(s) & (s > 0)).all():
        raise DataError(f"Expected strengths that are positive and finite, found {s.tolist()}.")
    g, b = len(groups.share), len(groups.share) * len(s)
    loss = SoftmaxLoss(
        prepared, shares, groups, torch.arange(g, device=s.device).repeat_interleave(len(s)),
        s.repeat(g),
    )  # fmt: skip
    mass = (groups.share.double() @ shares.double().T)[loss.group_of]
    x0 = _start(mass, len(prepared.mean), start)
    found = _minimise(loss, mass, x0, gap, max_iterations)
    point = found.x.view(b, n_classes, -1)
    return LogisticPath(
        loss=loss,
        weights=point[:, :, :-1].contiguous(),
        bias=point[:, :, -1].contiguous(),
        certificate=Certificate(
            objective=found.value.cpu().numpy(),
            gradient_norm=found.gradient_norm.cpu().numpy(),
            iterations=found.iterations.cpu().numpy(),
            converged=found.converged.cpu().numpy(),
            gap=(found.decrement / SAFETY).cpu().numpy(),
        ),
    )


def _minimise(
    loss: SoftmaxLoss,
    mass: Float64[Tensor, "b c"],
    x0: Float64[Tensor, "b p"],
    gap: float,
    max_iterations: int,
) -> Minimum:
    """All problems, as many at a time as the memory of their searches allows."""
    eps = torch.finfo(loss.prepared.dtype).eps
    metric = SoftmaxMetric(loss, mass)
    floor = FLOOR * eps * _gradient_size(loss, mass)
    batch = max(1, HISTORY_BYTES // (x0.shape[1] * 8 * 2 * MEMORY))
    found = [
        minimise(
            lambda x, which, own=problems: loss(x, own[which]),
            x0[problems],
            tolerance=floor[problems],
            max_iterations=max_iterations,
            gap=SAFETY * gap,
            metric=lambda q, which, own=problems: metric(q, own[which]),
            renew=lambda x, which, own=problems: metric.renew(x, own[which]),
            renew_after=metric.renewal_steps(),
            rounding=ROUNDING * eps,
        )
        for problems in torch.arange(len(x0), device=x0.device).split(batch)
    ]
    return Minimum(*(torch.cat(part) for part in zip(*found, strict=True)))


def _gradient_size(loss: SoftmaxLoss, mass: Float64[Tensor, "b c"]) -> Float64[Tensor, " b"]:
    """Norm of what each row adds to a gradient while it has the class shares as probabilities."""
    width = len(loss.prepared.mean)
    return (width * (mass * (1 - mass)).sum(1)).sqrt()


def _shares(
    prepared: Prepared, target: Int64[np.ndarray, " n"] | Float[np.ndarray, "n c"], n_classes: int
) -> Float[Tensor, "c n"]:
    """The share of each class in each row."""
    n = len(prepared)
    if len(target) != n:
        raise DataError(f"Expected a target for each of {n} rows, found {len(target)}.")
    given = torch.from_numpy(np.ascontiguousarray(target)).to(prepared.device)
    if given.ndim == 2:
        if given.shape[1] != n_classes:
            raise DataError(f"Expected shares of {n_classes} classes, found {given.shape[1]}.")
        if not ((given >= 0).all() and ((given.sum(1) - 1).abs() < 1e-4).all()):
            raise DataError("Expected shares of the classes that are not negative and sum to 1.")
        return given.T.to(prepared.dtype).contiguous()
    if int(given.min()) < 0 or int(given.max()) >= n_classes:
        raise DataError(
            f"Expected class indices from 0 to {n_classes - 1}, found {int(given.min())} to "
            f"{int(given.max())}."
        )
    shares = torch.zeros(n_classes, n, dtype=prepared.dtype, device=prepared.device)
    return shares.scatter_(0, given.long()[None], 1.0)


def _groups(
    prepared: Prepared,
    counts: Float[np.ndarray, "g _"] | None,
    weights: Float[np.ndarray, "g _"] | None,
) -> tuple[Groups, Float[Tensor, "g n"]]:
    """The groups, and 1 for each row that a group holds."""
    n, d = len(prepared), len(prepared.mean)
    for name, given in (("counts", counts), ("weights", weights)):
        if given is not None and given.shape[1] != n:
            raise DataError(f"Expected {name} of {n} rows, found {given.shape[1]}.")
    count = np.ones((1 if weights is None else len(weights), n)) if counts is None else counts
    if not (np.isfinite(count) & (count >= 0)).all():
        raise DataError("Expected row counts that are finite and not negative; found others.")
    wide = torch.from_numpy(count.astype(np.float64)).to(prepared.device)
    share, held = wide, (wide > 0).to(prepared.dtype)
    if weights is not None:
        given = torch.from_numpy(weights.astype(np.float64)).to(prepared.device)
        if not (torch.isfinite(given) & ((given > 0) | (wide == 0))).all():
            raise DataError("Expected row weights that are positive and finite; found others.")
        share = wide * given
    total = share.sum(1, keepdim=True)
    share = torch.where(total > 0, share / total, 0.0).to(prepared.dtype)
    if counts is None:
        own = torch.zeros(len(share), d, dtype=torch.float64, device=prepared.device)
        return Groups(share, own, (prepared.scale > 0).double().expand_as(own)), held
    return Groups(share, *group_moments(prepared, wide)), held


def _check_classes(present: Float[Tensor, "g c"], n: int) -> None:
    """Refuse a group whose rows are of fewer than two classes."""
    seen = (present > 0).sum(1)
    if (seen < 2).any():
        raise DataError(
            f"A probe needs at least two classes to fit, found {int(seen.min())} in {n} rows. "
            "Use more rows, or leave this question out."
        )


def _start(
    mass: Float64[Tensor, "b c"], d: int, start: LogisticPath | None
) -> Float64[Tensor, "b p"]:
    """Zero weights with the class shares as probabilities, or fits made before."""
    b, c = mass.shape
    x0 = torch.zeros(b, c, d + 1, dtype=torch.float64, device=mass.device)
    occurs = mass > 0
    x0[:, :, d] = torch.where(occurs, mass.clamp_min(1e-300).log(), 0.0)
    if start is not None:
        if start.weights.shape != (b, c, d):
            raise DataError(
                f"Expected {b} fits of {c} classes on {d} features to start from, found "
                f"{' x '.join(map(str, start.weights.shape))}."
            )
        kept = occurs & (start.bias > ABSENT)
        x0[:, :, :d] = torch.where(kept[:, :, None], start.weights, 0.0)
        x0[:, :, d] = torch.where(kept, start.bias, x0[:, :, d])
    x0 = centred(x0, occurs)
    x0[:, :, d].masked_fill_(~occurs, ABSENT)
    return x0.view(b, -1)
