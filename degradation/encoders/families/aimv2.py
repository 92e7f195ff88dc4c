"""AIMv2, alone, refined into SAILViT, and inside SAIL-VL 1.5, 1.6 and 2.

Two namings are in use: Apple's own, and that of transformers, into which published files may have
been converted. Normalisation is not part of the files: Apple's towers take CLIP's statistics,
SAIL-VL those of ImageNet.
"""

from typing import Literal

from pydantic import BaseModel

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import (
    Config,
    Family,
    Layout,
    Stored,
    leading,
    tower_settings,
)
from degradation.encoders.families.internvit import select_layer
from degradation.encoders.statistics import CLIP_STATISTICS, IMAGENET_STATISTICS

__all__ = ["AIMV2"]

TOWERS = {"aimv2", "aimv2_vision_model"}
CONTAINERS: set[str] = set()  # SAIL-VL is an internvl_chat, which says little of its tower


class Settings(BaseModel):
    """Fields of an AIMv2 config with the defaults of its class."""

    hidden_size: int = 1024
    intermediate_size: int = 2816
    num_hidden_layers: int = 24
    num_attention_heads: int = 8
    num_channels: Literal[3] = 3
    image_size: int = 224
    patch_size: int = 14
    rms_norm_eps: float = 1e-5
    hidden_act: Literal["silu"] = "silu"
    qkv_bias: Literal[False] = False
    use_bias: Literal[False] = False
    mlp_bias: Literal[False] = False
    is_native: Literal[False] = False  # positions computed, not learned


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes."""
    settings = Settings.model_validate(tower_settings(config, TOWERS, CONTAINERS))
    inside = config.get("model_type") == "internvl_chat"
    mean, std = IMAGENET_STATISTICS if inside else CLIP_STATISTICS
    return VitConfig(
        size=settings.image_size,
        patch=settings.patch_size,
        width=settings.hidden_size,
        depth=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        mlp=settings.intermediate_size,
        activation="swiglu",
        cls=False,
        norm_eps=settings.rms_norm_eps,
        mean=mean,
        std=std,
        norm="rms",
        patch_norm=True,
        qkv_bias=False,
        proj_bias=False,
        mlp_bias=False,
    )


APPLE = Layout(
    keys={
        "patch_embed": "preprocessor.patchifier.proj",
        "patch_norm": "preprocessor.patchifier.norm",
        "positions": Stored(("preprocessor.pos_embed",), leading(1)),
        "blocks.*.norm1": "trunk.blocks.*.norm_1",
        "blocks.*.attn.qkv": "trunk.blocks.*.attn.qkv",
        "blocks.*.attn.proj": "trunk.blocks.*.attn.proj",
        "blocks.*.norm2": "trunk.blocks.*.norm_2",
        "blocks.*.mlp.fc1": ("trunk.blocks.*.mlp.fc1", "trunk.blocks.*.mlp.fc3"),
        "blocks.*.mlp.fc2": "trunk.blocks.*.mlp.fc2",
        "norm_post": "trunk.post_trunk_norm",
    },
    prefixes=("", "vision_model."),
    aside={"trunk.post_trunk_norm.*": "the norm after the last block"},
)

LAYER = "encoder.layers.*"

TRANSFORMERS = Layout(
    keys={
        "patch_embed": "embeddings.patch_embed",
        "patch_norm": "embeddings.rms_norm",
        "positions": "embeddings.position_embedding.weight",
        "blocks.*.norm1": f"{LAYER}.rms_norm1",
        "blocks.*.attn.qkv": tuple(f"{LAYER}.attention.{part}_proj" for part in "qkv"),
        "blocks.*.attn.proj": f"{LAYER}.attention.out_proj",
        "blocks.*.norm2": f"{LAYER}.rms_norm2",
        "blocks.*.mlp.fc1": (f"{LAYER}.ffn.gate_proj", f"{LAYER}.ffn.up_proj"),
        "blocks.*.mlp.fc2": f"{LAYER}.ffn.down_proj",
        "norm_post": "rms_norm",
    },
    prefixes=("", "vision_model."),
    aside={
        "rms_norm.*": "the norm after the last block",
        "head.*": "the pooling after the last block",
    },
)

AIMV2 = Family(name="aimv2", describe=describe, layouts=(APPLE, TRANSFORMERS), reads=select_layer)
