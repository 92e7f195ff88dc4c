"""CLIP towers in the names of open_clip, which keeps query, key and value in one tensor.

Described by open_clip_config.json. Only open_clip's plain vision transformer is read here; its
other towers come through the library itself, `open_clip:...`.
"""

from typing import Any, Literal

from pydantic import BaseModel

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import Config, Family, Layout, Stored
from degradation.encoders.statistics import CLIP_STATISTICS
from degradation.errors import ConfigError

__all__ = ["OPEN_CLIP"]


class Pixels(BaseModel):
    """Fields of preprocess_cfg."""

    mean: tuple[float, float, float] = CLIP_STATISTICS[0]
    std: tuple[float, float, float] = CLIP_STATISTICS[1]


class Tower(BaseModel):
    """Fields of vision_cfg with open_clip's defaults; what would change the tower must be off."""

    layers: int = 12
    width: int = 768
    head_width: int = 64
    mlp_ratio: float = 4.0
    patch_size: int = 16
    image_size: int = 224
    timm_model_name: None = None
    ls_init_value: None = None
    no_ln_pre: Literal[False] = False
    pos_embed_type: Literal["learnable"] = "learnable"
    act_kwargs: dict[str, Any] | None = None
    norm_kwargs: dict[str, Any] | None = None
    block_type: Literal["default"] | None = None
    qk_norm: Literal[False] = False
    scaled_cosine_attn: Literal[False] = False
    scale_heads: Literal[False] = False
    scale_attn_inner: Literal[False] = False
    scale_attn: Literal[False] = False
    scale_fc: Literal[False] = False


class Model(BaseModel):
    """Fields of model_cfg."""

    vision_cfg: Tower
    quick_gelu: bool = False


class Settings(BaseModel):
    """Fields of open_clip_config.json."""

    model_cfg: Model
    preprocess_cfg: Pixels = Pixels()


def describe(config: Config) -> VitConfig:
    """The architecture that an open_clip_config.json describes."""
    if "model_cfg" not in config:
        raise ConfigError(
            "Expected open_clip_config.json with a model_cfg, but found a config.json of model "
            f"type {config.get('model_type')!r}. Is this a repository of another family?"
        )
    settings = Settings.model_validate(config)
    tower, pixels = settings.model_cfg.vision_cfg, settings.preprocess_cfg
    if tower.act_kwargs or tower.norm_kwargs:
        raise ConfigError(
            "Expected open_clip's plain activation and norm, but vision_cfg changes them: "
            f"{tower.act_kwargs or tower.norm_kwargs}. Use this tower through open_clip itself."
        )
    return VitConfig(
        size=tower.image_size,
        patch=tower.patch_size,
        width=tower.width,
        depth=tower.layers,
        heads=tower.width // tower.head_width,
        mlp=int(tower.width * tower.mlp_ratio),
        activation="quick_gelu" if settings.model_cfg.quick_gelu else "gelu",
        pre_norm=True,
        patch_bias=False,
        norm_eps=1e-5,
        mean=pixels.mean,
        std=pixels.std,
    )


BLOCK = "transformer.resblocks.*"

OPEN_CLIP = Family(
    name="open_clip",
    describe=describe,
    layouts=(
        Layout(
            keys={
                "cls": "class_embedding",
                "patch_embed": "conv1",
                "positions": "positional_embedding",
                "norm_pre": "ln_pre",
                "blocks.*.norm1": f"{BLOCK}.ln_1",
                "blocks.*.attn.qkv.weight": Stored((f"{BLOCK}.attn.in_proj_weight",)),
                "blocks.*.attn.qkv.bias": Stored((f"{BLOCK}.attn.in_proj_bias",)),
                "blocks.*.attn.proj": f"{BLOCK}.attn.out_proj",
                "blocks.*.norm2": f"{BLOCK}.ln_2",
                "blocks.*.mlp.fc1": f"{BLOCK}.mlp.c_fc",
                "blocks.*.mlp.fc2": f"{BLOCK}.mlp.c_proj",
                "norm_post": "ln_post",
            },
            prefixes=("visual.",),
            aside={
                "ln_post.*": "the norm after the last block",
                "proj": "the projection into the space shared with text",
            },
        ),
    ),
)
