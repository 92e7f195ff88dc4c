"""From what a user names to a checkpoint of which headers are read, but no tensors."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from degradation.encoders.checkpoint.checkpoint import Checkpoint
from degradation.encoders.checkpoint.files import WeightFile
from degradation.encoders.checkpoint.layout import (
    INDEX,
    WEIGHTS,
    config_names,
    read_index,
    read_json,
)
from degradation.encoders.checkpoint.place import Place, locate
from degradation.errors import WeightsError

__all__ = ["open_checkpoint", "open_configuration"]

SHOWN = 4
Homes = dict[str, tuple[str, WeightFile]]
"""Name and file of weights by tensor name."""


def open_checkpoint(
    reference: str,
    *,
    files: Sequence[str] | None = None,
    revision: str | None = None,
    offline: bool | None = None,
    root: Path | None = None,
    prefixes: Sequence[str] = (),
) -> Checkpoint:
    """Find a checkpoint and read its configuration, index and headers, but no tensors.

    Looked for in this order: `reference` as a folder; `root/ORG/NAME` and `root/NAME`; the hub's
    cache; the hub.

    Args:
        reference: A folder, or a repository of the hub as `ORG/NAME`.
        files: Weight files or one index, relative to the checkpoint; None for the usual names,
            safetensors before PyTorch's.
        revision: Commit hash, tag or branch of the hub. None is what the hub's cache holds of
            `main`, else the newest. A folder cannot show that it is the revision asked for.
        offline: Whether to make no request; also so if HF_HUB_OFFLINE is set.
        root: Folder of checkpoints; None for $SDIAG_WEIGHTS, if it is set.
        prefixes: Begin the names of the tensors that are of interest. Of a sharded checkpoint only
            the shards with such names are opened. Empty for all.

    Raises:
        ConfigError: `reference` or `root` is not what it should be.
        WeightsError: Files are missing, damaged, gated or out of reach; the message says which.
    """
    place = locate(
        reference,
        configs=config_names(files[0] if files else WEIGHTS[0]),
        revision=revision,
        offline=bool(offline) or constants.HF_HUB_OFFLINE,
        root=root,
    )
    chosen = list(files) if files else [usual_weights(place)]
    config, documents = read_config(place, config_names(chosen[0]))
    homes: Homes = {}
    for name in chosen:
        if name.endswith(INDEX):
            documents[name] = required(place, name)
            found = open_shards(place, name, documents[name], prefixes)
        else:
            found = open_single(place, name, prefixes)
        twice = sorted(homes.keys() & found.keys())
        if twice:
            raise WeightsError(
                f"Expected every tensor in one file of {place.source}, but {name} holds {twice[0]} "
                f"again, which is in {homes[twice[0]][0]}. Name the files that belong together."
            )
        homes |= found
    return Checkpoint(
        source=place.source,
        revision=place.revision,
        config=config,
        tensors={name: file.tensors[name] for name, (_, file) in homes.items()},
        homes=homes,
        documents=documents,
    )


def open_configuration(
    reference: str,
    *,
    files: Sequence[str] | None = None,
    revision: str | None = None,
    offline: bool | None = None,
    root: Path | None = None,
) -> Checkpoint:
    """A checkpoint of which only the configuration is read, and which holds no tensors then.

    Its weights need not even be there. Arguments and errors as for `open_checkpoint`.
    """
    names = config_names(files[0] if files else WEIGHTS[0])
    place = locate(
        reference,
        configs=names,
        revision=revision,
        offline=bool(offline) or constants.HF_HUB_OFFLINE,
        root=root,
    )
    config, documents = read_config(place, names)
    return Checkpoint(place.source, place.revision, config, {}, {}, documents)


def usual_weights(place: Place) -> str:
    """The first of the usual names that the place has.

    Raises:
        WeightsError: It has none.
    """
    for name in WEIGHTS:
        if place.find(name) if name.endswith(INDEX) else place.has(name):
            return name
    raise place.absent(WEIGHTS)


def read_config(place: Place, names: Sequence[str]) -> tuple[dict[str, Any], dict[str, Path]]:
    """The configuration, and its file by its name.

    Raises:
        WeightsError: The place has none of these names, or it cannot be read.
    """
    for name in names:
        path = place.find(name)
        if path:
            return read_json(path), {name: path}
    raise place.absent(names)


def required(place: Place, name: str) -> Path:
    """A small file that has to be there.

    Raises:
        WeightsError: It is not there.
    """
    path = place.find(name)
    if path is None:
        raise place.absent([name])
    return path


def open_single(place: Place, name: str, prefixes: Sequence[str]) -> Homes:
    """The tensors under the prefixes in one weight file.

    Raises:
        WeightsError: The file is not there or cannot be read.
    """
    file = place.weights(name)
    if file is None:
        raise place.absent([name])
    wanted = under(prefixes, file.tensors, f"{name} of {place.source}")
    return dict.fromkeys(wanted, (name, file))


def open_shards(place: Place, index: str, path: Path, prefixes: Sequence[str]) -> Homes:
    """The tensors under the prefixes in the shards that hold any; other shards are not touched.

    Raises:
        WeightsError: A shard is not there or cannot be read, or index and shards disagree.
    """
    shards = read_index(path, index)
    wanted = under(prefixes, shards, f"{index} of {place.source}")
    files: dict[str, WeightFile] = {}
    missing = []
    for shard in sorted({shards[name] for name in wanted}):
        file = place.weights(shard)
        if file is None:
            missing.append(shard)
        else:
            files[shard] = file
    if missing:
        raise WeightsError(f"{index} names a shard that is not there. {place.absent(missing)}")
    held = {
        (name, shard)
        for shard, file in files.items()
        for name in file.tensors
        if name.startswith(tuple(prefixes or [""]))
    }
    astray = sorted(held ^ {(name, shards[name]) for name in wanted})
    if astray:
        name, shard = astray[0]
        raise WeightsError(
            f"Expected index and shards of {place.source} to agree, but they do not about "
            f"{len(astray)} tensors, {name} in {shard} first. They are of different versions: "
            "download all again."
        )
    return {name: (shards[name], files[shards[name]]) for name in wanted}


def under(prefixes: Sequence[str], names: Iterable[str], source: str) -> list[str]:
    """The names that begin with one of the prefixes.

    Raises:
        WeightsError: None does.
    """
    names = list(names)
    wanted = [name for name in names if name.startswith(tuple(prefixes or [""]))]
    if not wanted:
        raise WeightsError(
            f"Expected tensors under {' or '.join(prefixes) or 'any name'} in {source}, but none "
            f"of its {len(names)} is: {', '.join(sorted(names)[:SHOWN])}, ... It is another model "
            "or has no vision tower; use the checkpoint of the vision-language model."
        )
    return wanted
