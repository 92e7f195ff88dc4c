"""Which rows of which question every step takes.

A step is decided by the seed, its number and how many rows of each question were drawn before, so
that these counts are all that a checkpoint has to keep of the sampler. The rows of a question come
in epochs: each is a permutation of its own, and a batch may reach from one into the next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from degradation.errors import ConfigError
from probes.statistics.bootstrap import stream
from socialfusion.records import FusionSettings

__all__ = ["Draw", "Mixer", "shares"]


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """One micro-batch: rows that all answer one question.

    Attributes:
        label: The question.
        rows: Positions in the table of its task, shape (b,).
        before: Rows of the question drawn before, which tells this draw from all others.
        weight: Of its mean loss in the loss of the step; these sum to 1.
    """

    label: str
    rows: Int64[np.ndarray, " b"]
    before: int
    weight: float


def shares(counts: Sequence[int], temperature: float) -> Float64[np.ndarray, " q"]:
    """Probability of each question, in proportion to n^(1/T).

    T = 1 is in proportion to the rows, large T the same for all.

    Args:
        counts: Training rows n of each question.
        temperature: T.

    Raises:
        ConfigError: T is not positive.

    Example:
        >>> shares([100, 400], 2.0).round(3).tolist()
        [0.333, 0.667]
    """
    if not temperature > 0:
        raise ConfigError(f"Expected a temperature above 0, found {temperature}.")
    log = np.log(np.asarray(counts, dtype=np.float64)) / temperature
    weight = np.exp(log - log.max())
    return weight / weight.sum()


@dataclass(frozen=True, slots=True, eq=False)
class Mixer:
    """The draws of a run.

    Attributes:
        rows: Training rows by question, in a fixed order.
        settings: Of the run: seed, batch size, mixing and budget.
    """

    rows: Mapping[str, Int64[np.ndarray, " _"]]
    settings: FusionSettings

    def step(self, number: int, active: Sequence[str], seen: Mapping[str, int]) -> tuple[Draw, ...]:
        """The draws of one step, question after question in a fixed order.

        Args:
            number: Of the step, from 0.
            active: Questions that still get batches, at least one.
            seen: Rows of each question drawn before this step.
        """
        sizes = self._sizes(number, [label for label in self.rows if label in active])
        before = dict(seen)
        draws = []
        for label, size in sizes:
            draws.append(
                Draw(label, self._rows(label, before[label], size), before[label], 1 / len(sizes))
            )
            before[label] += size
        return tuple(draws)

    def _sizes(self, number: int, active: Sequence[str]) -> list[tuple[str, int]]:
        """Question and rows of each micro-batch of a step."""
        settings, q = self.settings, len(active)
        if settings.mixing == "temperature":
            rng = stream(settings.seed, f"mixing/{number}")
            chance = shares([len(self.rows[label]) for label in active], settings.temperature)
            times = settings.accumulation * (q if settings.budget == "per-task" else 1)
            return [
                (active[k], settings.batch_size) for k in sorted(rng.choice(q, times, p=chance))
            ]
        if settings.budget == "per-task":
            return [(label, settings.batch_size) for label in active]
        # What does not divide goes round, so that all get the same in the long run.
        each, rest = divmod(settings.batch_size, q)
        extra = {(number * rest + k) % q for k in range(rest)}
        sizes = [(label, each + (k in extra)) for k, label in enumerate(active)]
        return [(label, size) for label, size in sizes if size]

    def _rows(self, label: str, before: int, size: int) -> Int64[np.ndarray, " b"]:
        """The next rows of a question."""
        rows = self.rows[label]
        n = len(rows)
        parts = []
        while size:
            epoch, at = divmod(before, n)
            order = stream(self.settings.seed, f"epoch/{label}/{epoch}").permutation(n)
            parts.append(rows[order[at : at + size]])
            before += len(parts[-1])
            size -= len(parts[-1])
        return np.concatenate(parts)
