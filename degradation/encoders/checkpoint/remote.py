"""Weight files that stay on the hub: their headers, and of their bytes only what is asked for.

Of a large safetensors file the wanted tensors are fetched as a smaller safetensors file into the
hub's folder for what libraries keep, `assets/sdiag/ORG--NAME/COMMIT/`; a PyTorch file comes whole.
Beside them lies `NAME.json` with etag, size and header, so that what was fetched once can be read
offline. Names carry a digest of the version and of the tensors, so they are never mistaken.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import constants
from torch import Tensor

from degradation.cache.files import write_atomically
from degradation.encoders.checkpoint.fetch import fetch
from degradation.encoders.checkpoint.files import TorchFile, labelled, open_file, open_torch
from degradation.encoders.checkpoint.header import (
    Header,
    TensorFacts,
    excerpt,
    header_bytes,
    parse_header,
)
from degradation.encoders.checkpoint.network import (
    ChangedFileError,
    RemoteFacts,
    append_range,
    download_command,
)
from degradation.errors import WeightsError

__all__ = ["RemoteFile", "open_remote", "recall"]

FIRST_BYTES = 128 * 1024  # holds most headers, so that one request is enough


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A safetensors file on the hub.

    Attributes:
        facts: Which file in which version.
        header: What it holds and where.
        offline: Whether only what has been fetched before may be used.
    """

    facts: RemoteFacts
    header: Header
    offline: bool

    @property
    def tensors(self) -> Mapping[str, TensorFacts]:
        """Facts by tensor name."""
        return self.header.tensors

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """These tensors in their stored type, fetched first if they never were.

        Raises:
            WeightsError: Offline and never fetched; or hub, network or disk fail.
        """
        path = kept(self.facts, names, ".safetensors")
        if not path.is_file():
            if self.offline:
                raise never_fetched(self.facts)
            metadata = {"format": "pt", **{k: str(v) for k, v in asdict(self.facts).items()}}
            head, spans = excerpt(self.header, names, metadata)
            with forgetting(self.facts):
                fetch(self.facts, path, head, spans)
        return open_file(path).read(names)

    def identity(self) -> str:
        """What the hub says of the whole file."""
        return labelled(self.facts.etag)


def open_remote(facts: RemoteFacts, *, offline: bool) -> RemoteFile | TorchFile:
    """A weight file of the hub, of which a safetensors file stays there until it is read.

    Raises:
        WeightsError: Its header lies, or hub, network or disk fail.
    """
    if facts.name.endswith(".safetensors"):
        return RemoteFile(facts, read_header(facts), offline)
    path = kept(facts, [], PurePosixPath(facts.name).suffix)
    if not path.is_file():
        if offline:
            raise never_fetched(facts)
        with forgetting(facts):
            fetch(facts, path, b"", [(0, facts.size)])
        remember(facts, b"")
    return open_torch(path, facts.etag)


def read_header(facts: RemoteFacts) -> Header:
    """The checked header of a safetensors file, as remembered or from the hub."""
    memory = memory_of(facts.repo, facts.revision, facts.name)
    if memory.is_file():
        return parse_header(
            bytes.fromhex(json.loads(memory.read_bytes())["header"]), facts.size, facts.source
        )
    start = ranged(facts, 0, min(FIRST_BYTES, facts.size))
    end = header_bytes(start, facts.size, facts.source)
    if len(start) < end:
        start += ranged(facts, len(start), end)
    header = parse_header(start, facts.size, facts.source)
    remember(facts, start[:end])
    return header


def ranged(facts: RemoteFacts, start: int, stop: int) -> bytes:
    """A few bytes of a file on the hub."""
    found = bytearray()
    append_range(facts, start, stop, found.extend)
    return bytes(found)


def recall(repo: str, revision: str, name: str) -> RemoteFacts | None:
    """What is remembered of a file that was read before."""
    memory = memory_of(repo, revision, name)
    if not memory.is_file():
        return None
    known = json.loads(memory.read_bytes())
    return RemoteFacts(repo, revision, name, known["etag"], known["size"])


def remember(facts: RemoteFacts, header: bytes) -> None:
    """Keep what offline reading needs to know of a file."""
    known = {"etag": facts.etag, "size": facts.size, "header": header.hex()}
    write_atomically(memory_of(facts.repo, facts.revision, facts.name), json.dumps(known).encode())


def never_fetched(facts: RemoteFacts) -> WeightsError:
    """The error for tensors that offline reading does not find."""
    return WeightsError(
        f"Expected tensors of {facts.source} on this disk, since offline reading was asked for, "
        "but they were never fetched or were removed. Go online once, or where there is a network "
        f"run `{download_command(facts.repo, facts.revision, facts.name)}`."
    )


@contextmanager
def forgetting(facts: RemoteFacts) -> Iterator[None]:
    """Forget a file that turns out to be another by now, so that the next run asks again."""
    try:
        yield
    except ChangedFileError:
        memory_of(facts.repo, facts.revision, facts.name).unlink(missing_ok=True)
        raise


def memory_of(repo: str, revision: str, name: str) -> Path:
    """Where it is kept what is known of a file."""
    return folder_of(repo, revision) / f"{name.replace('/', '--')}.json"


def kept(facts: RemoteFacts, names: Sequence[str], suffix: str) -> Path:
    """Where these tensors of a file are kept; all of it if no names are given."""
    identity = json.dumps([facts.repo, facts.revision, facts.name, facts.etag, sorted(names)])
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    stem = facts.name.replace("/", "--").removesuffix(suffix)
    return folder_of(facts.repo, facts.revision) / f"{stem}-{key}{suffix}"


def folder_of(repo: str, revision: str) -> Path:
    """The folder that huggingface_hub sets aside for us; it is not made by asking for it."""
    return Path(constants.HF_ASSETS_CACHE) / "sdiag" / repo.replace("/", "--") / revision
