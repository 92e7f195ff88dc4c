"""Networks that add to a linear probe: an MLP with one hidden layer, and an attentive probe.

A network is a set of parameters, each with a leading axis of b lanes, and a function from them to
logits that are added to those of the linear probe. It starts at nothing: before the first step it
is the linear probe, and so more capacity can only help on the rows that decide how long it is
trained. Lanes differ in their weight decay only and see the same batches, so that one matrix
product serves all of them.

Training is Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), in float32
on the CPU and deterministic: initial weights and the order of the rows come from the generator.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

__all__ = ["ROUNDS", "Network", "attentive", "gaze_mlp", "mlp", "train"]

HIDDEN = 128
"""Hidden units: more than any data set here has classes, and few beside its rows."""
RATE = 2e-3
MOMENTS, EPSILON = (0.9, 0.99), 1e-8
BATCH = 128
ROUNDS = 8
"""Points of the training at which it may be stopped."""
PASSES, FEWEST, MOST = 64, 480, 8000
"""Passes over the rows in all rounds, and the bounds on the steps that these come to."""

Parameters = list[Tensor]
"""One tensor a parameter, lanes first."""


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """What is trained.

    Attributes:
        shapes: Of each parameter, without the lanes.
        spreads: Standard deviation of its initial values; 0 starts it at zero.
        decayed: Whether weight decay acts on it.
        logits: Parameters of b lanes and rows (m,), to what is added to the logits, (b, m, c).
    """

    shapes: tuple[tuple[int, ...], ...]
    spreads: tuple[float, ...]
    decayed: tuple[bool, ...]
    logits: Callable[[Parameters, Tensor], Tensor]


def mlp(z: Float32[Tensor, "n d"], n_classes: int, *, hidden: int = HIDDEN) -> Network:
    """One hidden layer of rectified units beside a linear path: z L + relu(z U + u) V + v.

    Args:
        z: Features of all rows, z-scored.
        n_classes: Number of classes c.
        hidden: Number of hidden units.
    """
    d = z.shape[1]

    def logits(parameters: Parameters, rows: Tensor) -> Tensor:
        linear, into, into_bias, out, out_bias = parameters
        lanes, batch = len(linear), z[rows]
        straight = _side_by_side(batch, linear)
        code = torch.relu(_side_by_side(batch, into) + into_bias.reshape(-1))
        code = code.reshape(len(batch), lanes, hidden).transpose(0, 1)
        straight = straight.reshape(len(batch), lanes, n_classes).transpose(0, 1)
        return straight + torch.baddbmm(out_bias[:, None], code, out)

    return Network(
        shapes=((d, n_classes), (d, hidden), (hidden,), (hidden, n_classes), (n_classes,)),
        spreads=(0.0, (2 / d) ** 0.5, 0.0, 0.0, 0.0),
        decayed=(True, True, False, True, False),
        logits=logits,
    )


def _side_by_side(x: Float32[Tensor, "m d"], weights: Float32[Tensor, "b d k"]) -> Tensor:
    """The features times the weights of all lanes as one product, shape (m, b * k)."""
    return x @ weights.permute(1, 0, 2).reshape(x.shape[1], -1)


def gaze_mlp(
    z: Float32[Tensor, "n d"], phi: Float32[Tensor, "n t m"], *, hidden: int = HIDDEN
) -> Network:
    """An MLP whose outputs weigh the displacement basis of `probes.gaze`.

    Args:
        z: Head features of all rows, z-scored.
        phi: Displacement basis of all rows and cells.
        hidden: Number of hidden units.
    """
    code = mlp(z, phi.shape[2], hidden=hidden)

    def logits(parameters: Parameters, rows: Tensor) -> Tensor:
        return torch.einsum("bmk,mtk->bmt", code.logits(parameters, rows), phi[rows])

    return Network(code.shapes, code.spreads, code.decayed, logits)


def attentive(
    tokens: Float32[Tensor, "n t d"],
    shares: Float32[Tensor, "n r t"],
    mean: Float32[Tensor, "r d"],
    scale: Float32[Tensor, "r d"],
    n_classes: int,
) -> Network:
    """One learned query a class and region, which weighs the tokens of that region.

    With s_rt the share of token t in the pooled feature of region r, and z_rt the token z-scored by
    the statistics of that feature,

        a_rct is s_rt exp(q_rc . z_rt / sqrt d), normalised over t
        logit_c = v_c + sum over r, t of a_rct (w_rc . z_rt)

    so that queries of zero read the pooled features linearly.

    Args:
        tokens: Token maps of all rows.
        shares: Pooling weights; those of a region sum to 1.
        mean: Subtracted from the tokens, by region.
        scale: They are then multiplied by it.
        n_classes: Number of classes c.
    """
    (regions, d), c = mean.shape, n_classes
    offset = shares.clamp_min(1e-30).log()

    def logits(parameters: Parameters, rows: Tensor) -> Tensor:
        query, readout, bias = parameters
        lanes, k = len(query), len(query) * c
        maps, total = tokens[rows], bias[:, None]
        for r in range(regions):
            # Z-scoring is moved into the vectors, so that the maps are not copied.
            pull = query[:, r].reshape(k, d) * (scale[r] / d**0.5)
            read = readout[:, r].reshape(k, d) * scale[r]
            pulled, values = (maps @ torch.cat([pull, read]).T).split(k, dim=2)
            share = torch.softmax(pulled + offset[rows, r, :, None], dim=1)
            added = (share * (values - read @ mean[r])).sum(1)
            total = total + added.reshape(len(rows), lanes, c).transpose(0, 1)
        return total

    shape = (regions, c, d)
    return Network((shape, shape, (c,)), (0.5, 0.0, 0.0), (True, True, False), logits)


def train(
    network: Network,
    offset: Float32[Tensor, "n c"],
    targets: Float32[Tensor, "n c"],
    weights: Float32[Tensor, " n"],
    rows: Int64[np.ndarray, " k"],
    decays: Sequence[float],
    *,
    rng: np.random.Generator,
    rounds: int = ROUNDS,
) -> Iterator[Parameters]:
    """Parameters after each round of training, one lane a weight decay.

    The loss is the cross-entropy against the targets, averaged with the weights. The length of a
    round depends on the number of rows only, so that stopping after k rounds and training for k
    rounds are the same.

    Args:
        network: What is trained.
        offset: Logits of the linear probe, by row.
        targets: Share of each class, by row.
        weights: Of the rows, with a mean of about 1.
        rows: The rows fitted.
        decays: Weight decays, one a lane: a step multiplies weights by 1 - rate * decay.
        rng: Initial weights and order of the rows.
        rounds: How many are asked for.
    """
    parameters = _start(network, len(decays), rng)
    adam = _Adam(parameters, network.decayed, decays)
    steps = int(np.clip(PASSES * len(rows) / BATCH, FEWEST, MOST)) // ROUNDS
    batches = _batches(rows, rng)
    for _ in range(rounds):
        for _ in range(steps):
            batch = next(batches)
            norm = torch.log_softmax(network.logits(parameters, batch) + offset[batch], dim=2)
            loss = -(norm * targets[batch]).sum(2) @ weights[batch] / len(batch)
            # Lanes share no parameter: the gradient of their sum holds that of each.
            adam.step(torch.autograd.grad(loss.sum(), parameters))
        yield [parameter.detach().clone() for parameter in parameters]


class _Adam:
    """Adam with decoupled decay by lane.

    Written out, since the first step of torch's own imports its compiler, which takes seconds.
    """

    def __init__(self, parameters: Parameters, decayed: Sequence[bool], decays: Sequence[float]):
        self.parameters, self.count = parameters, 0
        self.first = [torch.zeros_like(one) for one in parameters]
        self.second = [torch.zeros_like(one) for one in parameters]
        shrink = 1 - RATE * torch.tensor(list(decays), dtype=torch.float32)
        self.shrink = [
            shrink.reshape(-1, *[1] * (one.dim() - 1)) if weight else None
            for one, weight in zip(parameters, decayed, strict=True)
        ]

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step against the gradients, in place."""
        self.count += 1
        fast, slow = (1 - moment**self.count for moment in MOMENTS)
        state = zip(self.parameters, gradients, self.first, self.second, self.shrink, strict=True)
        for parameter, gradient, first, second, shrink in state:
            if shrink is not None:
                parameter.mul_(shrink)
            first.lerp_(gradient, 1 - MOMENTS[0])
            second.lerp_(gradient.square(), 1 - MOMENTS[1])
            parameter.addcdiv_(first, (second / slow).sqrt_().add_(EPSILON), value=-RATE / fast)


def _start(network: Network, lanes: int, rng: np.random.Generator) -> Parameters:
    """Initial parameters, the same in every lane."""
    parameters = []
    for shape, spread in zip(network.shapes, network.spreads, strict=True):
        value = torch.from_numpy(rng.normal(0.0, spread, shape).astype(np.float32))
        parameters.append(value.expand(lanes, *shape).clone().requires_grad_())
    return parameters


def _batches(rows: Int64[np.ndarray, " k"], rng: np.random.Generator) -> Iterator[Tensor]:
    """Batches without end; each pass over the rows is in another order."""
    size = min(BATCH, len(rows))
    while True:
        order = torch.from_numpy(rng.permutation(rows))
        for start in range(0, len(rows) - size + 1, size):
            yield order[start : start + size]
