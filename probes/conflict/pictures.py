"""The pictures of batches, read once where memory allows and checked against the cache.

Several questions and both sides are shown the same pictures. What has been read is kept, as the
bytes that encoders see, up to a limit; beyond it a picture is read again when it is asked for
again. So memory is bounded, whatever the batches are, and small studies decode everything once.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from degradation.errors import DataError, PairingError
from degradation.reading import Reader, Sample

__all__ = ["HELD_BYTES", "Pictures", "Source"]

HELD_BYTES = 2**30
"""Bytes of pictures that are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The pictures of one task and split.

    Attributes:
        reader: Reads a row of the split, by its position among the `hashes`.
        hashes: What the pixels of each row hash to in the cache, shape (n, 16).
        first: Position of the split's first row in the table of the task.
    """

    reader: Reader
    hashes: UInt8[np.ndarray, "n hash"]
    first: int


class Pictures:
    """Reads samples of several tasks.

    Args:
        sources: By name of the task.
        workers: Threads that open pictures.
        room: Bytes that may be kept.
    """

    def __init__(self, sources: Mapping[str, Source], *, workers: int, room: int = HELD_BYTES):
        self.sources, self.workers, self.room = sources, workers, room
        self.opened = 0
        """Samples read so far, repeated readings included."""
        self._kept: dict[tuple[str, int], Sample] = {}

    def read(self, task: str, rows: Int64[np.ndarray, " b"]) -> list[Sample]:
        """Samples of some rows, in their order.

        Args:
            task: Whose table the rows are positions in.
            rows: Of the split of the task's source.

        Raises:
            DataError: A picture cannot be read.
            PairingError: A picture is not the one that the features were extracted from.
        """
        source = self.sources[task]
        local = (rows - source.first).tolist()
        missing = [row for row in dict.fromkeys(local) if (task, row) not in self._kept]
        with ThreadPoolExecutor(self.workers, thread_name_prefix="pictures") as pool:
            fresh = dict(zip(missing, pool.map(source.reader, missing), strict=True))
        self.opened += len(fresh)
        _check(source, list(fresh.values()))
        samples = [fresh.get(row) or self._kept[task, row] for row in local]
        for row, sample in fresh.items():
            if sample.pixels.nbytes <= self.room:
                self._kept[task, row] = sample
                self.room -= sample.pixels.nbytes
        return samples


def _check(source: Source, samples: Sequence[Sample]) -> None:
    """Refuse samples that cannot be read or have other pixels than those in the cache."""
    ids = source.reader.rows.ids
    for sample in samples:
        name = str(ids[sample.row])
        if sample.pixels is None:
            raise DataError(
                f"{source.reader.task.spec.name}: the pictures of row {name!r} could be read when "
                f"features were extracted, and cannot any more: {sample.reason} Put the data back, "
                "or extract again."
            )
        if sample.hash != source.hashes[sample.row].tobytes():
            raise PairingError(
                f"{source.reader.task.spec.name}: the pictures of row {name!r} are not those that "
                "the features were extracted from: the data root holds other files, or files that "
                "have changed since. Give the right --data-root, or extract again."
            )
