"""A trained model as one folder, without anything that is frozen.

config.json          the configuration, with prompts and digests of the frozen parts
model.safetensors    connector, vectors of boxes, gaze head
adapter/             the adapters, as peft writes them: `PeftModel.from_pretrained(lm, folder)`
tokenizer/           of the language model
trained.json         what was trained, name by name, and the digests of what was not
encoder.safetensors  the encoder, where it was trained along (`socialfusion.unfrozen`)
"""

import dataclasses
import json
import os
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from degradation.errors import ConfigError, WeightsError
from socialfusion.config import SocialFusionConfig
from socialfusion.model import SocialFusion, build
from socialfusion.weight_files import ADAPTER_WEIGHTS, adapters, fill, save_adapters

__all__ = ["ENCODER", "MANIFEST", "load", "save", "trained_manifest"]

WEIGHTS, TOKENIZER, MANIFEST = "model.safetensors", "tokenizer", "trained.json"
ENCODER = "encoder.safetensors"


def trained_manifest(model: SocialFusion) -> dict[str, object]:
    """What is trained, and what stands beside it frozen, in JSON's own types."""
    shapes = {name: list(one.shape) for name, one in model.trained_parameters().items()}
    return {
        "trained": shapes,
        "parameters": sum(one.numel() for one in model.trained_parameters().values()),
        "frozen": {
            "encoder": {"name": model.config.encoder, "digest": model.config.encoder_digest},
            "language_model": {
                "name": model.config.language_model,
                "digest": model.config.language_model_digest,
            },
        },
    }


def save(model: SocialFusion, folder: str | os.PathLike[str]) -> None:
    """Write the folder, over what is there; whoever needs it whole writes elsewhere and renames.

    Args:
        model: What to write.
        folder: Made if it is not there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(folder)
    own = {name: one.detach().cpu().contiguous() for name, one in _own(model).items()}
    save_file(own, folder / WEIGHTS, metadata={"format": "pt"})
    save_adapters(model.language_model, folder)
    model.tokenizer.save_pretrained(str(folder / TOKENIZER))
    (folder / MANIFEST).write_text(json.dumps(trained_manifest(model), indent=2) + "\n")


def load(
    folder: str | os.PathLike[str],
    *,
    language_model: str | None = None,
    with_encoder: bool = False,
) -> SocialFusion:
    """The model of a folder, in evaluation mode, on the CPU.

    Args:
        folder: As `save` wrote it.
        language_model: Where the language model is now; where the configuration says if None.
        with_encoder: Whether its encoder was trained along, and is loaded by the caller.

    Raises:
        WeightsError: The folder is not whole, or the language model is another.
        ConfigError: The configuration cannot be read, or the encoder was trained along but is not
            loaded.
    """
    folder = Path(folder)
    absent = [
        name
        for name in (
            "config.json",
            WEIGHTS,
            ADAPTER_WEIGHTS,
            *((ENCODER,) if with_encoder else ()),
        )
        if not (folder / name).is_file()
    ]
    if absent:
        raise WeightsError(
            f"Expected a folder that SocialFusion was saved in, but {folder} has no "
            f"{' and no '.join(absent)}. Give a checkpoint of `sdiag train-socialfusion`."
        )
    if (folder / ENCODER).exists() and not with_encoder:
        raise ConfigError(
            f"{folder} was trained with its encoder, and reads tokens of {ENCODER} alone: those "
            "of the frozen encoder would mislead it. Load it with "
            "`socialfusion.unfrozen.load_unfrozen`, or give a run without --train-encoder."
        )
    try:
        fields = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise ConfigError(
            f"Expected JSON in {folder / 'config.json'}, found something else: {error}. Take "
            "another checkpoint."
        ) from error
    if fields.get("model_type") != SocialFusionConfig.model_type:
        raise ConfigError(
            f"Expected the configuration of a SocialFusion model in {folder}, found one of "
            f"{fields.get('model_type')}. Give a checkpoint of `sdiag train-socialfusion`."
        )
    known = {field.name for field in dataclasses.fields(SocialFusionConfig)}
    config = SocialFusionConfig(**{name: one for name, one in fields.items() if name in known})
    if language_model is not None:
        config.language_model = language_model
    model = build(config, seed=0)
    fill(_own(model), folder / WEIGHTS)
    fill(adapters(model.language_model), folder / ADAPTER_WEIGHTS)
    return model.eval()


def _own(model: SocialFusion) -> dict[str, nn.Parameter]:
    """All that is trained outside the language model."""
    return {
        name: one
        for name, one in model.trained_parameters().items()
        if not name.startswith("language_model.")
    }
