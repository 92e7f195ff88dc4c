"""The tower of Qwen2-VL: the blocks of DFN's ViT-H/14 with axial RoPE in place of its positions.

It has no class token and no table of positions, so that every grid is native to it, odd ones
included. Its own code orders tokens by blocks of 2 x 2 cells, which the merger joins; here they
are in raster order, which changes nothing else. A picture is a film of two equal frames.
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
from degradation.encoders.positions import BASE
from degradation.encoders.statistics import CLIP_STATISTICS

__all__ = ["PREFIXES", "QWEN2_VL", "AxialRope"]

TOWERS = {"qwen2_vl", "qwen2_vl_vision"}
CONTAINERS = {"qwen2_vl"}
# The hub's files, and files that newer transformers have written.
PREFIXES = ("visual.", "model.visual.")
SIZE = 378  # that of the DFN tower with which it is compared


class AxialRope(BaseModel):
    """Fields of rope_parameters, which files of transformers 5 spell out."""

    rope_type: Literal["axial"] = "axial"
    rope_theta: float = Field(BASE, ge=BASE, le=BASE)


class Settings(BaseModel):
    """Fields of vision_config; the hub's files leave out many.

    `hidden_size` is not among them: there it is the width of the language model.
    """

    depth: int = 32
    embed_dim: int = 1280
    num_heads: int = 16
    mlp_ratio: float = 4
    hidden_act: Literal["quick_gelu"] = "quick_gelu"
    patch_size: int = 14
    temporal_patch_size: Literal[2] = 2
    in_channels: Literal[3] = Field(3, validation_alias=AliasChoices("in_channels", "in_chans"))
    rope_parameters: AxialRope | None = None


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes."""
    settings = Settings.model_validate(tower_settings(config, TOWERS, CONTAINERS))
    mean, std = CLIP_STATISTICS
    return VitConfig(
        size=SIZE // settings.patch_size * settings.patch_size,
        patch=settings.patch_size,
        width=settings.embed_dim,
        depth=settings.depth,
        heads=settings.num_heads,
        mlp=int(settings.embed_dim * settings.mlp_ratio),
        activation="quick_gelu",
        cls=False,
        patch_bias=False,
        norm_eps=1e-6,
        mean=mean,
        std=std,
        learned_positions=False,
        rope=True,
    )


QWEN2_VL = Family(
    name="qwen2_vl",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "patch_embed.weight": Stored(("patch_embed.proj.weight",), FOLDED_FRAMES),
                "blocks.*.norm1": "blocks.*.norm1",
                "blocks.*.attn.qkv": "blocks.*.attn.qkv",
                "blocks.*.attn.proj": "blocks.*.attn.proj",
                "blocks.*.norm2": "blocks.*.norm2",
                "blocks.*.mlp.fc1": "blocks.*.mlp.fc1",
                "blocks.*.mlp.fc2": "blocks.*.mlp.fc2",
                "norm_post": "merger.ln_q",
            },
            prefixes=PREFIXES,
            aside={"merger.*": "joins 2 x 2 tokens for the language model"},
        ),
    ),
)
