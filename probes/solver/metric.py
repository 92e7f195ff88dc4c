"""The preconditioner: the exact inverse Hessian at the class shares, in the eigenbasis.

While every row has the class shares p as its probabilities, the Hessian of the log-loss is
(diag(p) - p p^T) times the covariance of the features. In the eigenbasis of the latter it falls
apart into one c x c matrix for each axis of variance v,

    v (diag(p) - p p^T) + s I,

whose inverse is that of a diagonal and a rank-one term (Sherman and Morrison 1950). Bohning (1992)
bounds the Hessian anywhere by the same form. Later on the curvature is smaller for rows that are
certain; the recursion of L-BFGS learns that.

Weights that are equal for all classes change no probability, so the optimum, and with this metric
every step towards it, sums to 0 over the classes.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from probes.solver.lbfgs import Metric
from probes.solver.prepared import Prepared

__all__ = ["centred", "eigenbasis_metric"]


def eigenbasis_metric(
    prepared: Prepared,
    share: Float64[Tensor, "b c"],
    varies: Bool[Tensor, "b d"],
    strengths: Float64[Tensor, " b"],
) -> Metric:
    """The metric of b problems with weights (c, d) and a bias (c,) each.

    Args:
        prepared: The features with their eigenbasis.
        share: Share of each class in each problem, shape (b, c).
        varies: Which features vary in the rows of each problem; weights of the others stay 0.
        strengths: Shape (b,).
    """
    axes, d = prepared.axes, len(prepared.mean)
    occurs = share > 0
    # Along directions that no row has, the strength alone is the curvature.
    spread = torch.cat([prepared.spread, torch.zeros(1, dtype=torch.float64, device=share.device)])
    diagonal = 1 / (share[:, :, None] * spread + strengths[:, None, None])
    skew = diagonal * share[:, :, None]
    # 1 - v p^T E p, written as a sum of positive terms; E is the diagonal.
    rank_one = spread / (strengths[:, None] * skew.sum(1))
    dtype = axes.dtype if axes.shape[1] == d else torch.float64
    turn, parts = axes.to(dtype), [part.to(dtype) for part in (diagonal, skew, rank_one)]

    def times(q: Float64[Tensor, "m p"], which: Int64[Tensor, " m"]) -> Float64[Tensor, "m p"]:
        point = centred(q.view(len(q), -1, d + 1), occurs[which])
        free, own = varies[which][:, None], [part[which] for part in parts]
        weights = (point[:, :, :d] * free).to(dtype)
        inside = weights.reshape(-1, d) @ turn
        along = _inverse(inside.view(*weights.shape[:2], -1), *(part[..., :-1] for part in own))
        result = (along.view(len(inside), -1) @ turn.T).view(weights.shape)
        if turn.shape[1] < d:
            result += own[0][..., -1:] * (weights - (inside @ turn.T).view(weights.shape))
        bias = torch.where(occurs[which], point[:, :, d] / share[which], 0.0)
        both = torch.cat([result * free.double(), bias[:, :, None]], 2)
        return centred(both, occurs[which]).view(q.shape)

    return times


def _inverse(
    q: Float[Tensor, "m c r"],
    diagonal: Float[Tensor, "m c r"],
    skew: Float[Tensor, "m c r"],
    rank_one: Float[Tensor, "m r"],
) -> Float[Tensor, "m c r"]:
    """E q + v (E p) (E p)^T q / (1 - v p^T E p), axis by axis."""
    common = (skew * q).sum(1).mul_(rank_one)
    return torch.addcmul(diagonal * q, skew, common[:, None])


def centred(x: Float64[Tensor, "m c p"], occurs: Bool[Tensor, "m c"]) -> Float64[Tensor, "m c p"]:
    """Minus the mean over the classes that occur; 0 for the others."""
    member = occurs[:, :, None].double()
    return (x - (x * member).sum(1, keepdim=True) / member.sum(1, keepdim=True)) * member
