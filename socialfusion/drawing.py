"""What is trained, as it is drawn at the beginning: from one seed, each part by its own name."""

import math

import torch
from torch import nn

from probes.statistics.bootstrap import stream

__all__ = ["draw_adapters", "initialise_linear", "named_generator"]


def named_generator(seed: int, name: str) -> torch.Generator:
    """The generator of one part of a model."""
    return torch.Generator().manual_seed(int(stream(seed, name).integers(2**63 - 1)))


@torch.no_grad()
def initialise_linear(module: nn.Module, *, generator: torch.Generator) -> None:
    """Draw all linear layers of a module as torch does: uniform within 1 / sqrt(inputs)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.in_features)
            layer.weight.uniform_(-bound, bound, generator=generator)
            if layer.bias is not None:
                layer.bias.uniform_(-bound, bound, generator=generator)


def draw_adapters(model: nn.Module, *, generator: torch.Generator) -> None:
    """Draw the adapters of a language model, which start without effect."""
    for name, module in model.named_modules():
        if name.endswith(".lora_A.default"):
            initialise_linear(module, generator=generator)
        elif name.endswith(".lora_B.default"):
            nn.init.zeros_(module.weight)
