"""Batched L-BFGS: many small smooth convex problems that share one pass over the data.

A path of regularisation strengths is b problems over the same features. Solving them side by side
turns b narrow matrix products into one wide one. The direction is the two-loop recursion (Nocedal
and Wright, Numerical Optimization, algorithm 7.4) with a batch dimension; the step is a bisecting
weak Wolfe search (Lewis and Overton 2013), one step per problem. A problem that has met its
tolerance, or that floating point cannot improve, is frozen and drops out of the passes.
"""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

__all__ = ["Minimum", "Objective", "minimise"]

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Points (m, p) of the problems with indices (m,), to values (m,) and gradients (m, p)."""

MEMORY = 10
SUFFICIENT_DECREASE = 1e-4
CURVATURE = 0.9
SEARCH_STEPS = 30
IDLE_STEPS = 10
"""Steps without a visible decrease of value or gradient after which rounding is taken to blame."""


class Minimum(NamedTuple):
    """Where the search stopped.

    Attributes:
        x: Points, shape (b, p).
        value: Objective at x, shape (b,).
        gradient_norm: Euclidean norm of the gradient at x, shape (b,).
        iterations: Accepted steps of each problem, shape (b,).
        converged: Whether gradient_norm is within the tolerance, shape (b,).
    """

    x: Float64[Tensor, "b p"]
    value: Float64[Tensor, " b"]
    gradient_norm: Float64[Tensor, " b"]
    iterations: Int64[Tensor, " b"]
    converged: Bool[Tensor, " b"]


class _State(NamedTuple):
    """A point of each problem with its value and gradient."""

    x: Float64[Tensor, "b p"]
    value: Float64[Tensor, " b"]
    gradient: Float64[Tensor, "b p"]


def minimise(
    objective: Objective,
    x0: Float64[Tensor, "b p"],
    *,
    tolerance: float | Float64[Tensor, " b"],
    max_iterations: int,
    inverse_curvature: Float64[Tensor, "b p"] | None = None,
) -> Minimum:
    """Minimise b smooth convex functions of p variables at once.

    Args:
        objective: Points (m, p) and the indices (m,) of their problems, m <= b, to values (m,) and
            gradients (m, p), both float64.
        x0: Starting points, shape (b, p), float64.
        tolerance: A problem is done when the Euclidean norm of its gradient is at most this.
        max_iterations: Most steps taken.
        inverse_curvature: A guess at the diagonal of each inverse Hessian, shape (b, p), positive;
            the metric in which the recursion starts. Ones where absent.

    Returns:
        The last points. `converged` is false where the steps ran out or where rounding hides any
        further decrease; nothing is raised, since the caller knows what precision it needs.

    Example:
        >>> target = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> bowl = lambda x, _: (((x - target) ** 2).sum(1), 2 * (x - target))
        >>> minimise(bowl, torch.zeros_like(target), tolerance=1e-9, max_iterations=9).x.tolist()
        [[1.0, 2.0]]
    """
    metric = torch.ones_like(x0) if inverse_curvature is None else inverse_curvature
    limit = torch.as_tensor(tolerance, dtype=x0.dtype, device=x0.device).expand(len(x0))
    state = _State(x0.clone(), *objective(x0, torch.arange(len(x0), device=x0.device)))
    pairs: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=MEMORY)
    iterations = torch.zeros(len(x0), dtype=torch.int64, device=x0.device)
    lowest = state.gradient.norm(dim=1)
    idle = torch.zeros_like(iterations)
    active = lowest > limit
    for _ in range(max_iterations):
        if not active.any():
            break
        direction = -_inverse_hessian_times(state.gradient, pairs, metric)
        found, accepted = _search(objective, state, direction, active, first=not pairs)
        move, change = found.x - state.x, found.gradient - state.gradient
        product = (move * change).sum(1)
        # A pair without positive curvature (a frozen problem, rounding) is stored as inert.
        sound = product > 1e-14 * move.norm(dim=1) * change.norm(dim=1)
        pairs.append((move, change, torch.where(sound, 1 / product, 0.0)))
        norm = found.gradient.norm(dim=1)
        progress = (found.value < state.value - _slack(state.value)) | (norm < 0.9 * lowest)
        idle = torch.where(progress, 0, idle + 1)
        state, lowest = found, torch.minimum(norm, lowest)
        iterations += accepted
        active = accepted & (norm > limit) & (idle < IDLE_STEPS)
    norm = state.gradient.norm(dim=1)
    return Minimum(state.x, state.value, norm, iterations, norm <= limit)


def _slack(value: Float64[Tensor, " b"]) -> Float64[Tensor, " b"]:
    """Rounding in the value: a decrease smaller than this cannot be seen."""
    return 8 * torch.finfo(value.dtype).eps * value.abs()


def _inverse_hessian_times(
    gradient: Float64[Tensor, "b p"],
    pairs: deque[tuple[Tensor, Tensor, Tensor]],
    metric: Float64[Tensor, "b p"],
) -> Float64[Tensor, "b p"]:
    """The two-loop recursion; a pair whose curvature entry is 0 leaves its problem untouched."""
    q = gradient.clone()
    alphas = []
    for move, change, rho in reversed(pairs):
        alpha = rho * (move * q).sum(1)
        q -= alpha[:, None] * change
        alphas.append(alpha)
    q *= metric
    if pairs:
        _, change, rho = pairs[-1]
        scale = 1 / (rho * (change * metric * change).sum(1))
        q *= torch.where(torch.isfinite(scale), scale, 1.0)[:, None]
    for (move, change, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        beta = rho * (change * q).sum(1)
        q += (alpha - beta)[:, None] * move
    return q


def _search(
    objective: Objective,
    start: _State,
    direction: Float64[Tensor, "b p"],
    active: Bool[Tensor, " b"],
    *,
    first: bool,
) -> tuple[_State, Bool[Tensor, " b"]]:
    """A weak Wolfe point along each direction, and which problems have found one.

    Problems that are not active, and those for which no step decreases the value, stay where they
    are and count as not accepted.
    """
    slope = (direction * start.gradient).sum(1)
    slack = _slack(start.value)
    step = torch.ones_like(slope)
    if first:  # no curvature seen yet: do not leap further than a unit in the metric of the guess
        step = (1 / (-slope).clamp_min(1e-300).sqrt()).clamp_max(1.0)
    low, high = torch.zeros_like(step), torch.full_like(step, torch.inf)
    best = _State(*(part.clone() for part in start))
    accepted = torch.zeros_like(active)
    searching = torch.nonzero(active & (slope < 0))[:, 0]
    for _ in range(SEARCH_STEPS):
        if not len(searching):
            break
        i = searching
        x = start.x[i] + step[i, None] * direction[i]
        value, gradient = objective(x, i)
        decrease = SUFFICIENT_DECREASE * step[i] * slope[i] + slack[i]
        too_long = ~(value <= start.value[i] + decrease)
        too_short = ~too_long & ((gradient * direction[i]).sum(1) < CURVATURE * slope[i])
        # A step that is too short already decreases the value: keep it in case no better comes.
        take = i[~too_long]
        best.x[take], best.value[take] = x[~too_long], value[~too_long]
        best.gradient[take] = gradient[~too_long]
        accepted[take] = True
        high[i[too_long]] = step[i[too_long]]
        low[i[too_short]] = step[i[too_short]]
        step = torch.where(torch.isinf(high), 2 * step, (low + high) / 2)
        searching = i[too_long | too_short]
    return best, accepted
