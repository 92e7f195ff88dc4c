"""Running inner products of gradients that come one at a time, exact and sketched.

Gradients are flat vectors in which the parameters of a leaf lie side by side. They are worked
through in runs that fit the processor's cache: products with what is held, the sum, the exchange
of the last gradient and the sketch read a run while it is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from degradation.errors import ConfigError
from probes.conflict.leaves import Leaf, leaves_of
from probes.conflict.products import Products
from probes.conflict.sketch import draw_signs, fold

__all__ = ["Layout", "Tally", "layout_of"]

RUN = 1 << 17
"""About how many entries are worked on at once: half a megabyte each."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each parameter lies in a flat gradient.

    Attributes:
        leaves: In the order in which they lie.
        sizes: Parameters of each leaf.
        runs: The stretch of each parameter, by name, in the order in which they lie.
        device: Of all parameters.
    """

    leaves: tuple[Leaf, ...]
    sizes: tuple[int, ...]
    runs: Mapping[str, slice]
    device: torch.device

    @property
    def total(self) -> int:
        """P, parameters in all."""
        return sum(self.sizes)


def layout_of(parameters: Mapping[str, Tensor]) -> Layout:
    """The layout of parameters by name.

    Raises:
        ConfigError: They lie on several devices.
    """
    devices = {parameter.device for parameter in parameters.values()}
    if len(devices) != 1:
        raise ConfigError(
            "Expected parameters on one device, found "
            f"{', '.join(sorted(map(str, devices))) or 'none'}. Move the model to one."
        )
    leaves = leaves_of(list(parameters))
    runs, sizes, start = {}, [], 0
    for members in leaves.values():
        first = start
        for name in members:
            runs[name] = slice(start, start + parameters[name].numel())
            start = runs[name].stop
        sizes.append(start - first)
    return Layout(tuple(leaves), tuple(sizes), runs, devices.pop())


@dataclass(frozen=True, slots=True)
class _Run:
    """A stretch of a leaf: its number, where it lies, and where its sketch lies."""

    leaf: int
    stretch: slice
    cells: slice


class Tally:
    """Inner products of the gradients taken so far.

    Args:
        layout: Of the gradients.
        tasks: T.
        batches: M.
        cells: Of each leaf's sketch.
        seed: Of its signs.
        exact: Whether to keep last gradients and sums.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        tasks: int,
        batches: int,
        cells: tuple[int, ...],
        seed: int,
        exact: bool,
    ):
        self.layout, self.cells, self.seed, self.exact = layout, cells, seed, exact
        self.signs = {
            number: draw_signs(size, seed=seed, name=leaf.name).to(layout.device)
            for number, (leaf, size) in enumerate(zip(layout.leaves, layout.sizes, strict=True))
            if cells[number] < size
        }
        self.runs = _runs_of(layout.sizes, cells)
        self.run_leaf = np.array([run.leaf for run in self.runs])
        self.sketches = torch.zeros(tasks, batches, sum(cells))
        held = (tasks, layout.total) if exact else (tasks, 0)
        self.last = torch.zeros(held, device=layout.device)
        self.sums = torch.zeros(held, device=layout.device)
        leaves = len(layout.leaves)
        self.same = np.zeros((leaves, batches, tasks, tasks))
        self.following = np.zeros((leaves, batches - 1, tasks))
        self.losses = np.zeros((batches, tasks))

    def take(self, gradient: Float32[Tensor, " p"], *, task: int, batch: int, loss: float) -> bool:
        """Count a gradient; whether it is finite.

        Args:
            gradient: Overwritten.
            task: Its task. Tasks come in order, all of one batch before the next batch.
            batch: Its batch.
            loss: Of that batch.
        """
        self.losses[batch, task] = loss
        sketch = torch.zeros(sum(self.cells), device=gradient.device)
        dots = [self._take_run(gradient, run, sketch, task) for run in self.runs]
        self.sketches[task, batch] = sketch.cpu()
        if not self.exact:
            return bool(torch.isfinite(self.sketches[task, batch]).all())
        by_leaf = self._by_leaf(torch.stack(dots).cpu().double().numpy())
        self.same[:, batch, task, : task + 1] = by_leaf[:, [*range(task), task + 1]]
        self.same[:, batch, : task + 1, task] = self.same[:, batch, task, : task + 1]
        if batch:
            self.following[:, batch - 1, task] = by_leaf[:, task]
        return bool(np.isfinite(by_leaf).all())

    def _take_run(
        self, gradient: Tensor, run: _Run, sketch: Tensor, task: int
    ) -> Float32[Tensor, " dots"] | None:
        """Products of one run: with earlier tasks, with the last of its own, with itself."""
        x, dots = gradient[run.stretch], None
        if self.exact:
            held = self.last[: task + 1, run.stretch]
            dots = torch.cat([held @ x, (x @ x)[None]])
            self.sums[task, run.stretch] += x
            held[task] = x
        into = sketch[run.cells]
        if run.leaf in self.signs:
            start = self._start(run.leaf)
            own = slice(run.stretch.start - start, run.stretch.stop - start)
            fold(x, self.signs[run.leaf][own], into)
        else:
            into.copy_(x)
        return dots

    def _start(self, leaf: int) -> int:
        """Where a leaf begins in the flat gradient."""
        return sum(self.layout.sizes[:leaf])

    def _by_leaf(self, values: Float64[np.ndarray, "runs _"]) -> Float64[np.ndarray, "g _"]:
        """Sums of the values of a leaf's runs."""
        sums = np.zeros((len(self.layout.leaves), values.shape[1]))
        np.add.at(sums, self.run_leaf, values)
        return sums

    def products(self, tasks: tuple[str, ...], *, preconditioned: bool) -> Products:
        """The products, after the last gradient.

        Args:
            tasks: Their names.
            preconditioned: As recorded.
        """
        gram = self._gram()
        total, same, following = self._total() if self.exact else None, self.same, self.following
        if total is None:
            # In float64, before rounding: numerators and noise are differences of large sums.
            total = np.einsum("gimjn->gij", gram)
            same = np.einsum("gimjm->gmij", gram)
            consecutive = np.einsum("gimin->gimn", gram)
            following = np.diagonal(consecutive, offset=1, axis1=2, axis2=3).transpose(0, 2, 1)
        return Products(
            tasks=tasks,
            leaves=self.layout.leaves,
            parameters=self.layout.sizes,
            cells=self.cells,
            total=total,
            same=np.ascontiguousarray(same),
            following=np.ascontiguousarray(following),
            gram=gram.astype(np.float32),
            losses=self.losses,
            exact=self.exact,
            preconditioned=preconditioned,
            seed=self.seed,
        )

    def _total(self) -> Float64[np.ndarray, "g T T"]:
        """Products of the sums over batches."""
        runs = [(self.sums[:, run.stretch] @ self.sums[:, run.stretch].T) for run in self.runs]
        found = torch.stack(runs).cpu().double().numpy()
        found = (found + found.swapaxes(-1, -2)) / 2  # a matrix product rounds either half its way
        return self._by_leaf(found.reshape(len(runs), -1)).reshape(-1, *found.shape[1:])

    def _gram(self) -> Float64[np.ndarray, "g T M T M"]:
        """Products of all sketches."""
        tasks, batches, _ = self.sketches.shape
        grams, start = [], 0
        for cells in self.cells:
            own = (
                self.sketches[:, :, start : start + cells].reshape(tasks * batches, cells).double()
            )
            grams.append((own @ own.T).numpy().reshape(tasks, batches, tasks, batches))
            start += cells
        return np.stack(grams)


def _runs_of(sizes: tuple[int, ...], cells: tuple[int, ...]) -> list[_Run]:
    """All runs, each a multiple of its leaf's k except the last of a leaf."""
    runs, start, cell = [], 0, 0
    for leaf, (size, k) in enumerate(zip(sizes, cells, strict=True)):
        step = max(1, RUN // k) * k
        runs += [
            _Run(leaf, slice(first, min(first + step, start + size)), slice(cell, cell + k))
            for first in range(start, start + size, step)
        ]
        start, cell = start + size, cell + k
    return runs
