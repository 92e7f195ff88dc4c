"""One plain vision transformer, in which a family is a configuration.

Pre-LN blocks, learned absolute positions, LayerNorm, a fused query-key-value projection with
bias. The forward pass stops after the deepest block that is asked for and applies no final norm:
features are block outputs, the residual stream as the next block would read it. Where a
configuration has a stem, convolutions with ReLU stand before the patch projection (Xiao et al.
2021, arXiv 2106.14881): a tower this small learns fine detail from few pictures only with them.

Parameter names are our own and do not follow any library: `patch_embed.{weight,bias}`, `cls`,
`stem.N`, `positions`, `norm_pre`, `blocks.N.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

from degradation.encoders.encoder import BlockTokens
from degradation.errors import ConfigError

__all__ = ["Vit", "VitConfig", "quick_gelu"]


@dataclass(frozen=True, slots=True)
class VitConfig:
    """Everything that decides the architecture and the pixels it expects.

    Attributes:
        size: Picture side in pixels; a multiple of `patch`.
        patch: Patch side in pixels.
        width: Token width d; a multiple of `heads`.
        depth: Number of blocks.
        heads: Attention heads in each block.
        mlp: Hidden width of the feed-forward part.
        activation: Of the feed-forward part. OpenAI's CLIP and the DFN towers use `quick_gelu`.
        cls: Whether a class token goes before the patches.
        pre_norm: Whether a LayerNorm follows the positions, as in CLIP.
        patch_bias: Whether the patch projection has a bias.
        norm_eps: Epsilon of every LayerNorm.
        mean: Channel means subtracted from pixels in [0, 1].
        std: Channel standard deviations.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    size: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    cls: bool = True
    pre_norm: bool = False
    patch_bias: bool = True
    norm_eps: float = 1e-6
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    stem: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.patch % self.stem_stride:
            raise ConfigError(
                f"The strides of the stem multiply to {self.stem_stride}, which does not divide "
                f"the patch side {self.patch}. Choose strides that do."
            )
        if self.size % self.patch or self.width % self.heads:
            raise ConfigError(
                f"A tower needs whole patches and whole heads, but side {self.size} is cut into "
                f"patches of {self.patch} and width {self.width} into {self.heads} heads. "
                "Choose sides and widths that divide evenly."
            )

    @property
    def stem_stride(self) -> int:
        """Pixels per step of the map that the patch projection reads; 1 without a stem."""
        return math.prod(stride for _, _, stride in self.stem)

    @property
    def grid(self) -> int:
        """Rows, and columns, of the patch grid."""
        return self.size // self.patch

    @property
    def n_prefix(self) -> int:
        """Tokens before the patches."""
        return int(self.cls)


def quick_gelu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The sigmoid approximation x * sigmoid(1.702 x) with which OpenAI trained CLIP."""
    return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head self-attention over all tokens."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The mixed tokens, before they are added to the residual stream."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """The feed-forward part of a block."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.mlp)
        self.activation = {"gelu": functional.gelu, "quick_gelu": quick_gelu}[config.activation]
        self.fc2 = nn.Linear(config.mlp, config.width)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The transformed tokens, before they are added to the residual stream."""
        return self.fc2(self.activation(self.fc1(x)))


class Block(nn.Module):
    """One pre-LN transformer block."""

    def __init__(self, config: VitConfig):
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attn = Attention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = Mlp(config)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """The residual stream after this block."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Vit(nn.Module):
    """A vision transformer without final norm and without head.

    Args:
        config: The architecture.
    """

    def __init__(self, config: VitConfig):
        super().__init__()
        self.config = config
        self.stem = nn.Sequential()
        channels = 3
        for out, kernel, stride in config.stem:
            self.stem.append(nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2))
            self.stem.append(nn.ReLU())
            channels = out
        side = config.patch // config.stem_stride
        self.patch_embed = nn.Conv2d(
            channels, config.width, side, stride=side, bias=config.patch_bias
        )
        self.cls = nn.Parameter(torch.zeros(config.width)) if config.cls else None
        self.positions = nn.Parameter(torch.zeros(config.n_prefix + config.grid**2, config.width))
        self.norm_pre = (
            nn.LayerNorm(config.width, eps=config.norm_eps) if config.pre_norm else nn.Identity()
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))

    @torch.no_grad()
    def initialise(self, *, generator: torch.Generator) -> "Vit":
        """Draw every weight anew: biases 0, norms the identity, the rest normal.

        The deviation is 0.02 for positions and class token, sqrt(2 / fan_in) in the stem (He et
        al. 2015) and sqrt(2 / (fan_in + fan_out)) elsewhere (Glorot & Bengio 2010): at widths
        near 100 the customary 0.02 starts so small that training hardly leaves the plateau.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif ".norm" in name or name.startswith("norm_pre"):
                parameter.fill_(1)
            elif parameter.ndim < 2 or name == "positions":
                parameter.normal_(std=0.02, generator=generator)
            else:
                fan_in, fan_out = parameter[0].numel(), len(parameter)
                spread = fan_in if name.startswith("stem") else fan_in + fan_out
                parameter.normal_(std=(2 / spread) ** 0.5, generator=generator)
        return self

    def forward(
        self, pixels: Float[Tensor, "b 3 s s"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """Tokens after each requested block; deeper blocks are not run.

        Args:
            pixels: Normalised pictures of the native side, shape (b, 3, s, s).
            blocks: Block numbers from 0.

        Returns:
            Patch tokens in raster order with the class token apart, by block.
        """
        x = self.patch_embed(self.stem(pixels)).flatten(2).transpose(1, 2)
        if self.cls is not None:
            x = torch.cat([self.cls.expand(len(x), 1, -1), x], dim=1)
        x = self.norm_pre(x + self.positions)
        outputs = {}
        n_prefix = self.config.n_prefix
        for number, block in enumerate(self.blocks[: max(blocks) + 1]):
            x = block(x)
            if number in blocks:
                outputs[number] = BlockTokens(patches=x[:, n_prefix:], prefix=x[:, :n_prefix])
        return outputs
