"""From a checkpoint to a tower, strictly.

The configuration says which tensors there must be; the names and shapes that the files declare are
held against that before any tensor is read. What does not fit is refused as a whole: a tower that
is random in part loads without complaint elsewhere and gives features that look like features.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from degradation.encoders.architecture import VitConfig
from degradation.encoders.families.family import Stored, TensorSource
from degradation.encoders.families.known import named
from degradation.encoders.families.locate import locate
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.frozen_vit import frozen_vit
from degradation.encoders.positions import Interpolation
from degradation.encoders.statistics import Statistics
from degradation.encoders.vit import Vit, of_any_grid, resized
from degradation.encoders.weights import load_strict, refuse, widened
from degradation.errors import ConfigError

__all__ = ["architecture", "blocks_read", "load_family", "load_tower"]


def load_family(
    family: str,
    checkpoint: TensorSource,
    name: str,
    *,
    size: int | None = None,
    interpolation: Interpolation | None = None,
    any_grid: bool = False,
    final_norm: bool = False,
    statistics: Statistics | None = None,
    expected: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> FrozenEncoder:
    """The frozen encoder of a family that a checkpoint holds.

    Args:
        family: What the checkpoint is said to hold; a name of `FAMILIES`.
        checkpoint: Where its configuration and tensors are.
        name: Of the encoder, as typed on the command line.
        size: Picture side in pixels; the tower's own if None. Towers without a table of positions
            take any multiple of their patch side.
        interpolation: How a table of positions is brought to another side. None leaves it to the
            family's own architecture, and refuses where that has no way.
        any_grid: Whether it is to take pictures of any shape; without a size. A family whose own
            architecture interpolates then does so in its own way, whatever `interpolation` is.
        final_norm: Whether the last block's output goes through the norm that the rest of the
            model applies to it, if it reads that block and there is one.
        statistics: Channel means and deviations in place of the family's.
        expected: Fields of `VitConfig` and the values that they are registered with; a
            configuration that says otherwise is refused.
        seed: Of fresh weights, by `Vit.initialise`, in place of the stored ones, of which nothing
            is then read; None for the stored ones.

    Raises:
        ConfigError: The configuration describes no tower of this family, or not the expected one.
        WeightsError: The tensors are not those of the configuration.
    """
    tower = load_tower(
        family,
        checkpoint,
        final_norm=final_norm,
        statistics=statistics,
        expected=expected,
        seed=seed,
    )
    own = named(family).interpolation
    if any_grid:
        if size is not None:
            raise ConfigError(f"{name} is to take pictures of any shape, but also of side {size}.")
        return frozen_vit(of_any_grid(tower, own or interpolation), name, any_grid=True)
    size = tower.config.size if size is None else size
    return frozen_vit(resized(tower, size, interpolation or own), name)


def load_tower(
    family: str,
    checkpoint: TensorSource,
    *,
    final_norm: bool = False,
    statistics: Statistics | None = None,
    expected: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Vit:
    """The tower on its own grid, float32 in its canonical names. Arguments as for `load_family`."""
    config = architecture(family, checkpoint)
    check_registered(config, expected or {}, checkpoint.source)
    if final_norm and named(family).has_final_norm:
        last_is_read = blocks_read(family, checkpoint)[0] == config.depth - 1
        config = replace(config, final_norm=last_is_read)
    if statistics is not None:
        config = replace(config, mean=statistics[0], std=statistics[1])
    if seed is not None:
        return Vit(config).initialise(generator=torch.Generator().manual_seed(seed))
    # On the meta device nothing has a value, so that whatever is not read is known to be missing.
    with torch.device("meta"):
        tower = Vit(config)
    found = locate(named(family), tower, checkpoint)
    load_strict(tower, read(tower, found, checkpoint), checkpoint.source)
    return tower


def architecture(family: str, checkpoint: TensorSource) -> VitConfig:
    """The architecture that the checkpoint's configuration describes.

    Raises:
        ConfigError: The checkpoint is quantised, of another family, or leaves open something that
            decides the features.
    """
    known = named(family)
    if checkpoint.config.get("quantization_config"):
        raise ConfigError(
            f"Expected the weights as they were trained, but {checkpoint.source} is quantised "
            "(quantization_config). Use the original repository."
        )
    try:
        return known.describe(checkpoint.config)
    except ValidationError as error:
        raise ConfigError(
            f"Expected the configuration of a {family} tower in {checkpoint.source}, but "
            f"{account(error)}. Is this a repository of another family?"
        ) from error
    except ConfigError as error:
        raise ConfigError(f"{checkpoint.source} holds no {family} tower. {error}") from error


def account(error: ValidationError) -> str:
    """What is wrong with a configuration, field by field, in one line."""
    return "; ".join(
        f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
        + ("" if one["type"] == "missing" else f", found {one['input']!r}")
        for one in error.errors()
    )


def blocks_read(family: str, checkpoint: TensorSource) -> tuple[int, ...]:
    """Blocks whose output the rest of the model reads, the deepest first.

    Raises:
        ConfigError: As for `architecture`, or the configuration names blocks that do not exist.
    """
    depth = architecture(family, checkpoint).depth
    try:
        blocks = named(family).reads(checkpoint.config, depth)
    except ValidationError as error:
        raise ConfigError(
            f"Expected numbers of blocks in the configuration of {checkpoint.source}, but "
            f"{account(error)}."
        ) from error
    if not blocks or not all(0 <= block < depth for block in blocks):
        raise ConfigError(
            f"Expected some of the {depth} blocks to be read, but the configuration of "
            f"{checkpoint.source} names {list(blocks)}. Configuration and weights disagree."
        )
    return blocks


def check_registered(config: VitConfig, expected: Mapping[str, Any], source: str) -> None:
    """Refuse a configuration that differs from what the encoder is registered with.

    Raises:
        ConfigError: It does; all fields that differ are named.
    """
    wrong = [
        f"{field} {getattr(config, field)!r} instead of {value!r}"
        for field, value in expected.items()
        if getattr(config, field) != value
    ]
    if wrong:
        raise ConfigError(
            f"The configuration of {source} is not that of the encoder that was asked for: "
            f"{', '.join(wrong)}. Use the registered repository, or correct its configuration."
        )


def read(tower: Vit, found: Mapping[str, Stored], checkpoint: TensorSource) -> dict[str, Tensor]:
    """The tower's state. Each stored tensor is let go as soon as ours has been made of it."""
    raw = checkpoint.read([name for one in found.values() for name in one.names])
    refuse(checkpoint.source, without_values=[name for name, one in raw.items() if one.is_meta])
    shapes = {name: tuple(tensor.shape) for name, tensor in tower.state_dict().items()}
    state = {}
    for ours, one in found.items():
        parts = [widened(raw.pop(name)) for name in one.names]
        state[ours] = one.form.restored(parts, shapes[ours])
    return state
