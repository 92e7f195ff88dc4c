"""The tower of Qwen2.5-VL, trained from scratch: RMSNorm, SwiGLU, axial RoPE, windows.

Most blocks attend within windows of 112 pixels only; `fullatt_block_indexes` names those that see
the whole picture. There is no public tower before it.
"""

from typing import Literal

from pydantic import AliasChoices, BaseModel, Field

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import (
    FOLDED_FRAMES,
    Config,
    Family,
    Layout,
    Stored,
    tower_settings,
)
from degradation.encoders.families.qwen2_vl import PREFIXES, AxialRope
from degradation.encoders.statistics import CLIP_STATISTICS

__all__ = ["QWEN2_5_VL"]

TOWERS = {"qwen2_5_vl", "qwen2_5_vl_vision"}
CONTAINERS = {"qwen2_5_vl"}
SIZE = 448  # four windows by four


class Settings(BaseModel):
    """Fields of vision_config; what is left out has transformers' defaults.

    The default of `hidden_size` there is not that of any published tower, so it must be stated.
    """

    depth: int = 32
    hidden_size: int
    intermediate_size: int = 3420
    num_heads: int = 16
    hidden_act: Literal["silu"] = "silu"
    in_channels: Literal[3] = Field(3, validation_alias=AliasChoices("in_channels", "in_chans"))
    patch_size: int = 14
    spatial_merge_size: int = 2
    temporal_patch_size: Literal[2] = 2
    window_size: int = 112
    fullatt_block_indexes: tuple[int, ...] = (7, 15, 23, 31)
    rope_parameters: AxialRope | None = None


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes."""
    settings = Settings.model_validate(tower_settings(config, TOWERS, CONTAINERS))
    merge, patch = settings.spatial_merge_size, settings.patch_size
    mean, std = CLIP_STATISTICS
    return VitConfig(
        size=SIZE // patch * patch,
        patch=patch,
        width=settings.hidden_size,
        depth=settings.depth,
        heads=settings.num_heads,
        mlp=settings.intermediate_size,
        activation="swiglu",
        cls=False,
        patch_bias=False,
        norm_eps=1e-6,
        mean=mean,
        std=std,
        norm="rms",
        learned_positions=False,
        rope=True,
        # Windows are whole numbers of merged cells.
        window=settings.window_size // merge // patch * merge,
        full_blocks=settings.fullatt_block_indexes,
    )


QWEN2_5_VL = Family(
    name="qwen2_5_vl",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "patch_embed.weight": Stored(("patch_embed.proj.weight",), FOLDED_FRAMES),
                "blocks.*.norm1": "blocks.*.norm1",
                "blocks.*.attn.qkv": "blocks.*.attn.qkv",
                "blocks.*.attn.proj": "blocks.*.attn.proj",
                "blocks.*.norm2": "blocks.*.norm2",
                "blocks.*.mlp.fc1": ("blocks.*.mlp.gate_proj", "blocks.*.mlp.up_proj"),
                "blocks.*.mlp.fc2": "blocks.*.mlp.down_proj",
                "norm_post": "merger.ln_q",
            },
            prefixes=PREFIXES,
            aside={"merger.*": "joins 2 x 2 tokens for the language model"},
        ),
    ),
)
