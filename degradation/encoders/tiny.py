"""The family `tiny`: a small vision transformer that ships with the package.

A folder holds `config.json` (the fields of `VitConfig`), `pre.safetensors` (before), and
`post.safetensors` (after training inside a vision-language model), `step-000400.safetensors` and
so on (checkpoints on the way from one to the other). Weights are float16 on disk.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.frozen_vit import frozen_vit
from degradation.encoders.shipped import tiny_folder, tiny_steps
from degradation.encoders.vit import Vit, VitConfig
from degradation.encoders.weights import load_strict, read_safetensors, write_safetensors
from degradation.errors import WeightsError

__all__ = ["load_tiny", "random_tiny", "read_tiny", "save_tiny", "tiny_steps"]


def load_tiny(side: str, folder: Path | None = None) -> FrozenEncoder:
    """The frozen encoder `tiny:SIDE`.

    Args:
        side: `pre`, `post` or a checkpoint such as `step-000400`.
        folder: Weights folder; the shipped one if None.

    Raises:
        WeightsError: The folder lacks this side, or its weights do not fit its configuration.
    """
    return frozen_vit(read_tiny(side, folder), name=f"tiny:{side}")


def random_tiny(side: str, folder: Path | None = None, *, seed: int) -> FrozenEncoder:
    """The architecture of `tiny:SIDE`, which all sides share, with fresh weights.

    They are drawn as the recipe draws those that it starts from. It has batch norms in the stem
    while it trains; a fresh stem keeps the scale of a picture without them (He et al. 2015).

    Args:
        side: Whose name it gets.
        folder: Weights folder, of which only the configuration is read; the shipped one if None.
        seed: Of the weights.

    Raises:
        WeightsError: The folder has no configuration that can be used.
    """
    vit = Vit(read_config(folder or tiny_folder()))
    vit.initialise(generator=torch.Generator().manual_seed(seed))
    return frozen_vit(vit, name=f"tiny:{side}")


def read_tiny(side: str, folder: Path | None = None) -> Vit:
    """The tower of one side, trainable. Arguments and errors as for `load_tiny`."""
    folder = folder or tiny_folder()
    path = folder / f"{side}.safetensors"
    if not path.is_file():
        present = sorted(file.stem for file in folder.glob("*.safetensors"))
        raise WeightsError(
            f"Expected {path.name} in {folder}, but found {', '.join(present) or 'no weights'}. "
            "Train the family with `sdiag scenes train`, or reinstall the package."
        )
    with torch.device("meta"):
        vit = Vit(read_config(folder))
    load_strict(vit, read_safetensors(path), str(path))
    return vit


def read_config(folder: Path) -> VitConfig:
    """The architecture that a folder declares; unknown fields are refused.

    Raises:
        WeightsError: It cannot be used.
    """
    path = folder / "config.json"
    try:
        return TypeAdapter(VitConfig).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise WeightsError(
            f"Expected the fields of a VitConfig in {path}, but it cannot be used: {error}. "
            "Write the folder again with `sdiag scenes train`."
        ) from error


def save_tiny(vit: Vit, folder: Path, name: str) -> None:
    """Write one side as float16, and `config.json` beside the first.

    Args:
        vit: The tower.
        folder: Made if absent. All sides in it have one configuration.
        name: `pre`, `post` or `step-000400`.

    Raises:
        WeightsError: A weight overflows float16, or the folder holds another configuration.
    """
    state = {key: tensor.half() for key, tensor in vit.state_dict().items()}
    overflowing = [key for key, tensor in state.items() if not torch.isfinite(tensor).all()]
    if overflowing:
        raise WeightsError(
            f"Expected weights within float16, but {', '.join(overflowing[:4])} are not finite "
            "there. The training diverged: lower its learning rate."
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "config.json").exists():
        draft = folder / ".config.json"
        draft.write_text(json.dumps(asdict(vit.config), indent=2) + "\n", encoding="utf-8")
        os.replace(draft, folder / "config.json")
    if read_config(folder) != vit.config:
        raise WeightsError(
            f"{folder} holds weights of another configuration than this tower's. "
            "Write into an empty folder."
        )
    write_safetensors(state, folder / f"{name}.safetensors")
