"""Where the weights that ship with the package lie. Needs no torch, so that listing is quick."""

from importlib.resources import files
from pathlib import Path

__all__ = ["tiny_folder", "tiny_steps"]


def tiny_folder() -> Path:
    """Folder of the family `tiny` inside the installed package."""
    return Path(str(files("degradation.encoders") / "weights" / "tiny"))


def tiny_steps(folder: Path | None = None) -> list[str]:
    """Names of the checkpoints along the post training, in order: `step-000400`, ...

    Args:
        folder: Weights folder; the shipped one if None.
    """
    return sorted(path.stem for path in (folder or tiny_folder()).glob("step-*.safetensors"))
