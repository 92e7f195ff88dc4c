"""DINOv2 without registers, in the names of transformers."""

from typing import Literal

from pydantic import BaseModel

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import (
    ACTIVATIONS,
    Config,
    Family,
    HiddenAct,
    Layout,
    Stored,
    leading,
    tower_settings,
)
from degradation.encoders.statistics import IMAGENET_STATISTICS

__all__ = ["DINOV2"]


class Settings(BaseModel):
    """Fields of a DINOv2 config; what is left out has transformers' defaults."""

    hidden_size: int = 768
    mlp_ratio: float = 4
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    num_channels: Literal[3] = 3
    image_size: int = 224
    patch_size: int = 14
    hidden_act: HiddenAct = "gelu"
    layer_norm_eps: float = 1e-6
    qkv_bias: bool = True
    use_swiglu_ffn: Literal[False] = False  # True in the giant model, which nothing here uses


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes."""
    settings = Settings.model_validate(tower_settings(config, {"dinov2"}, set()))
    mean, std = IMAGENET_STATISTICS
    return VitConfig(
        size=settings.image_size,
        patch=settings.patch_size,
        width=settings.hidden_size,
        depth=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        mlp=int(settings.hidden_size * settings.mlp_ratio),
        activation=ACTIVATIONS[settings.hidden_act],
        norm_eps=settings.layer_norm_eps,
        mean=mean,
        std=std,
        qkv_bias=settings.qkv_bias,
        layer_scale=True,
    )


BLOCK = "encoder.layer.*"

DINOV2 = Family(
    name="dinov2",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "cls": Stored(("embeddings.cls_token",), leading(2)),
                "patch_embed": "embeddings.patch_embeddings.projection",
                "positions": Stored(("embeddings.position_embeddings",), leading(1)),
                "blocks.*.norm1": f"{BLOCK}.norm1",
                "blocks.*.attn.qkv": tuple(
                    f"{BLOCK}.attention.attention.{part}" for part in ("query", "key", "value")
                ),
                "blocks.*.attn.proj": f"{BLOCK}.attention.output.dense",
                "blocks.*.scale1": f"{BLOCK}.layer_scale1.lambda1",
                "blocks.*.norm2": f"{BLOCK}.norm2",
                "blocks.*.mlp.fc1": f"{BLOCK}.mlp.fc1",
                "blocks.*.mlp.fc2": f"{BLOCK}.mlp.fc2",
                "blocks.*.scale2": f"{BLOCK}.layer_scale2.lambda1",
                "norm_post": "layernorm",
            },
            prefixes=("", "dinov2."),
            aside={
                "layernorm.*": "the norm after the last block",
                "embeddings.mask_token": "stands for masked patches in training",
            },
        ),
    ),
)
