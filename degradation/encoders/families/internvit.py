"""InternViT-300M, alone and inside InternVL2 and SAIL-VL, in the names of its own code.

The 6B tower differs (RMSNorm, normalised queries and keys) and is refused.
"""

from typing import Literal

from pydantic import BaseModel

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import (
    Config,
    Family,
    Layout,
    Stored,
    hidden_state_blocks,
    leading,
    tower_settings,
)
from degradation.encoders.statistics import IMAGENET_STATISTICS

__all__ = ["INTERNVIT", "select_layer"]

TOWERS = {"intern_vit_6b"}  # the type of the 300M tower too
CONTAINERS = {"internvl_chat"}


class Settings(BaseModel):
    """Fields of an InternViT config.

    The defaults of its class are those of the 6B tower, so that a file that leaves out any of
    these switches is refused.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    image_size: int = 224
    patch_size: int = 14
    num_channels: Literal[3] = 3
    hidden_act: Literal["gelu"] = "gelu"
    layer_norm_eps: float = 1e-6
    norm_type: Literal["layer_norm"]
    qk_normalization: Literal[False]
    qkv_bias: bool = False


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes."""
    settings = Settings.model_validate(tower_settings(config, TOWERS, CONTAINERS))
    mean, std = IMAGENET_STATISTICS
    return VitConfig(
        size=settings.image_size,
        patch=settings.patch_size,
        width=settings.hidden_size,
        depth=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        mlp=settings.intermediate_size,
        activation="gelu",
        norm_eps=settings.layer_norm_eps,
        mean=mean,
        std=std,
        qkv_bias=settings.qkv_bias,
        layer_scale=True,
    )


def select_layer(config: Config, depth: int) -> tuple[int, ...]:
    """The block that `select_layer` names; the last one if it names none."""
    return hidden_state_blocks(config.get("select_layer", -1), depth)


BLOCK = "encoder.layers.*"

INTERNVIT = Family(
    name="internvit",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "cls": Stored(("embeddings.class_embedding",), leading(2)),
                "patch_embed": "embeddings.patch_embedding",
                "positions": Stored(("embeddings.position_embedding",), leading(1)),
                "blocks.*.norm1": f"{BLOCK}.norm1",
                "blocks.*.attn.qkv": f"{BLOCK}.attn.qkv",
                "blocks.*.attn.proj": f"{BLOCK}.attn.proj",
                "blocks.*.scale1": f"{BLOCK}.ls1",
                "blocks.*.norm2": f"{BLOCK}.norm2",
                "blocks.*.mlp.fc1": f"{BLOCK}.mlp.fc1",
                "blocks.*.mlp.fc2": f"{BLOCK}.mlp.fc2",
                "blocks.*.scale2": f"{BLOCK}.ls2",
            },
            prefixes=("vision_model.", ""),
        ),
    ),
    reads=select_layer,
)
