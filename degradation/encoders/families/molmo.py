"""The tower of Molmo: OpenAI's CLIP ViT-L/14-336 without its last block and final norm.

Its language model reads two blocks, 21 and 14 of 0 to 22. Block 22 is stored but read by nothing.
The 7B and 72B models say nothing of the tower in config.json; their code holds the numbers that
are the defaults here.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import (
    LINEAR_PATCHES,
    Config,
    Family,
    Layout,
    Stored,
    listed_blocks,
)
from degradation.encoders.library import square
from degradation.encoders.statistics import CLIP_STATISTICS
from degradation.errors import ConfigError

__all__ = ["MOLMO"]

VIT_LAYERS = (-2, -9)


class Settings(BaseModel):
    """Fields of vision_backbone."""

    image_model_type: Literal["openai"] = "openai"
    image_default_input_size: Annotated[int, BeforeValidator(square)] = 336
    image_patch_size: int = 14
    image_emb_dim: int = 1024
    image_num_heads: int = 16
    image_num_layers: int = 23
    image_mlp_dim: int = 4096
    image_mlp_activations: Literal["quick_gelu"] = "quick_gelu"
    image_norm_eps: float = 1e-5


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes."""
    if config.get("model_type") != "molmo":
        raise ConfigError(
            "Expected a model of type molmo, but config.json says "
            f"{config.get('model_type')!r}. Is this a repository of another family?"
        )
    settings = Settings.model_validate(config.get("vision_backbone") or {})
    mean, std = CLIP_STATISTICS
    return VitConfig(
        size=settings.image_default_input_size,
        patch=settings.image_patch_size,
        width=settings.image_emb_dim,
        depth=settings.image_num_layers,
        heads=settings.image_num_heads,
        mlp=settings.image_mlp_dim,
        activation="quick_gelu",
        pre_norm=True,
        patch_bias=False,
        norm_eps=settings.image_norm_eps,
        mean=mean,
        std=std,
    )


def reads(config: Config, depth: int) -> tuple[int, ...]:
    """Blocks that `vit_layers` names. Its list has no entry for the embeddings."""
    return listed_blocks(config.get("vit_layers", VIT_LAYERS), depth, first=0)


BLOCK = "transformer.resblocks.*"

MOLMO = Family(
    name="molmo",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "cls": "class_embedding",
                "patch_embed.weight": Stored(("patch_embedding.weight",), LINEAR_PATCHES),
                "positions": "positional_embedding",
                "norm_pre": "pre_ln",
                "blocks.*.norm1": f"{BLOCK}.attention_norm",
                "blocks.*.attn.qkv": tuple(f"{BLOCK}.attention.w{part}" for part in "qkv"),
                "blocks.*.attn.proj": f"{BLOCK}.attention.wo",
                "blocks.*.norm2": f"{BLOCK}.ffn_norm",
                "blocks.*.mlp.fc1": f"{BLOCK}.feed_forward.w1",
                "blocks.*.mlp.fc2": f"{BLOCK}.feed_forward.w2",
            },
            prefixes=("model.vision_backbone.image_vit.", "vision_backbone.image_vit."),
        ),
    ),
    reads=reads,
)
