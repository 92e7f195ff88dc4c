"""What a study asked for, as the file beside its records says.

The file, `study.resolved.toml`, is written by `sdiag study` before its first step. Only what
decides which records there will be is read of it; a folder without it was filled by hand, and is
whole as it is.
"""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from degradation.errors import DataError

__all__ = ["PLANNED", "Planned", "read_planned"]

PLANNED = "study.resolved.toml"
"""Among the results: the study with every default filled in."""


class _Part(BaseModel):
    """Base: what decides nothing here is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Pair(_Part):
    model: str | None = None
    name: str | None = None


class _Task(_Part):
    name: str


class _Gcd(_Part):
    against_transfer: bool = False


class _Training(_Part):
    sides: tuple[str, ...] = ("pre", "post")
    tasks: tuple[str, ...] = ()
    seeds: int = 1
    setting: str = ""


class Planned(_Part):
    """The stages of a study, its pairs and its tasks."""

    name: str
    rows: str = ""
    pair: tuple[_Pair, ...]
    task: tuple[_Task, ...]
    probe: _Part | None = None
    diagnose: _Part | None = None
    drift: _Part | None = None
    slices: _Part | None = None
    where: _Part | None = None
    gcd: _Gcd | None = None
    train: _Training | None = None
    transfer: _Training | None = None
    ablate: tuple[_Training, ...] = ()

    @property
    def pairs(self) -> tuple[str, ...]:
        """Names of the pairs."""
        return tuple(name for one in self.pair if (name := one.model or one.name))

    @property
    def labels(self) -> tuple[str, ...]:
        """Tasks as records name them: with the row list, if there is one."""
        return tuple(f"{one.name}@{self.rows}" if self.rows else one.name for one in self.task)


def read_planned(results: Path) -> Planned | None:
    """The study that filled a results folder; None where none did.

    Raises:
        DataError: The file cannot be read or is no study.
    """
    path = results / PLANNED
    if not path.exists():
        return None
    try:
        return Planned.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise DataError(
            f"Expected the study that filled {results} in {path}, found a file that cannot be read "
            "as one. Run `sdiag study` again, or move the file away."
        ) from error
