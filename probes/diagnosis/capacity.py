"""Capacity: what a network reads from the features beyond the linear probe it starts from.

Both sides get the same rows, the same initial weights and order of the rows, and the same
procedure: the held-out rows of each stage choose weight decay and length of training together, by
the loss averaged over seeds, and the linear probe itself, training of length zero, is among the
choices. The network is then trained on all rows of the stage for as long. Probabilities are
averaged over seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64
from torch import Tensor

from probes.diagnosis.networks import ROUNDS, Network, train
from probes.problems import ClassProblem, GazeProblem, balanced_weights
from probes.selection import Plan, Stage, read_out
from probes.statistics.bootstrap import stream

__all__ = ["Anchor", "Grid", "NetworkReadout", "Targets", "anchor", "read_network", "targets_of"]

Rows = Int64[np.ndarray, " _"]

FLOOR = 1e-7
"""Least probability whose logarithm a network is added to; a class that the linear probe has not
seen has none at all."""
PATIENCE = 3
"""Rounds without a lower held-out loss after which no longer training is tried."""
CHUNK = 1024
"""Rows predicted at once."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What is tried.

    Attributes:
        decays: Weight decays.
        seeds: Number of initial weights and orders of the rows.
    """

    decays: tuple[float, ...]
    seeds: int


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What a network is trained towards.

    Attributes:
        shares: Share of each class or cell, shape (n, c).
        labels: Class indices if every class weighs the same, else None.
    """

    shares: Float32[Tensor, "n c"]
    labels: Int64[np.ndarray, " n"] | None

    def weights(self, rows: Rows) -> Float32[Tensor, " n"]:
        """Weights of these rows, with a mean of 1; zero elsewhere."""
        found = np.zeros(len(self.shares), dtype=np.float32)
        found[rows] = 1.0 if self.labels is None else balanced_weights(self.labels[rows])
        return torch.from_numpy(found)


def targets_of(problem: ClassProblem | GazeProblem) -> Targets:
    """The targets of a problem; rows that no plan uses may hold anything."""
    if isinstance(problem, GazeProblem):
        return Targets(torch.from_numpy(problem.targets.astype(np.float32)), None)
    shares = np.zeros((len(problem.labels), problem.n_classes), dtype=np.float32)
    known = np.flatnonzero(problem.labels >= 0)
    shares[known, problem.labels[known]] = 1
    return Targets(torch.from_numpy(shares), problem.labels if problem.balanced else None)


@dataclass(frozen=True, slots=True, eq=False)
class Anchor:
    """The linear probe of one stage, as the log-probabilities that networks are added to.

    Attributes:
        stage: The stage.
        strength: The chosen L2 strength.
        trials: Log-probabilities of all rows by the probe of each trial's fitted rows, (n, c).
        train: The same by the probe of the stage's training rows.
    """

    stage: Stage
    strength: float
    trials: tuple[Float32[Tensor, "n c"], ...]
    train: Float32[Tensor, "n c"]


def anchor(problem: ClassProblem | GazeProblem, plan: Plan) -> list[Anchor]:
    """The linear probes of a plan's stages, chosen as every linear probe is."""
    anchors = []
    for stage in plan.stages:
        strength = read_out(problem, Plan((stage,), plan.rule)).strength
        trials = tuple(
            _log_probabilities(problem, fit, strength, np.concatenate([fit, held]))
            for fit, held in stage.trials
        )
        used = np.concatenate([stage.train, stage.predict])
        train = _log_probabilities(problem, stage.train, strength, used)
        anchors.append(Anchor(stage, strength, trials, train))
    return anchors


def _log_probabilities(
    problem: ClassProblem | GazeProblem, fit: Rows, strength: float, rows: Rows
) -> Float32[Tensor, "n c"]:
    """Of these rows, by the probe of the rows fitted; zero for all others."""
    scores = problem.fit(fit, [strength]).scores(rows)[0]
    n = len(problem.labels if isinstance(problem, ClassProblem) else problem.targets)
    found = np.zeros((n, scores.shape[1]), dtype=np.float32)
    found[rows] = np.log(np.maximum(scores, FLOOR))
    return torch.from_numpy(found)


@dataclass(frozen=True, slots=True, eq=False)
class NetworkReadout:
    """What a plan yields with a network.

    Attributes:
        by_seed: Scores of `plan.predicted`, in that order, for each seed, shape (s, k, c).
        decays: Chosen weight decay of each stage.
        rounds: Chosen rounds of training of each stage; 0 is the linear probe.
    """

    by_seed: Float32[np.ndarray, "s k c"]
    decays: tuple[float, ...]
    rounds: tuple[int, ...]

    @property
    def scores(self) -> Float64[np.ndarray, "k c"]:
        """Mean probability over seeds."""
        return self.by_seed.mean(axis=0, dtype=np.float64)


def read_network(
    build: Callable[[Rows], Network],
    anchors: Sequence[Anchor],
    targets: Targets,
    grid: Grid,
    *,
    seed: int,
    name: str,
) -> NetworkReadout:
    """Choose, train again and predict, stage by stage.

    Args:
        build: The network whose inputs are standardised by these rows.
        anchors: The linear probes of the stages.
        targets: What is predicted.
        grid: What is tried.
        seed: Of the run.
        name: Of question and probe; with the seed it decides initial weights and orders.
    """
    names = [f"{name}/{k}" for k in range(grid.seeds)]
    scores, chosen = [], []

    def rngs() -> list[np.random.Generator]:
        return [stream(seed, each) for each in names]

    for one in anchors:
        losses = _held_out(build, one, targets, grid.decays, rngs)
        rounds, lane = np.unravel_index(np.argmin(losses), losses.shape)
        chosen.append((grid.decays[lane], int(rounds)))
        network = build(one.stage.train)
        scores.append(
            [
                _refit(network, one, targets, *chosen[-1], rng=stream(seed, n))
                for n in (names if rounds else names[:1])
            ]
        )
    most = max(map(len, scores))
    order = np.argsort(np.concatenate([one.stage.predict for one in anchors]))
    by_seed = [np.concatenate([s[k % len(s)] for s in scores])[order] for k in range(most)]
    return NetworkReadout(
        np.stack(by_seed), tuple(d for d, _ in chosen), tuple(r for _, r in chosen)
    )


def _held_out(
    build: Callable[[Rows], Network],
    one: Anchor,
    targets: Targets,
    decays: Sequence[float],
    rngs: Callable[[], list[np.random.Generator]],
) -> Float64[np.ndarray, "rounds b"]:
    """Loss of each length of training and decay, added over trials and seeds.

    All trainings go on side by side until no decay has come nearer for some rounds; longer ones
    count as infinitely bad.
    """
    total = np.full((ROUNDS + 1, len(decays)), np.inf)
    total[0] = 0
    running: list[tuple[Callable[[list[Tensor]], np.ndarray], Iterator[list[Tensor]]]] = []
    for (fit, held), offset in zip(one.stage.trials, one.trials, strict=True):
        network, weights = build(fit), targets.weights(fit)
        own = targets.shares.double().numpy()[held]
        own = own * targets.weights(held).double().numpy()[held, None]
        total[0] -= len(rngs()) * (_log_softmax(offset.double().numpy()[held]) * own).sum()
        for rng in rngs():
            steps = train(network, offset, targets.shares, weights, fit, decays, rng=rng)
            loss = partial(_loss, network, offset, held, own)
            running.append((loss, steps))
    for k in range(1, ROUNDS + 1):
        total[k] = sum(loss(next(steps)) for loss, steps in running)
        if k - int(total[: k + 1].min(axis=1).argmin()) >= PATIENCE:
            break
    return total


def _loss(
    network: Network,
    offset: Float32[Tensor, "n c"],
    held: Rows,
    own: Float64[np.ndarray, "k c"],
    parameters: list[Tensor],
) -> Float64[np.ndarray, " b"]:
    """Held-out loss in every lane."""
    probabilities = _predict(network, parameters, offset, held)
    return -(np.log(np.maximum(probabilities, 1e-30)) * own).sum(axis=(1, 2))


def _refit(
    network: Network,
    one: Anchor,
    targets: Targets,
    decay: float,
    rounds: int,
    *,
    rng: np.random.Generator,
) -> Float32[np.ndarray, "k c"]:
    """Scores of the predicted rows after training on the stage's rows for that long."""
    if rounds == 0:
        return np.exp(_log_softmax(one.train.double().numpy()[one.stage.predict])).astype(
            np.float32
        )
    rows = one.stage.train
    weights = targets.weights(rows)
    for parameters in train(
        network, one.train, targets.shares, weights, rows, [decay], rng=rng, rounds=rounds
    ):
        last = parameters
    return _predict(network, last, one.train, one.stage.predict)[0].astype(np.float32)


@torch.no_grad()
def _predict(
    network: Network, parameters: list[Tensor], offset: Float32[Tensor, "n c"], rows: Rows
) -> Float64[np.ndarray, "b k c"]:
    """Probabilities of rows in every lane."""
    parts = []
    for start in range(0, len(rows), CHUNK):
        part = torch.from_numpy(rows[start : start + CHUNK])
        logits = network.logits(parameters, part) + offset[part]
        parts.append(torch.softmax(logits.double(), dim=2).numpy())
    return np.concatenate(parts, axis=1)


def _log_softmax(logits: Float64[np.ndarray, "k c"]) -> Float64[np.ndarray, "k c"]:
    """Log-probabilities of each row."""
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
