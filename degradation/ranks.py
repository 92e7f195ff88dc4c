"""Several processes that work on one extraction: `torchrun`, `accelerate launch`, on any machines.

Each process takes its share of the shards and writes them into the same cache; the first one
leads: it holds the lock and writes what must be written once. The processes need nothing of each
other but a few small records, so they talk over gloo whatever they compute on.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from torch import distributed

from degradation.errors import CacheError, ConfigError, SdiagError

__all__ = ["ALONE", "Ranks", "joined"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Value = TypeVar("Value")

_PATIENCE = timedelta(days=7)  # the launcher ends all processes when one fails; nobody hangs


@dataclass(frozen=True, slots=True)
class Ranks:
    """The place of this process among those of a run; alone by default.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
        local: Number of this process on its machine.
        local_count: Number of processes on its machine.
    """

    rank: int = 0
    count: int = 1
    local: int = 0
    local_count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    @property
    def cores(self) -> int:
        """Cores of this machine for each of its processes."""
        return max(1, (os.cpu_count() or 1) // self.local_count)

    def share(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this process; every item belongs to exactly one."""
        return items[self.rank :: self.count]

    def device(self, name: str) -> str:
        """The device of this process: `cuda` becomes its own GPU where there are several."""
        return f"cuda:{self.local}" if name == "cuda" and self.count > 1 else name

    def exchange(self, value: Value) -> list[Value]:
        """The values of all processes by rank; every process must call it, and all wait for all.

        Raises:
            CacheError: Another process has ended.
        """
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        try:
            distributed.all_gather_object(values, value)
        except RuntimeError as error:
            raise CacheError(
                f"Process {self.rank} of {self.count} lost another one, whose message says why. "
                "What was finished is kept: mend it and run the same command again."
            ) from error
        return values

    def once(self, action: Callable[[], Value]) -> Value:
        """The result of what the leading process alone does; every process must call it.

        Raises:
            SdiagError: That of the leading process, in every process.
        """
        outcome: tuple[Any, SdiagError | None] = (None, None)
        if self.leads:
            try:
                outcome = (action(), None)
            except SdiagError as error:
                outcome = (None, error)
        result, problem = self.exchange(outcome)[0]
        if problem is not None:
            raise problem
        return result


ALONE = Ranks()
"""The only process of its run."""


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks of this process, as its launcher put them into the environment.

    Raises:
        ConfigError: The environment names several processes but not how they meet.
    """
    if (count := int(os.environ.get("WORLD_SIZE", "1"))) == 1:
        if "ACCELERATE_USE_CPU" in os.environ and "MASTER_PORT" in os.environ:
            # It leaves several processes to mpirun, and starts one without a word.
            log.warning(
                "accelerate launch --cpu has started one process only, which does all the work. "
                "For several give --multi_gpu in place of --cpu, without GPUs too, or use torchrun."
            )
        yield Ranks()
        return
    try:
        distributed.init_process_group("gloo", timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"WORLD_SIZE is {count}, but the processes cannot meet ({error}). Start them with "
            "torchrun or accelerate launch, or unset WORLD_SIZE."
        ) from error
    try:
        yield Ranks(
            rank=distributed.get_rank(),
            count=count,
            local=int(os.environ.get("LOCAL_RANK", "0")),
            local_count=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        )
    finally:
        distributed.destroy_process_group()
