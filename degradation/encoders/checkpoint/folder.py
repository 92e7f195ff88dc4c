"""A checkpoint in a plain folder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from degradation.encoders.checkpoint.files import SafetensorsFile, TorchFile, open_file
from degradation.errors import WeightsError

__all__ = ["Folder"]

COMMIT = re.compile(r"[0-9a-f]{40}")
SHOWN = 8


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with a configuration and weights.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def source(self) -> str:
        """The folder, for messages."""
        return str(self.path)

    @property
    def revision(self) -> str | None:
        """The commit, if the folder is a snapshot in a hub's cache, whose name is the commit."""
        is_snapshot = self.path.parent.name == "snapshots" and COMMIT.fullmatch(self.path.name)
        return self.path.name if is_snapshot else None

    def find(self, name: str) -> Path | None:
        """A small file, if there is one of that name."""
        return self.path / name if self.has(name) else None

    def has(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return (self.path / name).is_file()

    def weights(self, name: str) -> SafetensorsFile | TorchFile | None:
        """A weight file, if there is one of that name."""
        return open_file(self.path / name) if self.has(name) else None

    def absent(self, names: Sequence[str]) -> WeightsError:
        """The error for files that are not there."""
        found = sorted(path.name for path in self.path.iterdir())
        listed = ", ".join(found[:SHOWN]) + (", ..." if len(found) > SHOWN else "")
        return WeightsError(
            f"Expected {' or '.join(names)} in {self.path}, but found {listed or 'nothing'}. Copy "
            "or download what is missing, or name another folder."
        )
