"""Vision towers of open_clip: published tags, a file for a known architecture, or a folder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from degradation.encoders.from_timm import timm_parts
from degradation.encoders.frozen import RGB
from degradation.encoders.library import Loaded, not_plain, read_weights, square
from degradation.encoders.names import unknown_name
from degradation.encoders.weights import load_strict
from degradation.errors import ConfigError, WeightsError

__all__ = ["load_open_clip"]

FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
)


def load_open_clip(reference: str, *, trained: bool = True) -> Loaded:
    """The vision tower that `NAME/TAG`, `NAME@FILE` or `FOLDER` refers to.

    Untrained it is as open_clip initialises it, and no weights are read.

    Raises:
        ConfigError: There is no such model or tag, or it is no plain transformer.
        WeightsError: The weights cannot be had or do not fit.
    """
    import open_clip

    folder = Path(reference).expanduser()
    if folder.is_dir():
        return from_folder(folder, trained=trained)
    at = "@" in reference
    name, _, weights = reference.partition("@" if at else "/")
    if name not in open_clip.list_models():
        raise unknown_name("open_clip model or folder", name or reference, open_clip.list_models())
    if at:
        return from_file(name, Path(weights).expanduser(), trained=trained)
    return from_tag(name, weights, trained=trained)


def from_tag(name: str, tag: str, *, trained: bool) -> Loaded:
    """Published weights.

    Raises:
        ConfigError: The model has no such tag, or it was trained with another activation.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise unknown_name(f"open_clip tag of {name},", tag, tags)
    config = open_clip.get_model_config(name)
    published = open_clip.get_pretrained_cfg(name, tag)
    quick = published.get("quick_gelu", False)
    if quick != config.get("quick_gelu", False):
        other = f"{name}-quickgelu" if quick else name.removesuffix("-quickgelu")
        raise ConfigError(
            f"open_clip:{name}/{tag} was trained with another activation than {name} has. "
            f"Use open_clip:{other}/{tag}."
        )
    if not trained:  # given the tag, open_clip would download the weights even so
        model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
        return described(model.visual, config, (published["mean"], published["std"]))
    model = open_clip.create_model(name, pretrained=tag, require_pretrained=True)
    return described(model.visual, config)


def from_file(name: str, path: Path, *, trained: bool) -> Loaded:
    """Weights from a file; pixel statistics from the published weights if these all agree."""
    import open_clip

    model = open_clip.create_model(name, load_weights=False, pretrained_text=False)
    if trained:
        load_visual(model.visual, path)
    tags = open_clip.list_pretrained_tags_by_model(name)
    published = [open_clip.get_pretrained_cfg(name, tag) for tag in tags]
    statistics = {(tuple(tag["mean"]), tuple(tag["std"])) for tag in published}
    agreed = statistics.pop() if len(statistics) == 1 else None
    return described(model.visual, open_clip.get_model_config(name), agreed)


def from_folder(folder: Path, *, trained: bool) -> Loaded:
    """Configuration and weights from a folder.

    Raises:
        WeightsError: A file is not there, or cannot be used.
    """
    import open_clip

    config_path = folder / "open_clip_config.json"
    weights = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if not config_path.is_file() or (trained and weights is None):
        raise WeightsError(
            f"Expected open_clip_config.json and one of {', '.join(FILES)} in {folder}, "
            f"but found {', '.join(sorted(os.listdir(folder))) or 'nothing'}."
        )
    try:
        model = open_clip.create_model(
            f"local-dir:{folder}", load_weights=False, pretrained_text=False
        )
        config = json.loads(config_path.read_text(encoding="utf-8"))["model_cfg"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"Expected open_clip's model_cfg in {config_path}, but it cannot be used: {error}."
        ) from error
    if trained:
        load_visual(model.visual, weights)
    return described(model.visual, config)


def load_visual(visual: nn.Module, path: Path) -> None:
    """Fill an open_clip vision tower from a file in open_clip's names, strictly."""
    state = read_weights(path)
    prefix = "visual."
    visual_state = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }
    load_strict(visual, visual_state, str(path))


def described(
    visual: nn.Module, config: Mapping[str, Any], statistics: tuple[RGB, RGB] | None = None
) -> Loaded:
    """What is to be known about an open_clip tower, in its own class or around a timm trunk."""
    mean, std = statistics or (visual.image_mean, visual.image_std)
    facts = {
        "vision_cfg": dict(config["vision_cfg"]),
        "quick_gelu": config.get("quick_gelu", False),
    }
    if hasattr(visual, "trunk"):
        blocks, n_prefix, patch = timm_parts(visual.trunk, "open_clip's timm trunk")
    elif hasattr(visual, "transformer"):
        blocks = visual.transformer.resblocks
        n_prefix = 1
        patch = square(visual.patch_size)
    else:
        raise not_plain("this open_clip model", f"its tower is a {type(visual).__name__}")
    return Loaded(
        model=visual,
        blocks=blocks,
        n_prefix=n_prefix,
        size=square(visual.image_size),
        patch=patch,
        mean=tuple(mean),
        std=tuple(std),
        facts=facts,
    )
