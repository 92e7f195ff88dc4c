"""SigLIP, SigLIP 2 at fixed sizes, and the tower of PaliGemma."""

from typing import Literal

from pydantic import BaseModel

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.clip import BLOCK_KEYS, PREFIXES
from degradation.encoders.families.family import (
    ACTIVATIONS,
    Config,
    Family,
    HiddenAct,
    Layout,
    tower_settings,
)
from degradation.encoders.statistics import HALF_STATISTICS

__all__ = ["SIGLIP"]

TOWERS = {"siglip_vision_model"}
CONTAINERS = {"siglip", "paligemma"}


class Settings(BaseModel):
    """Fields of a SigLIP vision_config; what is left out has transformers' defaults."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: Literal[3] = 3
    image_size: int = 224
    patch_size: int = 16
    hidden_act: HiddenAct = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes."""
    settings = Settings.model_validate(tower_settings(config, TOWERS, CONTAINERS))
    mean, std = HALF_STATISTICS
    # Pictures of 384 pixels hold 27 patches of 14 and a rest of 6 that the convolution passes over.
    # Here the side is that of the patches, so that the grid covers the picture.
    size = settings.image_size // settings.patch_size * settings.patch_size
    return VitConfig(
        size=size,
        patch=settings.patch_size,
        width=settings.hidden_size,
        depth=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        mlp=settings.intermediate_size,
        activation=ACTIVATIONS[settings.hidden_act],
        cls=False,
        norm_eps=settings.layer_norm_eps,
        mean=mean,
        std=std,
    )


SIGLIP = Family(
    name="siglip",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "patch_embed": "embeddings.patch_embedding",
                "positions": "embeddings.position_embedding.weight",
                **BLOCK_KEYS,
                "norm_post": "post_layernorm",
            },
            prefixes=PREFIXES,
            aside={
                "post_layernorm.*": "the norm after the last block",
                "head.*": "the pooling after the last block",
                "embeddings.position_ids": "the numbers of the positions",
            },
        ),
    ),
)
