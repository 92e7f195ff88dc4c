"""A checkpoint that has been found: what it holds is known, and tensors are read when asked for."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from degradation.encoders.checkpoint.files import WeightFile, identity
from degradation.encoders.checkpoint.header import TensorFacts
from degradation.errors import WeightsError

__all__ = ["Checkpoint"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Configuration and weights, of which only the headers have been read.

    Attributes:
        source: `ORG/NAME@COMMIT` or a folder, for messages.
        revision: Commit hash; None for a folder that does not tell.
        config: Content of its config.json or open_clip_config.json.
        tensors: Shape and type by name, of the tensors under the prefixes it was opened for.
        homes: Name and file of weights by tensor name.
        documents: The files of configuration and index by their names.
    """

    source: str
    revision: str | None
    config: dict[str, Any]
    tensors: Mapping[str, TensorFacts]
    homes: Mapping[str, tuple[str, WeightFile]]
    documents: Mapping[str, Path]

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """These tensors in their stored type, and no other bytes of their files.

        From the hub they are fetched once for a given set of names, and kept.

        Raises:
            WeightsError: A name is not in `tensors`, or a file cannot be read or fetched.
        """
        unknown = sorted(set(names) - self.tensors.keys())
        if unknown:
            raise WeightsError(
                f"Expected {', '.join(unknown[:4])} in {self.source}, but it holds no such tensors."
            )
        by_file: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            by_file[self.homes[name][0]].append(name)
        state: dict[str, Tensor] = {}
        for wanted in by_file.values():
            state |= self.homes[wanted[0]][1].read(wanted)
        return {name: state[name] for name in names}

    @property
    def files(self) -> dict[str, str]:
        """`sha256:...` or `etag:...` of every file that was opened, by its name.

        What came from the hub is known by the hub's etag. A file in a plain folder is read whole
        for its SHA-256: seconds for a few gigabytes, once while it does not change.
        """
        weights = {name: file.identity() for name, file in self.homes.values()}
        return {name: identity(path) for name, path in self.documents.items()} | weights
