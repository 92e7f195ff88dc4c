"""One pass over the batches of several tasks: gradients come, inner products stay.

For each batch number m and each task in turn one gradient is computed, its products with the
gradients that are held are taken, and it replaces the gradient of batch m - 1 of its task. Exact
products of T tasks with P parameters need 2 T P float32 numbers (the last gradients and the sums);
sketches alone none of these, only T M k. Gradients are accumulated in float32 whatever the
arithmetic of the pass; products are float32 over runs of about 100,000 entries and float64 over
the runs.

A preconditioner D rescales each gradient to D^(-1/2) g, so that products become <g_i, D^-1 g_j>:
the geometry in which Adam with D = sqrt(v) + eps takes its steps.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from degradation.errors import ConfigError, DataError
from probes.conflict.products import Products
from probes.conflict.sketch import CELLS, cells_for
from probes.conflict.tally import Layout, Tally, layout_of

__all__ = ["Objective", "bytes_needed", "measure"]


@dataclass(frozen=True, slots=True)
class Objective:
    """The loss of one task.

    Attributes:
        name: Of the task, such as `scenes-relation/domain`.
        losses: For a batch number from 0, scalar losses of micro-batches that sum to the mean loss
            of that batch. Each is differentiated before the next one is asked for.
    """

    name: str
    losses: Callable[[int], Iterable[Tensor]]


def bytes_needed(
    parameters: Mapping[str, Tensor],
    *,
    tasks: int,
    batches: int,
    k: int = CELLS,
    exact: bool = True,
) -> int:
    """Memory of `measure` in bytes, beside the model and the activations of a micro-batch.

    Counted are the gradient as autograd returns it and as it is accumulated, the signs of the
    sketch, the sketches, and in exact mode the last gradients and the sums of all tasks.

    Args:
        parameters: By name, as for `measure`.
        tasks: T.
        batches: M of each task.
        k: Cells of the sketch.
        exact: Whether exact products are taken.
    """
    layout = layout_of(parameters)
    sizes = layout.sizes
    cells = cells_for(sizes, k)
    signed = sum(size for size, own in zip(sizes, cells, strict=True) if own < size)
    own = sum(parameter.numel() * parameter.element_size() for parameter in parameters.values())
    gradients = 4 * layout.total * (1 + 2 * tasks * exact)
    gram = 4 * len(sizes) * (tasks * batches) ** 2
    return own + gradients + signed + 4 * tasks * batches * sum(cells) + gram


def measure(
    objectives: Sequence[Objective],
    parameters: Mapping[str, nn.Parameter],
    *,
    batches: int,
    k: int = CELLS,
    seed: int,
    exact: bool = True,
    preconditioner: Mapping[str, Tensor] | None = None,
    progress: bool = False,
) -> Products:
    """Inner products of the batch gradients of every task, by leaf.

    Args:
        objectives: At least two, of different names. Batch m of all tasks is asked for before
            batch m + 1 of any; pictures may be shared by batches of one number, and by no others.
        parameters: By name, which decides the leaf (`probes.conflict.leaves`); all on one device.
            Their `grad` is neither read nor written. A parameter that a loss does not reach has a
            gradient of zero there.
        batches: M, at least two.
        k: Cells of the sketch, shared out over the leaves.
        seed: Of the signs of the sketch.
        exact: Whether to take exact products too, which costs memory (`bytes_needed`).
        preconditioner: D by name, positive, each of its parameter's shape.
        progress: Show a bar on stderr.

    Returns:
        The products. The same arguments give the same numbers.

    Raises:
        ConfigError: Fewer than two tasks or batches, no parameters or frozen ones, parameters on
            several devices, a preconditioner that does not fit.
        DataError: A loss that is no scalar, is not finite or does not depend on the parameters, or
            a gradient that is not finite or zero throughout.
    """
    _check(objectives, parameters, batches)
    layout = layout_of(parameters)
    scale = None if preconditioner is None else _flat_scale(preconditioner, parameters, layout)
    tally = Tally(
        layout, tasks=len(objectives), batches=batches, cells=cells_for(layout.sizes, k),
        seed=seed, exact=exact,
    )  # fmt: skip
    gradient = torch.zeros(layout.total, device=layout.device)
    with tqdm(total=batches * len(objectives), unit="gradient", disable=not progress) as bar:
        for m in range(batches):
            for number, objective in enumerate(objectives):
                loss = _fill(gradient, objective, m, parameters, layout)
                if scale is not None:
                    gradient *= scale
                if not tally.take(gradient, task=number, batch=m, loss=loss):
                    raise DataError(
                        f"The gradient of {objective.name} on batch {m} is not finite. Compute in "
                        "float32 or bfloat16 instead of float16, or look for damaged inputs."
                    )
                bar.update()
    products = tally.products(
        tuple(objective.name for objective in objectives), preconditioned=scale is not None
    )
    for number, objective in enumerate(objectives):
        if not products.same[:, :, number, number].any():
            raise DataError(
                f"The gradient of {objective.name} is zero in every batch. Its loss is constant "
                "around these weights: check its head and its labels."
            )
    return products


def _check(
    objectives: Sequence[Objective], parameters: Mapping[str, nn.Parameter], batches: int
) -> None:
    """Refuse what cannot be measured, before anything is computed."""
    names = [objective.name for objective in objectives]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            "Conflict is between at least two tasks of different names, but found "
            f"{', '.join(names) or 'none'}. Name another task."
        )
    if batches < 2:
        raise ConfigError(
            f"At least two batches of each task are needed to tell signal from noise, but {batches}"
            " was asked for. Use more pictures or smaller batches."
        )
    frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
    if not parameters or frozen:
        raise ConfigError(
            "Expected parameters that can be trained, but found "
            + (f"frozen ones: {', '.join(frozen[:4])}" if frozen else "none")
            + ". Choose another part of the model, or let these require gradients."
        )
    if len({id(parameter) for parameter in parameters.values()}) < len(parameters):
        raise ConfigError(
            "A parameter is listed under two names, and would count twice. List each one once."
        )


def _flat_scale(
    preconditioner: Mapping[str, Tensor], parameters: Mapping[str, nn.Parameter], layout: Layout
) -> Tensor:
    """D^(-1/2) in the order of the layout, float32, shape (p,)."""
    scale = torch.empty(layout.total, device=layout.device)
    for name, run in layout.runs.items():
        own = preconditioner.get(name)
        if own is None or own.shape != parameters[name].shape:
            found = "nothing" if own is None else f"shape {tuple(own.shape)}"
            raise ConfigError(
                f"Expected a preconditioner of shape {tuple(parameters[name].shape)} for {name}, "
                f"found {found}. Use the optimiser state of this very model."
            )
        if not (torch.isfinite(own).all() and (own > 0).all()):
            raise ConfigError(
                f"The preconditioner of {name} is not positive and finite throughout. Use the "
                "square root of Adam's second moment plus its epsilon."
            )
        scale[run] = own.detach().to(scale).rsqrt().flatten()
    return scale


def _fill(
    gradient: Tensor,
    objective: Objective,
    m: int,
    parameters: Mapping[str, nn.Parameter],
    layout: Layout,
) -> float:
    """Overwrite a flat gradient with that of one batch; its loss."""
    names = list(layout.runs)
    wanted = [parameters[name] for name in names]
    gradient.zero_()
    total, reached = 0.0, False
    with torch.enable_grad():
        for loss in objective.losses(m):
            total += _value(loss, objective, m)
            if not loss.requires_grad:
                continue
            grads = torch.autograd.grad(loss, wanted, allow_unused=True)
            for name, own in zip(names, grads, strict=True):
                if own is not None:
                    reached = True
                    gradient[layout.runs[name]].add_(own.reshape(-1))
    if not reached:
        raise DataError(
            f"The loss of {objective.name} on batch {m} does not depend on the parameters. Check "
            "that its features are computed with gradients and from the chosen part of the model."
        )
    return total


def _value(loss: Tensor, objective: Objective, m: int) -> float:
    """A loss as a number, refused unless it is a finite scalar."""
    if loss.ndim:
        raise DataError(
            f"Expected scalar losses from {objective.name}, found shape {tuple(loss.shape)} on "
            f"batch {m}. Sum them, each divided by the rows of the whole batch."
        )
    value = float(loss.detach())
    if not abs(value) < float("inf"):
        raise DataError(
            f"The loss of {objective.name} on batch {m} is {value}. Look for damaged inputs or "
            "labels, or compute in float32."
        )
    return value
