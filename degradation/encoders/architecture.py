"""The switches of the one vision transformer, in which a family is a configuration."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from pydantic import ConfigDict

from degradation.encoders.positions import Interpolation
from degradation.errors import ConfigError

__all__ = ["VitConfig", "facts"]


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
        activation: Of the feed-forward part. OpenAI's CLIP and the DFN towers use `quick_gelu`;
            `gelu_tanh` is the tanh approximation; `swiglu` multiplies a second projection by the
            SiLU of the first (Shazeer 2020, arXiv 2002.05202).
        cls: Whether a class token goes before the patches.
        pre_norm: Whether a norm follows the positions, as in CLIP.
        patch_bias: Whether the patch projection has a bias.
        norm_eps: Epsilon of every norm.
        mean: Channel means subtracted from pixels in [0, 1].
        std: Channel standard deviations.
        stem: Output channels, kernel and stride of each convolution before the patch projection.
        norm: LayerNorm with bias, or RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467).
        patch_norm: Whether a norm follows the patch projection, before the positions, as in AIMv2.
        learned_positions: Whether a table of positions is added to the tokens.
        rope: Whether queries and keys are turned by their row and column (see `positions`).
        qkv_bias: Whether the query, key and value projections have biases.
        proj_bias: Whether the projection after attention has a bias.
        mlp_bias: Whether the feed-forward part has biases.
        layer_scale: Whether each branch of a block is scaled per channel before it is added.
        window: Side of the square windows that tokens attend within, in cells; 0 for none.
        full_blocks: Blocks that attend over the whole grid in spite of `window`.
        interpolation: How the table of positions is brought to the grid of a picture that has
            another one; None refuses such pictures.
        final_norm: Whether the output of the last block goes through the norm that the rest of
            the model applies to it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    size: int
    patch: int
    width: int
    depth: int
    heads: int
    mlp: int
    activation: Literal["gelu", "quick_gelu", "gelu_tanh", "swiglu"] = "gelu"
    cls: bool = True
    pre_norm: bool = False
    patch_bias: bool = True
    norm_eps: float = 1e-6
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    stem: tuple[tuple[int, int, int], ...] = ()
    norm: Literal["layer", "rms"] = "layer"
    patch_norm: bool = False
    learned_positions: bool = True
    rope: bool = False
    qkv_bias: bool = True
    proj_bias: bool = True
    mlp_bias: bool = True
    layer_scale: bool = False
    window: int = 0
    full_blocks: tuple[int, ...] = ()
    interpolation: Interpolation | None = None
    final_norm: bool = False

    def __post_init__(self) -> None:
        if min(self.size, self.patch, self.width, self.depth, self.heads, self.mlp) < 1:
            raise ConfigError(
                f"A tower's sides, widths and counts are positive, but found size {self.size}, "
                f"patch {self.patch}, width {self.width}, depth {self.depth}, heads {self.heads} "
                f"and mlp {self.mlp}. Correct the configuration."
            )
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
        if self.rope and (self.width // self.heads) % 4:
            raise ConfigError(
                "RoPE over rows and columns turns pairs of half a head each, so a head's width is "
                f"a multiple of 4, but it is {self.width // self.heads}. Choose other heads."
            )
        if self.interpolation and not self.learned_positions:
            raise ConfigError(
                "Interpolation belongs to a table of positions, and this tower has none. Leave it "
                "out: such a tower takes any grid."
            )
        if self.cls and (self.rope or self.window):
            raise ConfigError(
                "A class token has no row and column, so neither RoPE nor windows can place it. "
                "Switch off cls, or rope and window."
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


FIRST = frozenset(
    ["size", "patch", "width", "depth", "heads", "mlp", "activation", "cls", "pre_norm"]
).union(["patch_bias", "norm_eps", "mean", "std", "stem"])


def facts(config: VitConfig) -> dict[str, Any]:
    """The fields that a digest of weights counts.

    Those of `FIRST` always do. The others came after the first digests had been recorded; they
    count where they differ from their defaults, so that these digests stay what they are.
    """
    values = asdict(config)
    return {
        field.name: values[field.name]
        for field in fields(config)
        if field.name in FIRST or values[field.name] != field.default
    }
