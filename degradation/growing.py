"""A shard in the making: features arrive batch by batch, in order, and are written together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from degradation.cache import Shard, Store
from degradation.encode import Gathered
from degradation.reading import Sample
from degradation.sides import Side

__all__ = ["GrowingShard"]


@dataclass(slots=True)
class GrowingShard:
    """One shard of each side that lacks it, filled batch by batch.

    Attributes:
        number: Its position.
        span: Rows of the split that it covers.
        work: The sides, with their stores.
        rows: Rows whose features have arrived, in order.
        hashes: Hashes of their pixels.
        left_out: Row and reason of each sample that cannot be read.
        arrays: Features by side and dataset name, with room for the whole span.
    """

    number: int
    span: range
    work: Sequence[tuple[Side, Store]]
    rows: list[int] = field(default_factory=list)
    hashes: list[bytes] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, samples: Sequence[Sample], launched: Mapping[str, Gathered]) -> None:
        """Wait for the features of a batch and keep them.

        Args:
            samples: What was read; their pixels are not needed any more.
            launched: Features under way, by address of the side.
        """
        place = slice(len(self.rows), len(self.rows) + len(samples))
        self.rows += [sample.row for sample in samples]
        self.hashes += [sample.hash for sample in samples]
        for side, _ in self.work:
            arrays = self.arrays[side.key.address]
            values = launched[side.key.address].collect() if side.launch else _joined(samples)
            for name, batch in values.items():
                if name not in arrays:
                    arrays[name] = np.empty((len(self.span), *batch.shape[1:]), dtype=np.float32)
                arrays[name][place] = batch

    def write(self) -> None:
        """Commit the shard of each side."""
        hashes = np.frombuffer(b"".join(self.hashes), dtype=np.uint8)
        for side, store in self.work:
            arrays = self.arrays.pop(side.key.address, {})
            store.write(
                Shard(
                    number=self.number,
                    rows=np.array(self.rows, dtype=np.int64),
                    pixel_hashes=hashes.reshape(len(self.rows), 16),
                    arrays={name: values[: len(self.rows)] for name, values in arrays.items()},
                    left_out=tuple(self.left_out),
                )
            )


def _joined(samples: Sequence[Sample]) -> dict[str, np.ndarray]:
    """The features of a batch that came with the samples."""
    return {
        name: np.concatenate([sample.features[name] for sample in samples])
        for name in samples[0].features
    }
