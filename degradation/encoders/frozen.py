"""The one wrapper that turns a tower into a frozen encoder.

A tower is an `nn.Module` that maps normalised pixels to the tokens of the requested blocks: our
`Vit`, or an adapter around a library's own class. The wrapper checks the request, normalises the
pixels and makes sure that nothing inside can be trained or switched to training behaviour.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from degradation.encoders.encoder import BlockTokens, EncoderInfo
from degradation.errors import ConfigError

__all__ = ["FrozenEncoder", "check_request", "normalise"]

RGB = tuple[float, float, float]


def normalise(pixels: UInt8[Tensor, "b 3 s s"], mean: RGB, std: RGB) -> Float32[Tensor, "b 3 s s"]:
    """Pixels scaled to [0, 1], minus the channel means, over the channel standard deviations."""
    shift, scale = (
        torch.tensor(values, device=pixels.device, dtype=torch.float32).view(3, 1, 1)
        for values in (mean, std)
    )
    return (pixels.float() / 255 - shift) / scale


def check_request(
    info: EncoderInfo, pixels: UInt8[Tensor, "b 3 s s"], blocks: Sequence[int]
) -> None:
    """Raise `ConfigError` unless the encoder has these blocks and takes pictures of this side."""
    absent = [block for block in blocks if not 0 <= block < info.n_blocks]
    if absent or not blocks:
        raise ConfigError(
            f"{info.name} has blocks 0 to {info.n_blocks - 1}, but {list(blocks)} were asked for. "
            "Name at least one block, each inside that range."
        )
    if pixels.shape[-1] != info.size:
        raise ConfigError(
            f"{info.name} takes pictures of side {info.size}, but these have side "
            f"{pixels.shape[-1]}. Resize the pictures to {info.size} x {info.size} pixels."
        )


class FrozenEncoder(nn.Module):
    """A tower behind the `Encoder` contract.

    Args:
        tower: Module called as `tower(normalised_pixels, blocks)`, returning the tokens by block.
        info: What the tower is. Its `mean` and `std` normalise the pixels.
    """

    def __init__(self, tower: nn.Module, info: EncoderInfo):
        super().__init__()
        self.tower = tower.requires_grad_(False)
        self.info = info
        self.train(False)

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in evaluation mode, also when a module that contains this one starts training."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, pixels: UInt8[Tensor, "b 3 s s"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """Tokens after each requested block, float32, in the order of `blocks`.

        Raises:
            ConfigError: The encoder lacks one of the blocks, or the pictures have another side.
        """
        check_request(self.info, pixels, blocks)
        tokens = self.tower(normalise(pixels, self.info.mean, self.info.std), blocks)
        return {block: tokens[block] for block in blocks}
