"""From the settings of a run to a Qwen2-VL and questions put as pictures."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from degradation.errors import ConfigError
from socialfusion.records import FusionEncoder, FusionSettings
from socialfusion.samples import QuestionSamples
from socialfusion.vlm.config import VlmConfig
from socialfusion.vlm.model import Vlm, build_vlm
from socialfusion.vlm.samples import PictureSamples, with_pictures

__all__ = ["built_vlm", "check_vlm", "pictured", "tower_card"]


def check_vlm(settings: FusionSettings) -> None:
    """Refuse settings that a fine-tuned Qwen2-VL has no use for, or that need one.

    Raises:
        ConfigError: Naming them.
    """
    if settings.vlm and (settings.online or settings.block is not None):
        raise ConfigError(
            "Expected neither --online, --augment nor --block with --vlm: it always reads the "
            "pictures, as they are, with its own vision tower. Leave them out."
        )
    if settings.train_vision and not settings.vlm:
        raise ConfigError(
            "Expected --vlm for --train-vision: SocialFusion has no tower of its own. Name a "
            "Qwen2-VL, or give --train-encoder."
        )


def built_vlm(questions: Mapping[str, QuestionSamples], settings: FusionSettings) -> Vlm:
    """A fresh model for these questions.

    Raises:
        ConfigError: It is no Qwen2-VL, or a question cannot be asked of it.
        WeightsError: It cannot be had.
    """
    try:
        config = VlmConfig(
            model=settings.language_model,
            dtype=settings.dtype,
            questions=tuple(one.question.as_json() for one in questions.values()),
            lora_rank=settings.lora_rank,
            lora_alpha=2 * settings.lora_rank,
            lora_dropout=settings.lora_dropout,
            train_vision=settings.train_vision,
            boxes=settings.box_masks,
            max_pixels=settings.max_pixels,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(
            f"Expected settings that a Qwen2-VL can be fine-tuned with, found for "
            f"{'.'.join(map(str, first['loc'])) or 'them'}: {first['msg']}."
        ) from error
    return build_vlm(config, seed=settings.seed)


def pictured(
    questions: Mapping[str, QuestionSamples],
    model: Vlm,
    data_root: Mapping[str, Path | None] | None,
) -> dict[str, PictureSamples]:
    """Questions whose rows are put as pictures, by label; see `with_pictures`."""
    qwen = model.base.config
    return {
        label: with_pictures(one, model.config, qwen, data_root=data_root)
        for label, one in questions.items()
    }


def tower_card(model: Vlm) -> FusionEncoder:
    """Its own vision tower, in the words of a record: before training, and the grid varies."""
    config, vision = model.config, model.base.config.vision_config
    return FusionEncoder(
        name=f"{config.model} (its own tower{', trained' if config.train_vision else ''})",
        digest=config.digest,
        pair="",
        side="none",
        block=vision.depth - 1,
        grid=(0, 0),
        width=vision.embed_dim,
        protocol=f"native, {config.min_pixels} to {config.max_pixels} pixels",
    )
