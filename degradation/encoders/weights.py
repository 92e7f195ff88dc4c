"""Weights from disk, strictly.

A tower is loaded whole or not at all: every key, every shape, every value finite, nothing left
over. A file may hold half precision; in memory everything is float32, so that both sides of a pair
compute alike. Only safetensors are read here, never pickles.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from degradation.errors import WeightsError

__all__ = ["digest", "load_strict", "read_safetensors", "refuse", "write_safetensors"]

SHOWN = 4


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file by name, floating point widened to float32.

    Raises:
        WeightsError: The file is missing, truncated or not a safetensors file.
    """
    try:
        state = load_file(path)
    except FileNotFoundError as error:
        raise WeightsError(
            f"Expected weights at {path}, but there is no such file. Check the name."
        ) from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"Expected a whole safetensors file, but {path} cannot be read ({error}). "
            "It is probably truncated: copy or download it again."
        ) from error
    return {name: widened(tensor) for name, tensor in state.items()}


def write_safetensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors so that a reader sees the old file or the whole new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        # mkstemp's files are private; weights are to be read by whoever may read the folder.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def widened(tensor: Tensor) -> Tensor:
    """The tensor in float32 if it is floating point, else unchanged."""
    return tensor.float() if tensor.is_floating_point() else tensor


def load_strict(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Put `state` into `module`, which may have been built on the meta device.

    Args:
        module: Receives the tensors themselves, not copies.
        state: Exactly the module's keys with exactly its shapes.
        source: Where the state came from, for the message.

    Raises:
        WeightsError: A key is missing, unexpected or misshapen, or a value is not finite.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    refuse(
        source,
        missing=expected.keys() - found.keys(),
        unexpected=found.keys() - expected.keys(),
        misshapen=[
            f"{name} {found[name]} instead of {shape}"
            for name, shape in expected.items()
            if found.get(name, shape) != shape
        ],
        non_finite=[name for name, tensor in state.items() if not torch.isfinite(tensor).all()],
    )
    module.load_state_dict(state, strict=True, assign=True)


def refuse(source: str, **faults: object) -> None:
    """Raise `WeightsError` listing the first keys of each kind of fault, if there is any."""
    listed = {kind: sorted(keys) for kind, keys in faults.items() if keys}
    if not listed:
        return
    account = "; ".join(
        f"{len(keys)} {kind.replace('_', '-')} ({', '.join(keys[:SHOWN])}"
        f"{', ...' if len(keys) > SHOWN else ''})"
        for kind, keys in listed.items()
    )
    raise WeightsError(
        f"The weights in {source} do not fit the architecture: {account}. "
        "Nothing was loaded; use the weights that belong to this configuration."
    )


def digest(state: Mapping[str, Tensor], **facts: object) -> str:
    """SHA-256 over names, shapes, types and bytes in sorted order, as 64 hex digits.

    Values count as the float32 they become in memory, so a float16 file and its float32 copy have
    the same digest.

    Args:
        state: Tensors by name.
        facts: Whatever else decides the features, as JSON values: an architecture's switches, say.
    """
    sha = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(state):
        tensor = widened(state[name].detach()).cpu().contiguous()
        sha.update(f"\n{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        sha.update(tensor.numpy().tobytes())
    return sha.hexdigest()
