"""CLIP towers in the names of transformers: OpenAI's, DFN's, and those inside LLaVA."""

from pydantic import BaseModel

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import (
    ACTIVATIONS,
    Config,
    Family,
    HiddenAct,
    Layout,
    hidden_state_blocks,
    last_block,
    tower_settings,
)
from degradation.encoders.statistics import CLIP_STATISTICS

__all__ = ["BLOCK_KEYS", "CLIP", "PREFIXES"]

TOWERS = {"clip_vision_model"}
CONTAINERS = {"clip", "llava", "llava_next"}


class Settings(BaseModel):
    """Fields of a CLIP vision_config; what is left out has transformers' defaults."""

    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    image_size: int = 224
    patch_size: int = 32
    hidden_act: HiddenAct = "quick_gelu"
    layer_norm_eps: float = 1e-5


def describe(config: Config) -> VitConfig:
    """The architecture that a config.json describes."""
    settings = Settings.model_validate(tower_settings(config, TOWERS, CONTAINERS))
    mean, std = CLIP_STATISTICS
    return VitConfig(
        size=settings.image_size,
        patch=settings.patch_size,
        width=settings.hidden_size,
        depth=settings.num_hidden_layers,
        heads=settings.num_attention_heads,
        mlp=settings.intermediate_size,
        activation=ACTIVATIONS[settings.hidden_act],
        pre_norm=True,
        patch_bias=False,
        norm_eps=settings.layer_norm_eps,
        mean=mean,
        std=std,
    )


def reads(config: Config, depth: int) -> tuple[int, ...]:
    """The last block, or in LLaVA the block that `vision_feature_layer` names."""
    if config.get("model_type") not in ("llava", "llava_next"):
        return last_block(config, depth)
    return hidden_state_blocks(config.get("vision_feature_layer", -2), depth)


BLOCK = "encoder.layers.*"
BLOCK_KEYS = {
    "blocks.*.norm1": f"{BLOCK}.layer_norm1",
    "blocks.*.attn.qkv": tuple(f"{BLOCK}.self_attn.{part}_proj" for part in "qkv"),
    "blocks.*.attn.proj": f"{BLOCK}.self_attn.out_proj",
    "blocks.*.norm2": f"{BLOCK}.layer_norm2",
    "blocks.*.mlp.fc1": f"{BLOCK}.mlp.fc1",
    "blocks.*.mlp.fc2": f"{BLOCK}.mlp.fc2",
}
"""The names of a block, which transformers' SigLIP shares."""
PREFIXES = (
    "vision_model.",
    "",
    "vision_tower.vision_model.",
    "vision_tower.",
    "model.vision_tower.vision_model.",
    "model.vision_tower.",
)
"""Standalone, and inside vision-language models as releases of transformers have written them."""

CLIP = Family(
    name="clip",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "cls": "embeddings.class_embedding",
                "patch_embed": "embeddings.patch_embedding",
                "positions": "embeddings.position_embedding.weight",
                "norm_pre": "pre_layrnorm",  # so spelt on disk
                **BLOCK_KEYS,
                "norm_post": "post_layernorm",
            },
            prefixes=(
                *PREFIXES,
                "model.vision_tower.vision_tower.vision_model.",  # LLaVA's own format
            ),
            aside={
                "post_layernorm.*": "the norm after the last block",
                "embeddings.position_ids": "the numbers of the positions",
            },
        ),
    ),
    reads=reads,
)
