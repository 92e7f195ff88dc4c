"""Passes over the rows: log-loss and gradient of many softmax regressions at once.

A problem is a strength on a group of rows. All problems still searched share one read of the
features: a chunk of rows times all their weights is one matrix product, and so is the way back.
Products are computed in the precision of the data, sums over chunks in float64.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from probes.solver.prepared import Prepared

__all__ = ["Groups", "SoftmaxLoss", "Weights"]

CHUNK = 2**18
"""Logits held at once, so that the passes over them stay in the processor's cache."""
ABSENT = -1e9
"""Bias of a class that does not occur in a group; its probability is exactly 0."""

Weights = tuple[Float64[Tensor, "m c d"], Float64[Tensor, "m c"]]
"""Weights of the z-scores of a problem's own group, and biases."""


class Groups(NamedTuple):
    """The rows that each group of problems fits, and the z-scores that are its own.

    Attributes:
        share: Share of each row in the mean log-loss, each group summing to 1, shape (g, n).
        mean: Mean of the common z-scores in the group, shape (g, d).
        scale: One over their standard deviation in the group, shape (g, d).
    """

    share: Float[Tensor, "g n"]
    mean: Float64[Tensor, "g d"]
    scale: Float64[Tensor, "g d"]

    def common(
        self,
        weights: Float64[Tensor, "m c d"],
        bias: Float64[Tensor, "m c"],
        group: Int64[Tensor, " m"],
    ) -> tuple[Float64[Tensor, "m c d"], Float64[Tensor, "m c"]]:
        """Weights and biases for the common z-scores in place of those of each group."""
        common = weights * self.scale[group][:, None]
        return common, bias - torch.einsum("mcd,md->mc", common, self.mean[group])


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxLoss:
    """mean log-loss + strength / 2 * ||weights||^2 of b problems on n rows, c classes.

    Attributes:
        prepared: The features.
        target: Share of each class in each row, rows summing to 1, shape (c, n).
        groups: Which rows count in which problem.
        group_of: Group of each problem, shape (b,).
        strengths: Of each problem, shape (b,).
    """

    prepared: Prepared
    target: Float[Tensor, "c n"]
    groups: Groups
    group_of: Int64[Tensor, " b"]
    strengths: Float64[Tensor, " b"]

    def __call__(
        self, x: Float64[Tensor, "m p"], which: Int64[Tensor, " m"]
    ) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "m p"]]:
        """Values and gradients at points that hold weights and bias, class after class."""
        c, d = len(self.target), len(self.prepared.mean)
        point = x.view(len(x), c, d + 1)
        group, strength = self.group_of[which], self.strengths[which]
        scale, mean = self.groups.scale[group], self.groups.mean[group]
        common, bias = self.groups.common(point[:, :, :d], point[:, :, d], group)
        loss, slope, bias_slope = self._sums(common, bias, group)
        gradient = torch.empty_like(point)
        slope -= bias_slope[:, :, None] * mean[:, None]
        torch.addcmul(
            slope.mul_(scale[:, None]), strength[:, None, None], point[:, :, :d],
            out=gradient[:, :, :d],
        )  # fmt: skip
        gradient[:, :, d] = bias_slope
        penalty = point[:, :, :d].square().sum(dim=(1, 2))
        return loss + strength / 2 * penalty, gradient.view(len(x), -1)

    def _sums(
        self,
        weights: Float64[Tensor, "m c d"],
        bias: Float64[Tensor, "m c"],
        group: Int64[Tensor, " m"],
    ) -> tuple[Float64[Tensor, " m"], Float64[Tensor, "m c d"], Float64[Tensor, "m c"]]:
        """Log-loss and its gradient in the common z-scores, over all rows."""
        (m, c, d), dtype = weights.shape, self.prepared.dtype
        narrow, offset = weights.to(dtype).view(m * c, d), bias.to(dtype).view(m * c, 1)
        loss = torch.zeros(m, dtype=torch.float64, device=weights.device)
        slope = torch.zeros(m * c, d, dtype=torch.float64, device=weights.device)
        bias_slope = torch.zeros(m, c, dtype=torch.float64, device=weights.device)
        shares = _of_each(self.groups.share, group)
        for rows, z in self.prepared.chunks(chunk_rows(m * c)):
            share, target = shares[:, rows], self.target[:, rows]
            logits = torch.addmm(offset, narrow, z.T).view(m, c, -1)
            own = (logits * target).sum(1)
            top = logits.amax(1, keepdim=True)
            total = logits.sub_(top).exp_().sum(1)
            loss += ((total.log() + top[:, 0] - own) * share).sum(1, dtype=torch.float64)
            residual = logits.mul_((share / total)[:, None])
            residual.addcmul_(target, share[:, None], value=-1)
            bias_slope += residual.sum(2, dtype=torch.float64)
            slope += residual.view(m * c, -1) @ z
        return loss, slope.view(m, c, d), bias_slope

    def log_loss(
        self,
        weights: Float64[Tensor, "b c d"],
        bias: Float64[Tensor, "b c"],
        share: Float[Tensor, "g n"],
    ) -> Float64[Tensor, " b"]:
        """Log-loss of every problem on other rows: those with a share in its group.

        A row whose class does not occur where the problem was fitted has no finite loss; give it
        the share 0.
        """
        b, c, d = weights.shape
        common, offset = self.groups.common(weights, bias, self.group_of)
        narrow = common.to(self.prepared.dtype).view(b * c, d)
        offset = offset.to(narrow.dtype).view(b * c, 1)
        loss = torch.zeros(b, dtype=torch.float64, device=weights.device)
        shares = _of_each(share, self.group_of)
        for rows, z in self.prepared.chunks(chunk_rows(b * c)):
            logits = torch.addmm(offset, narrow, z.T).view(b, c, -1)
            own = (logits * self.target[:, rows]).sum(1)
            each = (logits.logsumexp(1) - own) * shares[:, rows]
            loss += each.sum(1, dtype=torch.float64)
        return loss


def _of_each(share: Float[Tensor, "g n"], group: Int64[Tensor, " m"]) -> Float[Tensor, "m n"]:
    """The row shares of the group of each problem, without a copy where there is one group."""
    return share.expand(len(group), -1) if len(share) == 1 else share[group]


def chunk_rows(columns: int) -> int:
    """Rows a chunk for that many columns of logits."""
    return min(max(CHUNK // columns, 512), 4096)
