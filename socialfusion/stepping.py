"""One step of the optimiser: the gradients of its micro-batches, put together and followed.

Several processes each take a share of the rows of every micro-batch and add their gradients up, so
that the step is the same whatever their number, up to rounding.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int64
from torch import Tensor, nn

from degradation.errors import ConfigError
from probes.statistics.bootstrap import stream
from socialfusion.learner import Learner, QuestionBatch
from socialfusion.mixing import Draw
from socialfusion.place import Place
from socialfusion.records import FusionSettings

__all__ = ["Stepper", "Taken", "aggregator_of", "optimiser_of"]

Aggregator = torch.nn.Module
ENCODER = "encoder."
"""What the names of an encoder's weights begin with."""
ENCODER_SHARE = 0.1
"""Learning rate of an encoder over that of the rest, unless told otherwise: a guess that is common
where vision-language models train their tower."""


def optimiser_of(
    parameters: Mapping[str, nn.Parameter], settings: FusionSettings
) -> torch.optim.AdamW:
    """AdamW (betas 0.9 and 0.999) on all that is trained.

    An encoder's weights have a learning rate of their own; `share` of a group is its rate over that
    of the rest.
    """
    own = settings.encoder_learning_rate
    share = ENCODER_SHARE if own is None else own / settings.learning_rate
    rest = [one for name, one in parameters.items() if not name.startswith(ENCODER)]
    tower = [one for name, one in parameters.items() if name.startswith(ENCODER)]
    groups = [{"params": rest, "share": 1.0}]
    if tower:
        groups.append({"params": tower, "share": share})
    return torch.optim.AdamW(
        groups,
        lr=settings.learning_rate,
        betas=(0.9, 0.999),
        weight_decay=settings.weight_decay,
    )


def aggregator_of(name: str) -> Aggregator:
    """A TorchJD aggregator by its class name: `UPGrad`, `PCGrad`, `MGDA`.

    Raises:
        ConfigError: TorchJD is not installed, has none of that name, or one that needs more.
    """
    try:
        from torchjd import aggregation
    except ImportError as error:
        raise ConfigError(
            f"Expected TorchJD for the aggregator {name}, but it is not installed. "
            "Run `pip install 'sdiag[mtl]'`."
        ) from error
    kind = getattr(aggregation, name, None)
    if not (isinstance(kind, type) and issubclass(kind, aggregation.Aggregator)):
        raise ConfigError(
            f"Expected an aggregator of TorchJD, as UPGrad, PCGrad or MGDA, found {name!r}."
        )
    try:
        return kind()
    except (TypeError, ImportError) as error:
        raise ConfigError(
            f"Expected an aggregator that needs nothing but gradients, found {name}: {error}. "
            "Take UPGrad, PCGrad or MGDA."
        ) from error


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a step.

    Attributes:
        losses: Sum of the losses of its rows and their number, by question.
        norm: Norm of its gradient before clipping; not finite where a loss or a gradient was not,
            and then no step was taken.
        halt: Whether any process was asked to stop.
    """

    losses: Mapping[str, tuple[float, float]]
    norm: float
    halt: bool

    @property
    def finite(self) -> bool:
        """Whether all of its numbers are, so that the step was taken."""
        return math.isfinite(self.norm + sum(total for total, _ in self.losses.values()))


@dataclass(frozen=True, slots=True, eq=False)
class Stepper:
    """Takes steps.

    Attributes:
        model: On the place's device.
        parameters: What is trained.
        optimiser: Of these parameters.
        settings: Of the run.
        place: Where to compute.
        accelerator: Knows the other processes.
        aggregator: Combines the gradients of the questions; None for their mean.
    """

    model: Learner
    parameters: Mapping[str, nn.Parameter]
    optimiser: torch.optim.AdamW
    settings: FusionSettings
    place: Place
    accelerator: Accelerator
    aggregator: Aggregator | None

    def share(self, draw: Draw) -> Int64[np.ndarray, " b"]:
        """The rows of a draw that this process takes."""
        return draw.rows[self.accelerator.process_index :: self.accelerator.num_processes]

    def take(
        self,
        number: int,
        draws: Sequence[Draw],
        batches: Sequence[QuestionBatch],
        *,
        rate: float,
        halt: bool,
    ) -> Taken:
        """Follow the gradient of one step, unless it is not finite.

        Args:
            number: Of the step; with the seed it decides what dropout drops.
            draws: Of the step.
            batches: This process's share of each draw.
            rate: Learning rate, of which every group of parameters has its share.
            halt: Whether this process was asked to stop.
        """
        self.optimiser.zero_grad(set_to_none=True)
        device = self.place.device
        sums = torch.zeros(len(draws), device=device)
        used = torch.zeros(len(self.parameters), device=device)
        rows: dict[str, Float[Tensor, " p"]] = {}
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self._seed(number))
            for k, (draw, batch) in enumerate(zip(draws, batches, strict=True)):
                if not len(batch):
                    continue
                with self.place.arithmetic():
                    losses = self.model(self.place.put(batch))
                weight = 1.0 if self.aggregator else draw.weight
                (losses.sum() * (weight / len(draw.rows))).backward()
                sums[k] = losses.detach().sum()
                used += used.new_tensor([one.grad is not None for one in self.parameters.values()])
                if self.aggregator:
                    rows[draw.label] = self._flat()
                    self.optimiser.zero_grad(set_to_none=True)
        sums, stop, used = self._added(torch.cat([sums, sums.new_tensor([halt]), used])).split(
            [len(draws), 1, len(used)]
        )
        gradient = self._combined(draws, rows)
        if gradient is not None:
            self._give(gradient, used.tolist())
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip).item()
        taken = Taken(_by_question(draws, sums.tolist()), norm, bool(stop))
        if taken.finite:
            for group in self.optimiser.param_groups:
                group["lr"] = rate * group["share"]
            self.optimiser.step()
        return taken

    def _seed(self, number: int) -> int:
        rng = stream(self.settings.seed, f"step/{number}/{self.accelerator.process_index}")
        return int(rng.integers(2**63 - 1))

    def _flat(self) -> Float[Tensor, " p"]:
        """All gradients as one vector; 0 where a parameter has none."""
        parts = [
            torch.zeros_like(one).flatten() if one.grad is None else one.grad.flatten()
            for one in self.parameters.values()
        ]
        return torch.cat([part.float() for part in parts])

    def _combined(
        self, draws: Sequence[Draw], rows: Mapping[str, Float[Tensor, " p"]]
    ) -> Float[Tensor, " p"] | None:
        """The gradient of the step over all processes; None where it is in place already."""
        if self.aggregator is None:
            return None if self.accelerator.num_processes == 1 else self._added(self._flat())
        jacobian = torch.stack([rows[draw.label] for draw in draws if draw.label in rows])
        return self.aggregator(self._added(jacobian))

    def _added(self, values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The sum over all processes."""
        if self.accelerator.num_processes == 1:
            return values
        return self.accelerator.reduce(values, reduction="sum")

    def _give(self, gradient: Float[Tensor, " p"], used: Sequence[float]) -> None:
        """Put one vector into the gradients.

        Args:
            gradient: Of all parameters.
            used: 0 for a parameter that no row of the step reached: the optimiser passes it over.
        """
        sizes = [one.numel() for one in self.parameters.values()]
        parts = zip(self.parameters.values(), gradient.split(sizes), used, strict=True)
        for one, part, reached in parts:
            one.grad = part.view_as(one).to(one.dtype) if reached else None


def _by_question(draws: Sequence[Draw], sums: Sequence[float]) -> dict[str, tuple[float, float]]:
    """Sum and number of losses by question."""
    found: dict[str, tuple[float, float]] = {}
    for draw, total in zip(draws, sums, strict=True):
        before = found.get(draw.label, (0.0, 0.0))
        found[draw.label] = (before[0] + total, before[1] + len(draw.rows))
    return found
