"""A repository of the hub at one commit: its cache first, then, unless offline, the hub itself."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from degradation.encoders.checkpoint.files import WeightFile, open_file
from degradation.encoders.checkpoint.network import (
    RemoteFacts,
    download_command,
    remote_facts,
    small_file,
)
from degradation.encoders.checkpoint.remote import open_remote, recall
from degradation.errors import WeightsError

__all__ = ["Hub", "open_hub"]

COMMIT = re.compile(r"[0-9a-f]{40}")
EVERYTHING = ("--include '*.json'", "--include '*.safetensors'", "--include '*.bin'")


@dataclass(frozen=True, slots=True)
class Hub:
    """A repository at one commit.

    Attributes:
        repo: `ORG/NAME`.
        revision: Commit hash; every file is of this commit.
        offline: Whether only what has been fetched before may be used.
    """

    repo: str
    revision: str
    offline: bool

    @property
    def source(self) -> str:
        """The repository and its commit, for messages."""
        return f"{self.repo}@{self.revision[:12]}"

    def find(self, name: str) -> Path | None:
        """A small file, whole; None if there is none, or offline if it was never fetched."""
        cached = self.cached(name)
        return cached if cached or self.offline else small_file(self.repo, name, self.revision)

    def has(self, name: str) -> bool:
        """Whether there is a weight file of that name, or offline whether it was fetched before."""
        return bool(self.cached(name)) or self.facts(name) is not None

    def weights(self, name: str) -> WeightFile | None:
        """A weight file, of which a safetensors file stays where it is until it is read.

        Raises:
            WeightsError: Its header lies, or hub, network or disk fail.
        """
        cached = self.cached(name)
        if cached:
            return open_file(cached)
        facts = self.facts(name)
        return None if facts is None else open_remote(facts, offline=self.offline)

    def cached(self, name: str) -> Path | None:
        """A file that the hub's cache holds whole."""
        path = try_to_load_from_cache(self.repo, name, revision=self.revision)
        return Path(path) if isinstance(path, str) else None

    def facts(self, name: str) -> RemoteFacts | None:
        """Etag and size of a file, as remembered, or offline None, or as the hub says."""
        known = recall(self.repo, self.revision, name)
        if known or self.offline:
            return known
        return remote_facts(self.repo, name, self.revision)

    def absent(self, names: Sequence[str]) -> WeightsError:
        """The error for files that are not to be had."""
        if not self.offline:
            return WeightsError(
                f"Expected {' or '.join(names)} in {self.source}, but the repository holds none. "
                f"See {constants.ENDPOINT}/{self.repo}/tree/{self.revision} for what it holds, and "
                "name the weight files or another revision."
            )
        return not_cached(self.repo, self.revision, names)


def open_hub(repo: str, configs: Sequence[str], *, revision: str | None, offline: bool) -> Hub:
    """A repository at the commit that `revision` means.

    Args:
        repo: `ORG/NAME`.
        configs: Names of configuration files in the order they are tried.
        revision: A commit hash is taken as it is. A tag or branch is what the hub, or offline its
            cache, says it is. None is `main` as the cache has it, else as the hub has it.
        offline: Whether the hub must not be asked.

    Raises:
        WeightsError: The commit cannot be told, or no configuration can be had.
    """
    if revision and COMMIT.fullmatch(revision):
        return Hub(repo, revision, offline)
    if revision is None or offline:
        for name in configs:
            cached = try_to_load_from_cache(repo, name, revision=revision)
            if isinstance(cached, str):
                return Hub(repo, commit_of(Path(cached), name), offline)
    if offline:
        raise not_cached(repo, revision, EVERYTHING)
    for name in configs:
        path = small_file(repo, name, revision or constants.DEFAULT_REVISION)
        if path:
            return Hub(repo, commit_of(path, name), offline)
    raise WeightsError(
        f"Expected {' or '.join(configs)} in {repo}, but the repository holds none. Is it the "
        f"model's own? See {constants.ENDPOINT}/{repo}/tree/{revision or 'main'}."
    )


def commit_of(path: Path, name: str) -> str:
    """The commit that a file in the hub's cache belongs to: the folder of its snapshot."""
    return path.parents[name.count("/")].name


def not_cached(repo: str, revision: str | None, names: Sequence[str]) -> WeightsError:
    """The error for what offline reading does not find."""
    return WeightsError(
        f"Expected {repo} in the hub's cache {constants.HF_HUB_CACHE}, since offline reading was "
        f"asked for, but it is not there or not whole. Where there is a network, run "
        f"`{download_command(repo, revision, *names)}`, or give a folder that holds the files."
    )
