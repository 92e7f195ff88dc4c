"""One plain vision transformer, in which a family is a configuration.

Pre-norm blocks; everything else is a switch of `VitConfig`. The forward pass stops after the
deepest block that is asked for. Features are block outputs, the residual stream as the next block
would read it; with `final_norm`, those of the last block are as the rest of its model reads them.
Where a configuration has a stem, convolutions with ReLU stand before the patch projection (Xiao et
al. 2021, arXiv 2106.14881): a tower as small as the shipped one learns fine detail from few
pictures only with them.

Parameter names are our own and do not follow any library: `patch_embed.{weight,bias}`,
`patch_norm`, `cls`, `stem.N`, `positions`, `norm_pre`, and in `blocks.N.` `norm1`, `attn.qkv`,
`attn.proj`, `scale1`, `norm2`, `mlp.fc1`, `mlp.fc2`, `scale2`; then `norm_post`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from degradation.encoders.architecture import VitConfig
from degradation.encoders.blocks import Block, norm_layer, quick_gelu
from degradation.encoders.encoder import BlockTokens
from degradation.encoders.positions import Interpolation, axial_turns, table_at, window_mask
from degradation.errors import ConfigError

__all__ = ["Vit", "VitConfig", "of_any_grid", "quick_gelu", "resized"]


class Vit(nn.Module):
    """A vision transformer without head.

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
        self.patch_norm = norm_layer(config) if config.patch_norm else nn.Identity()
        self.cls = nn.Parameter(torch.zeros(config.width)) if config.cls else None
        table = torch.zeros(config.n_prefix + config.grid**2, config.width)
        self.positions = nn.Parameter(table) if config.learned_positions else None
        self.norm_pre = norm_layer(config) if config.pre_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm_post = norm_layer(config) if config.final_norm else nn.Identity()

    @torch.no_grad()
    def initialise(self, *, generator: torch.Generator) -> "Vit":
        """Draw every weight anew: biases 0, norms and layer scales the identity, the rest normal.

        The deviation is 0.02 for positions and class token, sqrt(2 / fan_in) in the stem (He et
        al. 2015) and sqrt(2 / (fan_in + fan_out)) elsewhere (Glorot & Bengio 2010): at widths
        near 100 the customary 0.02 starts so small that training hardly leaves the plateau.
        """
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif name in ("cls", "positions"):
                parameter.normal_(std=0.02, generator=generator)
            elif parameter.ndim < 2:  # norms and layer scales
                parameter.fill_(1)
            else:
                fan_in, fan_out = parameter[0].numel(), len(parameter)
                spread = fan_in if name.startswith("stem") else fan_in + fan_out
                parameter.normal_(std=(2 / spread) ** 0.5, generator=generator)
        return self

    def forward(
        self, pixels: Float[Tensor, "b 3 height width"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """Tokens after each requested block; deeper blocks are not run.

        Args:
            pixels: Normalised pictures of the native side, shape (b, 3, s, s). A tower without a
                table of positions, or with a way to interpolate it, takes any height and width
                that are multiples of its patch.
            blocks: Block numbers from 0.

        Returns:
            Patch tokens in raster order with the class token apart, by block.

        Raises:
            ConfigError: The pictures have another grid than the table of positions, which is not
                to be interpolated.
        """
        config = self.config
        cells = self.patch_embed(self.stem(pixels))
        rows, columns = cells.shape[-2:]
        # Under autocast a convolution returns half precision; the residual stream must not stay
        # there in one tower and not in another, whose positions would have widened it.
        x = self.patch_norm(cells.flatten(2).transpose(1, 2).to(self.patch_embed.weight.dtype))
        if self.cls is not None:
            x = torch.cat([self.cls.expand(len(x), 1, -1), x], dim=1)
        x = self.norm_pre(x if self.positions is None else x + self._table(rows, columns))
        head_width = config.width // config.heads
        turns = axial_turns(rows, columns, head_width, x.device) if config.rope else None
        mask = window_mask(rows, columns, config.window, x.device) if config.window else None
        outputs = {}
        for number, block in enumerate(self.blocks[: max(blocks) + 1]):
            x = block(x, turns, None if number in config.full_blocks else mask)
            if number in blocks:
                out = self.norm_post(x) if number == config.depth - 1 else x
                outputs[number] = BlockTokens(
                    patches=out[:, config.n_prefix :], prefix=out[:, : config.n_prefix]
                )
        return outputs

    def _table(self, rows: int, columns: int) -> Float[Tensor, "tokens d"]:
        """The positions on a grid.

        Interpolated anew for every batch: that costs less than a thousandth of the blocks, and no
        stale table can be left behind when the weights move or change.
        """
        config = self.config
        if (rows, columns) == (config.grid, config.grid):
            return self.positions
        if config.interpolation is None:
            raise ConfigError(
                f"The tower has positions for {config.grid} x {config.grid} patches, but these "
                f"pictures have {rows} x {columns}. Resize the pictures to side {config.size}, or "
                "the table with `resized`."
            )
        return table_at(self.positions, config.n_prefix, (rows, columns), config.interpolation)


def resized(vit: Vit, size: int, interpolation: Interpolation | None = None) -> Vit:
    """The tower for pictures of another side; everything but a table of positions is shared.

    Args:
        vit: The tower. Returned itself if it has that side.
        size: Picture side in pixels; a multiple of the patch side.
        interpolation: How a table of positions is brought to the new grid. None refuses to: an
            interpolated table is not what the tower was trained with.

    Raises:
        ConfigError: The side is no multiple of the patch side, or the tower has a table of
            positions and no interpolation was asked for.
    """
    config = vit.config
    if size == config.size:
        return vit
    if config.learned_positions and interpolation is None:
        raise ConfigError(
            f"The tower has learned positions for side {config.size} only, but side {size} was "
            "asked for. Use its own side, or ask for bicubic interpolation of the positions."
        )
    state = vit.state_dict()
    new = replace(config, size=size)
    if interpolation is not None and "positions" in state:
        state["positions"] = table_at(
            state["positions"], new.n_prefix, (new.grid,) * 2, interpolation
        )
    return sharing(new, state)


def of_any_grid(vit: Vit, interpolation: Interpolation | None) -> Vit:
    """The tower for pictures of any shape; it shares all its tensors.

    Args:
        vit: The tower. Returned itself if it has no table of positions.
        interpolation: How its table is brought to the grid of each picture; None refuses to.

    Raises:
        ConfigError: The tower has a table of positions, and no interpolation was asked for.
    """
    if not vit.config.learned_positions:
        return vit
    if interpolation is None:
        raise ConfigError(
            f"The tower has learned positions for side {vit.config.size} only, but pictures of any "
            "shape are to be shown to it. Give --positions bicubic, or another --geometry."
        )
    return sharing(replace(vit.config, interpolation=interpolation), vit.state_dict())


def sharing(config: VitConfig, state: Mapping[str, Tensor]) -> Vit:
    """A tower that holds these tensors themselves, not copies."""
    with torch.device("meta"):
        vit = Vit(config)
    vit.load_state_dict(state, strict=True, assign=True)
    return vit
