"""Which files a checkpoint consists of: configuration, index, weights."""

import json
import posixpath
from pathlib import Path
from typing import Any

from degradation.errors import WeightsError

__all__ = ["INDEX", "WEIGHTS", "config_names", "read_index", "read_json"]

INDEX = ".index.json"
WEIGHTS = (
    "model.safetensors",
    f"model.safetensors{INDEX}",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "pytorch_model.bin",
    f"pytorch_model.bin{INDEX}",
    "open_clip_pytorch_model.bin",
)
"""Names under which weights are published, in the order they are looked for."""


def config_names(weights: str) -> tuple[str, str]:
    """Where the configuration of these weights stands, most likely first."""
    folder, name = posixpath.split(weights)
    names = ["config.json", "open_clip_config.json"]
    first, second = reversed(names) if name.startswith("open_clip") else names
    return posixpath.join(folder, first), posixpath.join(folder, second)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        WeightsError: It cannot be read or is not a JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(
            f"Expected JSON in {path}, but it cannot be read ({error}). Copy or download it again."
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(
            f"Expected a JSON object in {path}, but found a {type(content).__name__}. Copy or "
            "download it again."
        )
    return content


def read_index(path: Path, name: str) -> dict[str, str]:
    """The shard that holds each tensor.

    Args:
        path: The index.
        name: Its name in the checkpoint, whose folder the shards' names are relative to.

    Returns:
        Shard names relative to the checkpoint, by tensor name.

    Raises:
        WeightsError: It is not an index, or names a shard outside its folder.
    """
    shards = read_json(path).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise WeightsError(
            f"Expected a weight_map of tensors and shards in {path}, but found none. Copy or "
            "download it again."
        )
    folder = posixpath.dirname(name)
    for shard in shards.values():
        # Names are joined to a folder below: one that leads out of it could read anything.
        if not isinstance(shard, str) or posixpath.basename(shard) != shard or shard in ("", ".."):
            raise WeightsError(
                f"Expected names of files beside it in {path}, but it names {shard!r} as a shard. "
                "Do not use this checkpoint."
            )
    return {tensor: posixpath.join(folder, shard) for tensor, shard in shards.items()}
