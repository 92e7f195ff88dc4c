"""What the encoders of all libraries share: tokens from hooks, and weights from a user's file."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from degradation.encoders.checkpoint.files import load_tensors
from degradation.encoders.encoder import BlockTokens
from degradation.encoders.frozen import RGB
from degradation.encoders.weights import read_safetensors, widened
from degradation.errors import ConfigError

__all__ = ["HookedTower", "Loaded", "not_plain", "read_weights", "square"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A library's tower and what its library says about it.

    Attributes:
        model: Called with normalised pixels.
        blocks: Container of its transformer blocks.
        n_prefix: Tokens before the patches.
        size: Native picture side in pixels.
        patch: Patch side in pixels.
        mean: Channel means.
        std: Channel standard deviations.
        facts: What decides the features beside the weights, for the digest.
    """

    model: nn.Module
    blocks: nn.Module
    n_prefix: int
    size: int
    patch: int
    mean: RGB
    std: RGB
    facts: dict[str, Any]


class HookedTower(nn.Module):
    """A library's tower, whose tokens are taken from the outputs of its blocks.

    Hooks see the residual stream itself, while what a library reports as hidden states may have
    gone through a final norm.

    Args:
        model: Called with normalised pixels; what it returns is ignored.
        blocks: Its transformer blocks in order; each returns tokens (b, prefix + t, d).
        n_prefix: Tokens before the patches.
    """

    def __init__(self, model: nn.Module, blocks: nn.Module, n_prefix: int):
        super().__init__()
        self.model = model
        # A tuple, so that the blocks are not registered a second time.
        self.layers = tuple(blocks.children())
        self.n_prefix = n_prefix

    def forward(
        self, pixels: Float[Tensor, "b 3 h w"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """Tokens after each requested block."""
        outputs: dict[int, BlockTokens] = {}

        def keep(number: int, output: Any) -> None:
            x = output[0] if isinstance(output, tuple) else output
            outputs[number] = BlockTokens(x[:, self.n_prefix :], x[:, : self.n_prefix])

        with contextlib.ExitStack() as hooks:
            for number in blocks:
                handle = self.layers[number].register_forward_hook(
                    lambda _module, _inputs, output, number=number: keep(number, output)
                )
                hooks.callback(handle.remove)
            self.model(pixels)
        return outputs


def not_plain(name: str, found: str) -> ConfigError:
    """The error for an architecture that is not a plain vision transformer."""
    return ConfigError(
        f"Expected a plain vision transformer, one token per patch in every block, but {name} is "
        f"not: {found}. Choose a ViT."
    )


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dictionary from safetensors, or from a PyTorch file without unpickling objects.

    Raises:
        WeightsError: The file is not there, is damaged, or holds other things.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    state = load_tensors(path, "cpu", mapped=False)
    return {name: widened(tensor) for name, tensor in state.items()}


def square(side: int | Sequence[int]) -> int:
    """The one side of a square, however the library writes it.

    Raises:
        ConfigError: The sides differ.
    """
    sides = {side} if isinstance(side, int) else set(side)
    if len(sides) != 1:
        raise ConfigError(f"Expected square pictures and patches, but the sides are {side}.")
    return sides.pop()
