"""Proof that what is frozen stayed frozen: digests of weights, before and after.

A digest covers names, shapes, types and bytes. Adapters are passed over, and the names that peft
gives to the layers it wraps are undone, so that a language model has the same digests bare and
with adapters.
"""

import hashlib
from collections.abc import Mapping

import torch
from torch import nn

from degradation.errors import WeightsError

__all__ = ["check_frozen", "combined", "frozen_digests"]

_ADAPTER = ("lora_", "modules_to_save")
_WRAPPED = ".base_layer"


def frozen_digests(module: nn.Module) -> dict[str, str]:
    """SHA-256 in hexadecimal of each tensor of a module's state, by name, sorted; no adapters.

    Args:
        module: For example an encoder's tower, or a language model, bare or with adapters.
    """
    digests = {}
    for name, tensor in sorted(module.state_dict().items()):
        if any(part.startswith(_ADAPTER) for part in name.split(".")):
            continue
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        sha = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        sha.update(memoryview(flat.view(torch.uint8).numpy()))
        digests[name.replace(_WRAPPED, "")] = sha.hexdigest()
    return digests


def combined(digests: Mapping[str, str]) -> str:
    """One digest for all tensors, names included."""
    sha = hashlib.sha256()
    for name in sorted(digests):
        sha.update(f"{name}\x00{digests[name]}\n".encode())
    return sha.hexdigest()


def check_frozen(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Check that no tensor changed, came or went.

    Raises:
        WeightsError: Naming the first that did.
    """
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            what = "is gone" if name not in after else "is new" if name not in before else "changed"
            raise WeightsError(
                f"Expected frozen weights to stay as they were, but {name} {what} in training. "
                "Discard this run, and report how it came about: it should not be possible."
            )
