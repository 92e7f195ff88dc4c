"""Vision towers of transformers, by its own classes and from the hub's cache or a folder."""

from pathlib import Path

import torch
from torch import nn

from degradation.encoders.frozen import RGB
from degradation.encoders.library import Loaded, square
from degradation.encoders.weights import refuse
from degradation.errors import ConfigError, WeightsError

__all__ = ["load_hf"]

CLIP_REST = ("text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias")
# Model type: transformers' tower class, its arguments, and what a file may hold beside the tower.
TOWERS: dict[str, tuple[str, dict[str, bool], tuple[str, ...]]] = {
    "clip": ("CLIPVisionModel", {}, CLIP_REST),
    "clip_vision_model": ("CLIPVisionModel", {}, CLIP_REST),
    "siglip": ("SiglipVisionModel", {}, CLIP_REST),
    "siglip_vision_model": ("SiglipVisionModel", {}, CLIP_REST),
    "dinov2": ("Dinov2Model", {}, ("classifier.",)),
    "dinov2_with_registers": ("Dinov2WithRegistersModel", {}, ("classifier.",)),
    "vit": ("ViTModel", {"add_pooling_layer": False}, ("classifier.", "pooler.")),
}


def load_hf(reference: str, *, trained: bool = True) -> Loaded:
    """The vision tower of a transformers model, by the class of its model type.

    Untrained it is as that class initialises it, and no weights are read.

    Raises:
        ConfigError: Its type has no vision tower that can be used.
        WeightsError: The folder is not there, or weights cannot be had.
    """
    import transformers

    folder = Path(reference).expanduser()
    if reference.startswith((".", "/", "~")) and not folder.is_dir():
        raise WeightsError(f"Expected a model folder at {folder}, but there is none.")
    place = str(folder) if folder.is_dir() else reference
    config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=False)
    if config.model_type not in TOWERS:
        raise ConfigError(
            f"hf:{reference} is a {config.model_type!r}, which has no vision tower that can be "
            f"used. Supported model types: {', '.join(TOWERS)}."
        )
    class_name, arguments, rest = TOWERS[config.model_type]
    tower_class = getattr(transformers, class_name)
    if not trained:
        # A model with two towers keeps the configuration of this one inside its own.
        own = config if isinstance(config, tower_class.config_class) else config.vision_config
        return hf_tower(tower_class(own, **arguments).float(), hf_statistics(place), class_name)
    model, report = tower_class.from_pretrained(
        place,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that they are reported to us, and refused below
        **arguments,
    )
    refuse(
        place,
        missing=report["missing_keys"],
        unexpected=[key for key in report["unexpected_keys"] if not key.startswith(rest)],
        misshapen=[" ".join(map(str, key)) for key in report["mismatched_keys"]],
        non_finite=[n for n, x in model.state_dict().items() if not torch.isfinite(x).all()],
    )
    return hf_tower(model, hf_statistics(place), class_name)


def hf_tower(model: nn.Module, statistics: tuple[RGB, RGB], class_name: str) -> Loaded:
    """What is to be known about a transformers tower."""
    config = model.config
    # The attribute that holds the blocks moves between releases; their number does not.
    blocks = next(
        module
        for module in model.modules()
        if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers
    )
    size, patch = square(config.image_size), square(config.patch_size)
    facts = ("hidden_act", "layer_norm_eps", "num_attention_heads")
    return Loaded(
        model=model,
        blocks=blocks,
        n_prefix=(class_name != "SiglipVisionModel") + getattr(config, "num_register_tokens", 0),
        size=size,
        patch=patch,
        mean=statistics[0],
        std=statistics[1],
        facts={"class": class_name} | {name: getattr(config, name) for name in facts},
    )


def hf_statistics(place: str) -> tuple[RGB, RGB]:
    """Channel means and deviations from the model's own preprocessor_config.json.

    Raises:
        WeightsError: The file has none.
    """
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        settings, _ = ImageProcessingMixin.get_image_processor_dict(place)
        return tuple(settings["image_mean"]), tuple(settings["image_std"])
    except (OSError, KeyError) as error:
        raise WeightsError(
            f"Expected image_mean and image_std in preprocessor_config.json of {place}, but found "
            "none. Copy that file from the model's original: the features depend on it."
        ) from error
