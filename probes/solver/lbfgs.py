"""Batched L-BFGS: many smooth convex problems that share one pass over the data.

A path of regularisation strengths, on each of some folds, is b problems over the same features.
Solving them side by side turns b narrow matrix products into one wide one. The direction is the
two-loop recursion (Nocedal and Wright, Numerical Optimization, algorithm 7.4) with a batch
dimension; the step is a bisecting weak Wolfe search (Lewis and Overton 2013), one step per problem.
A problem that has met its tolerance, or that floating point cannot improve, drops out: neither its
point nor its memory takes part in what follows.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

__all__ = ["Metric", "Minimum", "Objective", "diagonal", "minimise"]

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Points (m, p) of the problems with indices (m,), to values (m,) and gradients (m, p)."""
Metric = Callable[[Tensor, Tensor], Tensor]
"""Gradients (m, p) of the problems with indices (m,), times a guess at each inverse Hessian."""

MEMORY = 10
SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
SEARCH_STEPS = 12
IDLE_STEPS = 10
"""Steps without a visible decrease of value or gradient after which rounding is taken to blame."""


class Minimum(NamedTuple):
    """Where the search stopped.

    Attributes:
        x: Points, shape (b, p).
        value: Objective at x, shape (b,).
        gradient_norm: Euclidean norm of the gradient at x, shape (b,).
        decrement: Half the gradient times the step that was not taken any more, shape (b,): an
            estimate of value minus minimum (Boyd and Vandenberghe, Convex Optimization, 9.5.1,
            with the quasi-Newton metric for the inverse Hessian).
        iterations: Accepted steps of each problem, shape (b,).
        converged: Whether gradient_norm is within the tolerance or the decrement within the gap,
            shape (b,).
    """

    x: Float64[Tensor, "b p"]
    value: Float64[Tensor, " b"]
    gradient_norm: Float64[Tensor, " b"]
    decrement: Float64[Tensor, " b"]
    iterations: Int64[Tensor, " b"]
    converged: Bool[Tensor, " b"]


class _State(NamedTuple):
    """The problems still searched: which they are, where they stand, and how they came there."""

    which: Int64[Tensor, " m"]
    x: Float64[Tensor, "m p"]
    value: Float64[Tensor, " m"]
    gradient: Float64[Tensor, "m p"]
    lowest: Float64[Tensor, " m"]
    """Lowest gradient norm so far."""
    idle: Int64[Tensor, " m"]
    """Steps since the last visible decrease."""
    steps: Int64[Tensor, " m"]
    """Accepted steps."""
    decrement: Float64[Tensor, " m"]
    """Estimated distance to the minimum, in value."""

    def take(self, index: Tensor) -> "_State":
        return _State(*(part[index] for part in self))


class _Pair(NamedTuple):
    """A step, the change of gradient along it, and one over their product (0: inert)."""

    move: Float64[Tensor, "m p"]
    change: Float64[Tensor, "m p"]
    rho: Float64[Tensor, " m"]


def diagonal(inverse_curvature: Float64[Tensor, "b p"]) -> Metric:
    """The metric of a diagonal guess at each inverse Hessian, positive, shape (b, p)."""
    return lambda gradient, which: gradient * inverse_curvature[which]


def minimise(
    objective: Objective,
    x0: Float64[Tensor, "b p"],
    *,
    tolerance: float | Float64[Tensor, " b"],
    max_iterations: int,
    gap: float = 0.0,
    metric: Metric | None = None,
    renew: Callable[[Tensor, Tensor], None] | None = None,
    renew_after: int = 0,
    rounding: float = torch.finfo(torch.float64).eps,
) -> Minimum:
    """Minimise b smooth convex functions of p variables at once.

    Args:
        objective: Points (m, p) and the indices (m,) of their problems, m <= b, to values (m,) and
            gradients (m, p), both float64.
        x0: Starting points, shape (b, p), float64.
        tolerance: A problem is done when the Euclidean norm of its gradient is at most this.
        max_iterations: Most steps taken.
        gap: A problem is also done when the next step promises no more than this.
        metric: A guess at each inverse Hessian, symmetric and positive, in which the recursion
            starts; the identity where absent.
        renew: Takes the metric anew, from the points (m, p) of the problems with indices (m,).
        renew_after: Steps after which it is called first, and then each time three times as many;
            0 for never.
        rounding: Relative rounding error of the values, larger than that of float64 where the
            objective is computed in less.

    Returns:
        The last points. `converged` is false where the steps ran out or where rounding hides any
        further decrease; nothing is raised, since the caller knows what precision it needs.

    Example:
        >>> target = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> bowl = lambda x, _: (((x - target) ** 2).sum(1), 2 * (x - target))
        >>> minimise(bowl, torch.zeros_like(target), tolerance=1e-9, max_iterations=9).x.tolist()
        [[1.0, 2.0]]
    """
    metric = metric or (lambda gradient, _: gradient)
    limit = torch.as_tensor(tolerance, dtype=x0.dtype, device=x0.device).expand(len(x0))
    everyone = torch.arange(len(x0), device=x0.device)
    value, gradient = objective(x0, everyone)
    zero, far = torch.zeros_like(everyone), torch.full_like(value, torch.inf)
    state = _State(everyone, x0, value, gradient, gradient.norm(dim=1), zero, zero, far)
    end, pairs = state.take(everyone), []
    moved = torch.ones_like(everyone, dtype=torch.bool)
    for step in range(max_iterations + 1):
        direction = -_inverse_hessian_times(state, pairs, metric)
        slope = (direction * state.gradient).sum(1)
        state = state._replace(decrement=slope.abs() / 2)
        near = (state.gradient.norm(dim=1) <= limit[state.which]) | (state.decrement <= gap)
        # Negated, so that a problem whose numbers are not finite is left as well.
        left = ~(moved & ~near & (state.idle < IDLE_STEPS) & (slope < 0))
        if left.any() or step == max_iterations:
            for part, now in zip(end[1:], state[1:], strict=True):
                part[state.which] = now
            keep = torch.nonzero(~left)[:, 0]
            state, direction, slope = state.take(keep), direction[keep], slope[keep]
            pairs = [_Pair(*(part[keep] for part in pair)) for pair in pairs]
        if not len(state.which) or step == max_iterations:
            break
        state, pair, moved = _step(
            objective, state, direction, slope, 8 * rounding, first=not pairs
        )
        pairs = [*pairs[1 - MEMORY :], pair]
        if step + 1 == renew_after:
            renew(state.x, state.which)
            renew_after *= 3
    norm = end.gradient.norm(dim=1)
    done = (norm <= limit) | (end.decrement <= gap)
    return Minimum(end.x, end.value, norm, end.decrement, end.steps, done)


def _step(
    objective: Objective,
    state: _State,
    direction: Float64[Tensor, "m p"],
    slope: Float64[Tensor, " m"],
    slack: float,
    *,
    first: bool,
) -> tuple[_State, _Pair, Bool[Tensor, " m"]]:
    """One step of every problem, its trace for the recursion, and which problems have moved."""
    x, value, gradient, moved = _search(objective, state, direction, slope, slack, first=first)
    move, change = x - state.x, gradient - state.gradient
    product = (move * change).sum(1)
    # A pair without positive curvature (rounding) is stored as inert.
    sound = product > 1e-14 * move.norm(dim=1) * change.norm(dim=1)
    pair = _Pair(move, change, torch.where(sound, 1 / product, 0.0))
    norm = gradient.norm(dim=1)
    progress = (value < state.value - slack * state.value.abs()) | (norm < 0.9 * state.lowest)
    after = state._replace(
        x=x,
        value=value,
        gradient=gradient,
        lowest=torch.minimum(norm, state.lowest),
        idle=torch.where(progress, 0, state.idle + 1),
        steps=state.steps + moved,
    )
    return after, pair, moved


def _inverse_hessian_times(
    state: _State, pairs: list[_Pair], metric: Metric
) -> Float64[Tensor, "m p"]:
    """The two-loop recursion; a pair whose curvature entry is 0 leaves its problem untouched."""
    q = state.gradient.clone()
    alphas = []
    for move, change, rho in reversed(pairs):
        alpha = rho * (move * q).sum(1)
        q -= alpha[:, None] * change
        alphas.append(alpha)
    q = metric(q, state.which)
    if pairs:
        _, change, rho = pairs[-1]
        scale = 1 / (rho * (change * metric(change, state.which)).sum(1))
        q *= torch.where(torch.isfinite(scale), scale, 1.0)[:, None]
    for (move, change, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        beta = rho * (change * q).sum(1)
        q += (alpha - beta)[:, None] * move
    return q


def _search(
    objective: Objective,
    start: _State,
    direction: Float64[Tensor, "m p"],
    slope: Float64[Tensor, " m"],
    slack: float,
    *,
    first: bool,
) -> tuple[
    Float64[Tensor, "m p"], Float64[Tensor, " m"], Float64[Tensor, "m p"], Bool[Tensor, " m"]
]:
    """A weak Wolfe point along each direction, and which problems have found one.

    Problems for which no step decreases the value stay where they are and count as not moved.
    """
    step = torch.ones_like(slope)
    if first:  # no curvature seen yet: do not leap further than a unit in the metric of the guess
        step = (1 / (-slope).clamp_min(1e-300).sqrt()).clamp_max(1.0)
    low, high = torch.zeros_like(step), torch.full_like(step, torch.inf)
    best_x, best_value, best_gradient = start.x.clone(), start.value.clone(), start.gradient.clone()
    moved = torch.zeros_like(slope, dtype=torch.bool)
    i = torch.nonzero(slope < 0)[:, 0]
    for _ in range(SEARCH_STEPS):
        if not len(i):
            break
        x = start.x[i] + step[i, None] * direction[i]
        value, gradient = objective(x, start.which[i])
        allowed = SUFFICIENT_DECREASE * step[i] * slope[i] + slack * start.value[i].abs()
        too_long = ~(value <= start.value[i] + allowed)
        too_short = ~too_long & ((gradient * direction[i]).sum(1) < CURVATURE * slope[i])
        # A step that is too short already decreases the value: keep it in case no better comes.
        take = i[~too_long]
        best_x[take], best_value[take] = x[~too_long], value[~too_long]
        best_gradient[take] = gradient[~too_long]
        moved[take] = True
        high[i[too_long]] = step[i[too_long]]
        low[i[too_short]] = step[i[too_short]]
        step = torch.where(torch.isinf(high), 2 * step, (low + high) / 2)
        i = i[too_long | too_short]
    return best_x, best_value, best_gradient, moved
