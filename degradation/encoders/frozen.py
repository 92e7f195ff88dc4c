"""The one wrapper that turns a tower into a frozen encoder.

A tower is an `nn.Module` that maps normalised pixels to the tokens of the requested blocks: our
`Vit`, or an adapter around a library's own class. The wrapper checks the request, normalises the
pixels and makes sure that nothing inside can be trained or switched to training behaviour.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, nn

from degradation.encoders.encoder import BlockTokens, EncoderInfo
from degradation.errors import ConfigError

__all__ = ["FrozenEncoder", "channels", "check_request", "normalise"]

RGB = tuple[float, float, float]


def channels(values: RGB) -> Float32[Tensor, "3 1 1"]:
    """One value for each channel, to be combined with pictures (b, 3, h, w).

    On the CPU even where a module is being built on the meta device.
    """
    return torch.tensor(values, device="cpu", dtype=torch.float32).view(3, 1, 1)


def normalise(
    pixels: UInt8[Tensor, "b 3 h w"], mean: Float32[Tensor, "3 1 1"], std: Float32[Tensor, "3 1 1"]
) -> Float32[Tensor, "b 3 h w"]:
    """Pixels scaled to [0, 1], minus the channel means, over the channel standard deviations."""
    return (pixels.float() / 255 - mean) / std


def check_request(
    info: EncoderInfo,
    pixels: UInt8[Tensor, "b 3 h w"],
    blocks: Sequence[int],
    *,
    any_grid: bool = False,
) -> None:
    """Raise `ConfigError` unless the encoder has these blocks and takes pictures of this shape.

    Args:
        info: The encoder.
        pixels: Asked to be encoded.
        blocks: Asked for.
        any_grid: Whether it takes all heights and widths that are multiples of its patch side.
    """
    absent = [block for block in blocks if not 0 <= block < info.n_blocks]
    if absent or not blocks:
        raise ConfigError(
            f"{info.name} has blocks 0 to {info.n_blocks - 1}, but {list(blocks)} were asked for. "
            "Name at least one block, each inside that range."
        )
    height, width = pixels.shape[-2:]
    if any_grid:
        if height % info.patch or width % info.patch:
            raise ConfigError(
                f"{info.name} takes pictures whose sides are multiples of {info.patch}, but these "
                f"are {height} x {width}. Choose a multiple of its patch side."
            )
    elif (height, width) != (info.size, info.size):
        raise ConfigError(
            f"{info.name} takes pictures of side {info.size}, but these are {height} x {width}. "
            f"Resize the pictures to {info.size} x {info.size} pixels."
        )


class FrozenEncoder(nn.Module):
    """A tower behind the `Encoder` contract.

    Args:
        tower: Module called as `tower(normalised_pixels, blocks)`, returning the tokens by block.
        info: What the tower is. Its `mean` and `std` normalise the pixels.
        any_grid: Whether the tower takes pictures of any shape, not of the native side only.
        final_norm: Whether the tokens of the last block have gone through the norm that the rest
            of its model applies to them.
    """

    def __init__(
        self,
        tower: nn.Module,
        info: EncoderInfo,
        *,
        any_grid: bool = False,
        final_norm: bool = False,
    ):
        super().__init__()
        self.tower = tower.requires_grad_(False)
        self.info = info
        self.any_grid = any_grid
        self.final_norm = final_norm
        self.register_buffer("mean", channels(info.mean), persistent=False)
        self.register_buffer("std", channels(info.std), persistent=False)
        self.train(False)

    def with_statistics(self, mean: RGB, std: RGB) -> "FrozenEncoder":
        """The encoder with other channel statistics; it shares the tower."""
        info = replace(self.info, mean=mean, std=std)
        return FrozenEncoder(
            self.tower, info, any_grid=self.any_grid, final_norm=self.final_norm
        ).to(self.mean.device)

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in evaluation mode, also when a module that contains this one starts training."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, pixels: UInt8[Tensor, "b 3 h w"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """Tokens after each requested block, float32, in the order of `blocks`.

        Raises:
            ConfigError: The encoder lacks one of the blocks, or the pictures have another shape.
        """
        return self.with_gradients(pixels, blocks)

    def with_gradients(
        self, pixels: UInt8[Tensor, "b 3 h w"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """The same tokens, but differentiable in those weights of `tower` that require gradients.

        None does until somebody who measures gradients, and never steps along them, says so.

        Raises:
            ConfigError: As `forward`.
        """
        check_request(self.info, pixels, blocks, any_grid=self.any_grid)
        tokens = self.tower(normalise(pixels, self.mean, self.std), blocks)
        return {block: tokens[block] for block in blocks}
