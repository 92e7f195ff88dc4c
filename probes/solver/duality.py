"""How far a fit can be from its optimum: the duality gap, in float64 whatever the fit is in."""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from probes.solver.logistic import LogisticPath
from probes.solver.passes import ABSENT, chunk_rows

__all__ = ["duality_gap"]


def duality_gap(path: LogisticPath) -> Float64[np.ndarray, " b"]:
    """Objective minus a lower bound on the optimum, shape (b,), for each fit of a path.

    With v_i the share of row i in the mean, the Fenchel dual of the objective is, over
    row-stochastic q (n, c) whose class means equal those of the target (the price of a free bias),

        sum_i v_i entropy of q_i - ||sum_i v_i (q_i - target_i) z_i^T||^2 / (2 s).

    The model's own probabilities miss the constraint by the bias gradient; mixing in a constant row
    with the smallest weight that repairs the means makes them feasible. The objective is strongly
    convex in the weights, so their Euclidean distance to the optimal ones is at most
    sqrt(2 gap / s).
    """
    loss, present = path.loss, path.bias > ABSENT
    (b, c, d), group = path.weights.shape, path.loss.group_of
    mass = (loss.groups.share.double() @ loss.target.double().T)[group]
    mean = torch.zeros_like(mass)
    for _, _, share, _, log_p in _log_probabilities(path):
        mean += torch.einsum("bcm,bm->bc", log_p.exp(), share)
    short = torch.where(present, (mean - mass) / mean, 0.0)
    mix = short.clamp_min(0).amax(1).clamp_min(1e-15)[:, None]
    row = (mass + (1 - mix) / mix * (mass - mean)).clamp_min(0) * present
    value = torch.zeros(b, dtype=torch.float64, device=mass.device)
    entropy, residual_sum = torch.zeros_like(value), torch.zeros_like(mass)
    moment = torch.zeros(b, c, d, dtype=torch.float64, device=mass.device)
    for z, target, share, finite, log_p in _log_probabilities(path):
        q = (1 - mix[:, :, None]) * log_p.exp() + (mix * row)[:, :, None]
        value -= ((finite * target).sum(1) * share).sum(1)
        entropy -= (torch.xlogy(q, q).sum(1) * share).sum(1)
        residual = (q - target) * share[:, None]
        residual_sum += residual.sum(2)
        moment += (residual.view(b * c, -1) @ z).view(b, c, d)
    shift = loss.groups.mean[group][:, None] * residual_sum[:, :, None]
    moment = (moment - shift) * loss.groups.scale[group][:, None]
    s = loss.strengths
    value += s / 2 * path.weights.square().sum((1, 2))
    gap = value - entropy + moment.square().sum((1, 2)) / (2 * s)
    return gap.clamp_min(0).cpu().numpy()


def _log_probabilities(
    path: LogisticPath,
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """Chunk by chunk: z-scores, targets, row shares, log-probabilities that are finite, and all."""
    loss, group = path.loss, path.loss.group_of
    b, c, d = path.weights.shape
    common, offset = loss.groups.common(path.weights, path.bias, group)
    absent = (path.bias <= ABSENT)[:, :, None]
    for rows, narrow in loss.prepared.chunks(chunk_rows(2 * b * c)):
        z = narrow.double()
        logits = (common.view(b * c, d) @ z.T).view(b, c, -1) + offset[:, :, None]
        log_p = logits.masked_fill(absent, -torch.inf).log_softmax(1)
        finite = log_p.masked_fill(absent, 0.0)
        share = loss.groups.share[group][:, rows].double()
        yield z, loss.target[:, rows].double(), share, finite, log_p
