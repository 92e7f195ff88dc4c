"""The tower of Qwen3-VL: that of SigLIP 2 with axial RoPE, and with positions for any grid.

Its table of positions is interpolated between corner cells to the grid of the picture; on the
table's own grid (48 x 48 in the published models, a side of 768 pixels) it is taken as it is. The
language model reads the last block and, through DeepStack, some before it.
"""

from typing import Literal

from pydantic import BaseModel

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import (
    ACTIVATIONS,
    FOLDED_FRAMES,
    Config,
    Family,
    HiddenAct,
    Layout,
    Stored,
    tower_settings,
)
from degradation.encoders.families.qwen2_vl import PREFIXES, AxialRope
from degradation.encoders.statistics import HALF_STATISTICS

__all__ = ["QWEN3_VL"]

TOWERS = {"qwen3_vl", "qwen3_vl_vision"}
CONTAINERS = {"qwen3_vl"}


class Settings(BaseModel):
    """Fields of vision_config; what is left out has transformers' defaults."""

    depth: int = 27
    hidden_size: int = 1152
    intermediate_size: int = 4304
    num_heads: int = 16
    hidden_act: HiddenAct = "gelu_pytorch_tanh"
    in_channels: Literal[3] = 3
    patch_size: int = 16
    temporal_patch_size: Literal[2] = 2
    num_position_embeddings: int = 2304
    deepstack_visual_indexes: tuple[int, ...] = (8, 16, 24)
    rope_parameters: AxialRope | None = None


def read_settings(config: Config) -> Settings:
    """The fields that describe the tower."""
    return Settings.model_validate(tower_settings(config, TOWERS, CONTAINERS))


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes, on the grid of its table."""
    settings = read_settings(config)
    mean, std = HALF_STATISTICS
    return VitConfig(
        size=round(settings.num_position_embeddings**0.5) * settings.patch_size,
        patch=settings.patch_size,
        width=settings.hidden_size,
        depth=settings.depth,
        heads=settings.num_heads,
        mlp=settings.intermediate_size,
        activation=ACTIVATIONS[settings.hidden_act],
        cls=False,
        norm_eps=1e-6,
        mean=mean,
        std=std,
        rope=True,
    )


def reads(config: Config, depth: int) -> tuple[int, ...]:
    """The last block, then those of DeepStack."""
    return (depth - 1, *sorted(read_settings(config).deepstack_visual_indexes, reverse=True))


QWEN3_VL = Family(
    name="qwen3_vl",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "patch_embed.weight": Stored(("patch_embed.proj.weight",), FOLDED_FRAMES),
                "patch_embed.bias": "patch_embed.proj.bias",
                "positions": "pos_embed.weight",
                "blocks.*.norm1": "blocks.*.norm1",
                "blocks.*.attn.qkv": "blocks.*.attn.qkv",
                "blocks.*.attn.proj": "blocks.*.attn.proj",
                "blocks.*.norm2": "blocks.*.norm2",
                "blocks.*.mlp.fc1": "blocks.*.mlp.linear_fc1",
                "blocks.*.mlp.fc2": "blocks.*.mlp.linear_fc2",
                "norm_post": "merger.norm",
            },
            prefixes=PREFIXES,
            aside={
                "merger.*": "joins 2 x 2 tokens for the language model",
                "deepstack_merger_list.*": "joins 2 x 2 tokens of earlier blocks for it",
            },
        ),
    ),
    reads=reads,
    interpolation="bilinear_corners",
)
