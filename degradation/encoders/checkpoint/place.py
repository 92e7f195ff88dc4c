"""Where a checkpoint lies: the folder or repository that a user's words name."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from degradation.encoders.checkpoint.files import WeightFile
from degradation.encoders.checkpoint.folder import Folder
from degradation.encoders.checkpoint.hub import open_hub
from degradation.errors import ConfigError, SdiagError

__all__ = ["ROOT_VARIABLE", "Place", "locate"]

logger = logging.getLogger(__name__)

ROOT_VARIABLE = "SDIAG_WEIGHTS"


@runtime_checkable
class Place(Protocol):
    """Where a checkpoint's files are; `Folder` or `Hub`."""

    @property
    def source(self) -> str:
        """The place, for messages."""

    @property
    def revision(self) -> str | None:
        """Commit hash, if known."""

    def find(self, name: str) -> Path | None:
        """A small file, whole."""

    def has(self, name: str) -> bool:
        """Whether there is a weight file of that name."""

    def weights(self, name: str) -> WeightFile | None:
        """A weight file, opened but not read."""

    def absent(self, names: Sequence[str]) -> SdiagError:
        """The error for files that are not there."""


def locate(
    reference: str,
    *,
    configs: Sequence[str],
    revision: str | None,
    offline: bool,
    root: Path | None,
) -> Place:
    """The folder or repository that `reference` names, with the errors of `open_checkpoint`."""
    path = Path(reference).expanduser()
    folder = path if path.is_dir() else None
    if folder is None:
        check_repository(reference, path)
        folder = below_root(reference, root)
    if folder is None:
        return open_hub(reference, configs, revision=revision, offline=offline)
    if revision:
        logger.warning("%s is a folder: whether it is revision %s is not known", folder, revision)
    return Folder(folder)


def check_repository(reference: str, path: Path) -> None:
    """Refuse what is neither a folder nor can be a repository; say which of both it looks like.

    Raises:
        ConfigError: It is neither.
    """
    if path.is_file():
        raise ConfigError(
            f"Expected a folder or a repository, but {reference} is a file. Give the folder that "
            "holds it and its config.json."
        )
    if "://" in reference:
        raise ConfigError(
            f"Expected a repository as ORG/NAME, but found the address {reference}. Leave out all "
            "before ORG and after NAME."
        )
    if reference.startswith((".", "/", "~")) or "\\" in reference or reference.count("/") > 1:
        raise ConfigError(
            f"Expected a folder at {path}, but there is none. A repository of the hub is written "
            "ORG/NAME."
        )
    try:
        validate_repo_id(reference)
    except HFValidationError as error:
        raise ConfigError(
            f"Expected a folder or a repository as ORG/NAME, but {reference!r} is neither: {error}"
        ) from error
    if "/" not in reference:
        raise ConfigError(
            f"Expected a folder or a repository as ORG/NAME, but there is no folder {reference!r} "
            "here, and a repository has an owner."
        )


def below_root(repo: str, root: Path | None) -> Path | None:
    """The folder of a repository below the folder of checkpoints, if both exist.

    Raises:
        ConfigError: The folder of checkpoints does not exist.
    """
    named = root or os.environ.get(ROOT_VARIABLE)
    if not named:
        return None
    base = Path(named).expanduser()
    if not base.is_dir():
        raise ConfigError(
            f"Expected a folder of checkpoints at {base}, but there is none. Correct --weights or "
            f"${ROOT_VARIABLE}; a repository is not given there."
        )
    candidates = (base / repo, base / repo.partition("/")[2])
    return next((folder for folder in candidates if folder.is_dir()), None)
