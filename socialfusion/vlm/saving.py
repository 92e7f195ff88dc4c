"""A fine-tuned Qwen2-VL as one folder, without anything that is frozen.

vlm.json             the configuration, with prompts and the digest of the frozen weights
adapter/             the adapters, as peft writes them: `PeftModel.from_pretrained(qwen, folder)`
vision.safetensors   the vision tower, where it was trained
tokenizer/           its own
trained.json         what was trained, name by name
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from safetensors.torch import save_file

from degradation.errors import ConfigError, WeightsError
from socialfusion.vlm.config import VlmConfig
from socialfusion.weight_files import ADAPTER_WEIGHTS, adapters, fill, save_adapters

if TYPE_CHECKING:
    from socialfusion.vlm.model import Vlm

__all__ = ["load_vlm", "save_vlm"]

CONFIG, VISION, TOKENIZER = "vlm.json", "vision.safetensors", "tokenizer"
MANIFEST = "trained.json"


def save_vlm(model: "Vlm", folder: str | os.PathLike[str]) -> None:
    """Write the folder, over what is there; whoever needs it whole writes elsewhere and renames."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(model.config.model_dump_json(indent=1) + "\n")
    save_adapters(model.language_model, folder)
    if model.config.train_vision:
        state = model.base.model.visual.state_dict()
        save_file({name: one.cpu().contiguous() for name, one in state.items()}, folder / VISION)
    model.tokenizer.save_pretrained(str(folder / TOKENIZER))
    shapes = {name: list(one.shape) for name, one in model.trained_parameters().items()}
    count = sum(one.numel() for one in model.trained_parameters().values())
    frozen = {"model": {"name": model.config.model, "digest": model.config.digest}}
    manifest = {"trained": shapes, "parameters": count, "frozen": frozen}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")


def load_vlm(folder: str | os.PathLike[str], *, model: str | None = None) -> "Vlm":
    """The model of a folder, in evaluation mode, on the CPU.

    Args:
        folder: As `save_vlm` wrote it.
        model: Where Qwen2-VL is now; where the configuration says if None.

    Raises:
        WeightsError: The folder is not whole, or Qwen2-VL is another.
        ConfigError: The configuration cannot be read.
    """
    from socialfusion.vlm.model import build_vlm

    folder = Path(folder)
    try:
        config = VlmConfig.model_validate_json((folder / CONFIG).read_bytes())
    except OSError as error:
        raise WeightsError(
            f"Expected a folder that a fine-tuned Qwen2-VL was saved in, but {folder} has no "
            f"{CONFIG}. Give a checkpoint of `sdiag train-socialfusion --vlm`."
        ) from error
    except ValidationError as error:
        raise ConfigError(
            f"Expected the configuration of a fine-tuned Qwen2-VL in {folder / CONFIG}, found "
            f"{error.error_count()} faults: {error.errors()[0]['msg']}. Take another checkpoint."
        ) from error
    if model is not None:
        config = config.model_copy(update={"model": model})
    built = build_vlm(config, seed=0)
    fill(adapters(built.language_model), folder / ADAPTER_WEIGHTS)
    if config.train_vision:
        fill(built.base.model.visual.state_dict(), folder / VISION)
    return built.eval()
