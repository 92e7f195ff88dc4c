"""The preconditioner: a guess at each inverse Hessian that can be inverted axis by axis.

While every row has the class shares p as its probabilities, the Hessian of the log-loss is
(diag(p) - p p^T) times the covariance of the features. In the eigenbasis of the latter it falls
apart into one c x c matrix for each axis of variance v,

    v (diag(p) - p p^T) + s I,

whose inverse is that of a diagonal and a rank-one term (Sherman and Morrison 1950). Bohning (1992)
bounds the Hessian anywhere by the same form. It is exact where the search starts, the same axes
serve all problems, and at strong strengths nothing more is needed.

At weak ones most rows become certain and no longer curve the loss. A problem that is still searched
after some steps gets a *renewed* metric: the Kronecker product of the mean class curvature and of
the features' second moment, rows weighted by what curvature they have left (the idea of K-FAC,
Martens and Grosse 2015), each with its own eigenbasis.

Weights that are equal for all classes change no probability, so the optimum, and with this metric
every step towards it, sums to 0 over the classes.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from probes.solver.passes import SoftmaxLoss
from probes.solver.prepared import READ_ROWS, basis_step

__all__ = ["SoftmaxMetric", "centred"]

WIDEST = 4096
"""Features beyond which an eigenbasis for each problem costs more than it saves."""
RENEWED_BYTES = 2**30
"""Memory that renewed metrics may take; of the problems still searched, those beyond it keep the
first one."""


class _Renewed(NamedTuple):
    """(class axes x feature axes) diag(inverse) (class axes x feature axes)^T; bias comes last."""

    class_axes: Float[Tensor, "c c"]
    axes: Float[Tensor, "p p"]
    inverse: Float[Tensor, "c p"]


class SoftmaxMetric:
    """The metric of b problems with weights (c, d) and a bias (c,) each.

    Args:
        loss: The problems.
        mass: Share of each class in each of them, shape (b, c).
    """

    def __init__(self, loss: SoftmaxLoss, mass: Float64[Tensor, "b c"]) -> None:
        self.loss, self.mass, self.occurs = loss, mass, mass > 0
        self.renewed: dict[int, _Renewed] = {}
        axes, strengths = loss.prepared.axes, loss.strengths
        # Along directions that no row has, the strength alone is the curvature.
        spread = torch.cat([loss.prepared.spread, mass.new_zeros(1)])
        diagonal = 1 / (mass[:, :, None] * spread + strengths[:, None, None])
        skew = diagonal * mass[:, :, None]
        # 1 - v p^T E p, written as a sum of positive terms; E is the diagonal.
        rank_one = spread / (strengths[:, None] * skew.sum(1))
        dtype = axes.dtype if axes.shape[0] == axes.shape[1] else torch.float64
        self.axes = axes.to(dtype)
        self.parts = [part.to(dtype) for part in (diagonal, skew, rank_one)]

    def __call__(
        self, q: Float64[Tensor, "m p"], which: Int64[Tensor, " m"]
    ) -> Float64[Tensor, "m p"]:
        """Gradients (m, p) of the problems (m,), times the guess at their inverse Hessians."""
        occurs, d = self.occurs[which], len(self.axes)
        varies = self.loss.groups.scale[self.loss.group_of[which]] > 0
        free = torch.nn.functional.pad(varies, (0, 1), value=True)[:, None].double()
        point = centred(q.view(len(q), -1, d + 1), occurs) * free
        known = torch.tensor([int(b) in self.renewed for b in which], device=q.device)
        result = torch.empty_like(point)
        first = torch.nonzero(~known)[:, 0]
        if len(first):
            result[first] = self._first(point[first], which[first])
        for i in torch.nonzero(known)[:, 0].tolist():
            own = self.renewed[int(which[i])]
            inside = own.class_axes.T @ point[i].to(own.axes.dtype) @ own.axes
            result[i] = (own.class_axes @ (inside * own.inverse) @ own.axes.T).double()
        # A constant feature has weight 0 and no gradient: keep both exact.
        return (centred(result, occurs) * free).view(q.shape)

    def _first(
        self, point: Float64[Tensor, "m c q"], which: Int64[Tensor, " m"]
    ) -> Float64[Tensor, "m c q"]:
        """The metric that all problems start with."""
        (m, c, width), dtype = point.shape, self.axes.dtype
        weights = point[:, :, :-1].to(dtype)
        diagonal, skew, rank_one = (part[which] for part in self.parts)
        inside = (weights.reshape(-1, width - 1) @ self.axes).view(m, c, -1)
        common = (skew[..., :-1] * inside).sum(1).mul_(rank_one[..., :-1])
        along = torch.addcmul(diagonal[..., :-1] * inside, skew[..., :-1], common[:, None])
        result = (along.view(m * c, -1) @ self.axes.T).view(weights.shape)
        if self.axes.shape[1] < width - 1:
            spanned = (inside.view(m * c, -1) @ self.axes.T).view(weights.shape)
            result += diagonal[..., -1:] * (weights - spanned)
        bias = torch.where(self.occurs[which], point[:, :, -1] / self.mass[which], 0.0)
        return torch.cat([result.double(), bias[:, :, None]], 2)

    def renewal_steps(self) -> int:
        """How many steps of one problem cost as much as renewing its metric; 0 for never."""
        n, (d, _), c = len(self.loss.prepared), self.axes.shape, self.mass.shape[1]
        if d > WIDEST:
            return 0
        renewal = 2 * (n // basis_step(n, d)) * d**2 + 10 * d**3
        return max(20, round(renewal / (5 * n * d * c)))

    def renew(self, x: Float64[Tensor, "m p"], which: Int64[Tensor, " m"]) -> None:
        """Take the metric of problems anew, at the points that they have come to."""
        searched = which.tolist()
        self.renewed = {b: one for b, one in self.renewed.items() if b in searched}
        room = RENEWED_BYTES // (self.axes.element_size() * (len(self.axes) + 1) ** 2)
        for point, problem in zip(x[:room], searched, strict=False):
            classes, features = self._curvature(point.view(-1, len(self.axes) + 1), problem)
            if not torch.isfinite(classes.sum() + features.sum()):
                continue  # none of the rows taken is in the group, or none is uncertain any more
            values, class_axes = torch.linalg.eigh(classes)
            spread, axes = torch.linalg.eigh(features)
            curve = values.clamp_min(0)[:, None] * spread.clamp_min(0)
            parts = class_axes, axes, 1 / (curve + self.loss.strengths[problem])
            self.renewed[problem] = _Renewed(*(part.to(self.axes.dtype) for part in parts))

    def _curvature(
        self, point: Float64[Tensor, "c q"], problem: int
    ) -> tuple[Float64[Tensor, "c c"], Float64[Tensor, "q q"]]:
        """Mean class curvature, with trace 1, and weighted second moment of features and bias."""
        loss, prepared = self.loss, self.loss.prepared
        group = int(loss.group_of[problem])
        mean, scale = (part[group].to(prepared.dtype) for part in loss.groups[1:])
        (c, q), step = point.shape, basis_step(len(prepared), len(mean))
        narrow, classes = point.to(prepared.dtype), point.new_zeros(c, c)
        features, total = point.new_zeros(q, q), point.new_zeros(())
        for rows, part in prepared.chunks(READ_ROWS):
            taken = slice((-rows.start) % step, None, step)
            z, share = (part[taken] - mean) * scale, loss.groups.share[group, rows][taken]
            z = torch.nn.functional.pad(z, (0, 1), value=1.0)
            p = (z @ narrow.T).softmax(1)
            left = share * (1 - p.square().sum(1))
            features += ((z * left[:, None]).T @ z).double()
            classes += torch.diag(share @ p).double() - ((p * share[:, None]).T @ p).double()
            total += share.sum().double()
        return classes / classes.trace(), features / total


def centred(x: Float64[Tensor, "m c p"], occurs: Bool[Tensor, "m c"]) -> Float64[Tensor, "m c p"]:
    """Minus the mean over the classes that occur; 0 for the others."""
    member = occurs[:, :, None].double()
    return (x - (x * member).sum(1, keepdim=True) / member.sum(1, keepdim=True)) * member
