"""Weight files on this disk, of which only the tensors asked for are read.

safetensors are read with plain reads rather than through a memory map: mapped pages would count
as ours until the last tensor goes, and a file cut short while it is read would kill the process.
PyTorch's own files are mapped, since only torch knows where their tensors lie; the mapping is
renewed every few tensors so that its pages do not pile up beside the copies.
"""

import functools
import hashlib
import math
import pickle
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from degradation.encoders.checkpoint.header import (
    DTYPES,
    LENGTH_BYTES,
    Header,
    TensorFacts,
    header_bytes,
    parse_header,
    truncated,
)
from degradation.errors import WeightsError

__all__ = [
    "SHA256",
    "SafetensorsFile",
    "TorchFile",
    "WeightFile",
    "identity",
    "labelled",
    "open_file",
    "open_torch",
]

MAPPED = 64 << 20  # bytes copied before a mapping is renewed
NAMES = {dtype: name for name, dtype in DTYPES.items()}
SHA256 = re.compile(r"[0-9a-f]{64}")


@runtime_checkable
class WeightFile(Protocol):
    """A file of tensors, here or elsewhere."""

    @property
    def tensors(self) -> Mapping[str, TensorFacts]:
        """Facts by tensor name, known without reading any."""

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """These tensors in their stored type."""

    def identity(self) -> str:
        """`sha256:...` of the whole file where it is known or the file is here, else `etag:...`."""


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """A safetensors file on this disk, its header checked.

    Attributes:
        path: The file.
        header: What it holds and where.
    """

    path: Path
    header: Header

    @property
    def tensors(self) -> Mapping[str, TensorFacts]:
        """Facts by tensor name."""
        return self.header.tensors

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """These tensors in their stored type; nothing else of the file is read.

        Raises:
            WeightsError: The file became shorter, cannot be read, or a type is not torch's.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                return {name: self.tensor(file, name) for name in names}
        except OSError as error:
            raise unreadable(self.path, error) from error

    def tensor(self, file: FileIO, name: str) -> Tensor:
        """One tensor, read into its own memory."""
        facts = self.header.tensors[name]
        start, stop = self.header.spans[name]
        if facts.dtype not in DTYPES:
            raise WeightsError(
                f"Expected numbers of an ordinary type, but {name} in {self.path} is {facts.dtype}."
                " The checkpoint is quantised: use the original."
            )
        data = torch.empty(stop - start, dtype=torch.uint8)
        view = memoryview(data.numpy())
        file.seek(start)
        while view:
            count = file.readinto(view)
            if not count:
                raise truncated(str(self.path), stop, stop - len(view))
            view = view[count:]
        return data.view(DTYPES[facts.dtype]).reshape(facts.shape)

    def identity(self) -> str:
        """SHA-256 of the whole file, which is read for it unless its name in a cache tells."""
        return identity(self.path)


@dataclass(frozen=True, slots=True)
class TorchFile:
    """A file of `torch.save`, of which only tensors are read and nothing is unpickled.

    Attributes:
        path: The file.
        tensors: Facts by tensor name.
        etag: What the hub it came from says of it; empty if it did not come from there.
    """

    path: Path
    tensors: Mapping[str, TensorFacts]
    etag: str

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Copies of these tensors in their stored type.

        Raises:
            WeightsError: The file cannot be read.
        """
        state: dict[str, Tensor] = {}
        for batch in batches(names, self.tensors):
            state |= self.copies(batch)
        return state

    def copies(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Copies of these tensors by one mapping, which ends with this call."""
        mapped = load_tensors(self.path, "cpu")
        return {name: mapped[name].clone(memory_format=torch.contiguous_format) for name in names}

    def identity(self) -> str:
        """SHA-256 of the whole file, which is read for it unless its name in a cache tells."""
        return labelled(self.etag) if self.etag else identity(self.path)


def open_file(path: Path) -> SafetensorsFile | TorchFile:
    """The weight file at `path`; its tensors are not read yet.

    Raises:
        WeightsError: It is missing, truncated, another kind of file, or its header lies.
    """
    if path.suffix != ".safetensors":
        return open_torch(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(LENGTH_BYTES)
            start += file.read(header_bytes(start, size, str(path)) - LENGTH_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error
    return SafetensorsFile(path, parse_header(start, size, str(path)))


def open_torch(path: Path, etag: str = "") -> TorchFile:
    """A file of torch.save; its tensors are not read yet.

    Args:
        path: The file.
        etag: What the hub it came from says of it.

    Raises:
        WeightsError: It is missing, truncated, of an old format, or holds more than tensors.
    """
    facts = {
        name: TensorFacts(tuple(tensor.shape), NAMES.get(tensor.dtype, str(tensor.dtype)))
        for name, tensor in load_tensors(path, "meta").items()
    }
    return TorchFile(path, facts, etag)


def load_tensors(path: Path, device: str, *, mapped: bool = True) -> dict[str, Tensor]:
    """The state dictionary of a PyTorch file, on the CPU (`cpu`) or empty (`meta`).

    Args:
        path: Of the file; nothing in it but tensors is unpickled.
        device: `cpu` or `meta`.
        mapped: Whether it is mapped from the disk, as files before PyTorch 1.6 cannot be.

    Raises:
        WeightsError: It is cut off, of a format that cannot be mapped, or holds other things.
    """
    try:
        content = torch.load(path, map_location=device, weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"Expected nothing but tensors in {path}, but it holds other objects, which are never "
            "unpickled. Use the repository's safetensors, or save the model's state_dict."
        ) from error
    except (FileNotFoundError, PermissionError) as error:
        raise unreadable(path, error) from error
    except (RuntimeError, OSError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"Expected a whole file of torch.save in {path}, but torch cannot "
            f"{'map' if mapped else 'read'} it ({reason}). It is truncated"
            f"{' or of the format before PyTorch 1.6' if mapped else ''}: download it again, or "
            "save it anew as safetensors."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise WeightsError(
            f"Expected tensors by name in {path}, but it holds a {type(state).__name__} with other "
            "things. Save the model's state_dict."
        )
    return state


def batches(names: Iterable[str], tensors: Mapping[str, TensorFacts]) -> Iterator[list[str]]:
    """The names in runs of about `MAPPED` bytes."""
    run: list[str] = []
    size = 0
    for name in names:
        run.append(name)
        # A type without an entry is one of few bits, so that eight bytes are not too few.
        itemsize = DTYPES.get(tensors[name].dtype, torch.int64).itemsize
        size += math.prod(tensors[name].shape) * itemsize
        if size >= MAPPED:
            yield run
            run, size = [], 0
    if run:
        yield run


def identity(path: Path) -> str:
    """`sha256:...` or `etag:...` of a file: its name among a hub cache's blobs, or its digest."""
    if path.is_symlink() and path.readlink().parent.name == "blobs":
        return labelled(path.readlink().name)
    stat = path.stat()
    return labelled(sha256(path, stat.st_size, stat.st_mtime_ns))


def labelled(etag: str) -> str:
    """A hub's etag with its kind: large files have their SHA-256, small ones git's SHA-1."""
    return f"{'sha256' if SHA256.fullmatch(etag) else 'etag'}:{etag}"


@functools.lru_cache(maxsize=64)
def sha256(path: Path, _size: int, _modified: int) -> str:
    """SHA-256 of a file; kept while size and time of change stay the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unreadable(path: Path, error: OSError) -> WeightsError:
    """The error for a file that the system does not let us read."""
    return WeightsError(
        f"Expected weights at {path}, but they cannot be read: {error.strerror or error}. "
        "Check the name and the permissions."
    )
