"""Trained weights as files of tensors, which are read only into a model that has just these."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from degradation.errors import WeightsError

__all__ = ["ADAPTER", "ADAPTER_WEIGHTS", "adapters", "fill", "save_adapters"]

ADAPTER, ADAPTER_WEIGHTS = "adapter", "adapter/adapter_model.safetensors"
"""Folder of the adapters, as peft writes it, and their weights."""


def adapters(model: PeftModel) -> dict[str, nn.Parameter]:
    """The adapters of a language model, by the names that peft writes them under."""
    return {
        name.replace(".default.", "."): one
        for name, one in model.named_parameters()
        if ".lora_" in name
    }


def save_adapters(model: PeftModel, folder: Path) -> None:
    """Write the adapters of a language model into `folder/adapter`; equal ones give equal bytes."""
    # Without False peft asks the hub whether the vocabulary grew.
    model.save_pretrained(str(folder / ADAPTER), save_embedding_layers=False)
    path = folder / ADAPTER / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["target_modules"].sort()  # peft keeps them in a set, whose order is by chance
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def fill(weights: Mapping[str, Tensor], path: Path) -> None:
    """Put the tensors of a file into weights, in place.

    Args:
        weights: By the names in the file.
        path: A safetensors file.

    Raises:
        WeightsError: The file cannot be read, or has other names or shapes.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"Expected weights in {path}, but they cannot be read, since they are damaged or not "
            f"there: {error}. Take another checkpoint."
        ) from error
    for name in sorted({*weights, *stored}):
        expected, found = (
            tuple(one[name].shape) if name in one else "nothing" for one in (weights, stored)
        )
        if expected != found:
            raise WeightsError(
                f"Expected {name} of {expected} in {path}, found {found}. These weights are not "
                "of this model: take another checkpoint."
            )
    with torch.no_grad():
        for name, one in weights.items():
            one.copy_(stored[name])
