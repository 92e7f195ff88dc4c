"""What a family is: how its configuration describes a tower, and how its tensors lie on disk.

A family maps names ON DISK, as published on the hub, to the names of our own `Vit`. Names on disk
have been stable; the names that libraries give to the same tensors in memory have not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from pydantic import TypeAdapter
from torch import Tensor

from degradation.encoders.architecture import VitConfig
from degradation.encoders.positions import Interpolation
from degradation.errors import ConfigError

__all__ = [
    "ACTIVATIONS",
    "FOLDED_FRAMES",
    "LINEAR_PATCHES",
    "Config",
    "Facts",
    "Family",
    "Form",
    "HiddenAct",
    "Keys",
    "Layout",
    "Stored",
    "TensorSource",
    "hidden_state_blocks",
    "last_block",
    "leading",
    "listed_blocks",
    "tower_settings",
]

Config = Mapping[str, Any]
Shape = tuple[int, ...]

HiddenAct = Literal["gelu", "quick_gelu", "gelu_pytorch_tanh"]
"""Names of activations in config.json that can be told apart with certainty."""

ACTIVATIONS: dict[str, Any] = {
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
}


@runtime_checkable
class Facts(Protocol):
    """What is known of a stored tensor before it is read."""

    @property
    def shape(self) -> Shape:
        """Its sides."""
        ...

    @property
    def dtype(self) -> str:
        """Its type as safetensors writes it: `F32`, `BF16`, ..."""
        ...


@runtime_checkable
class TensorSource(Protocol):
    """What loading needs of a checkpoint (see `degradation.encoders.checkpoint`)."""

    @property
    def source(self) -> str:
        """Where it is from, for messages."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """Its config.json or open_clip_config.json."""
        ...

    @property
    def tensors(self) -> Mapping[str, Facts]:
        """Facts by name on disk."""
        ...

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """These tensors, in their stored type."""
        ...


class Form(NamedTuple):
    """How one of our tensors is laid out on disk.

    Attributes:
        stored: Shape of each of n stored tensors, from the shape of ours and n.
        restored: Our tensor, from the stored ones in float32 and the shape of ours.
    """

    stored: Callable[[Shape, int], Shape]
    restored: Callable[[list[Tensor], Shape], Tensor]


STACKED = Form(
    stored=lambda shape, n: (shape[0] // n, *shape[1:]),
    restored=lambda parts, _: parts[0] if len(parts) == 1 else torch.cat(parts),
)
"""As ours; or in n parts of equal height, one below the other."""


def leading(n_axes: int) -> Form:
    """With axes of length 1 before ours, as for a table that is added to a batch."""
    return Form(
        stored=lambda shape, _: (1,) * n_axes + shape,
        restored=lambda parts, shape: parts[0].reshape(shape),
    )


def unflattened(kernel: Float[Tensor, "d pixels"], shape: Shape) -> Float[Tensor, "d 3 p p"]:
    """The convolution that equals a linear map of patches flattened as (row, column, channel)."""
    width, channels, rows, columns = shape
    return kernel.view(width, rows, columns, channels).permute(0, 3, 1, 2).contiguous()


LINEAR_PATCHES = Form(
    stored=lambda shape, _: (shape[0], shape[1] * shape[2] * shape[3]),
    restored=lambda parts, shape: unflattened(parts[0], shape),
)
"""A linear map of patches flattened as (row, column, channel), as in Molmo."""

FRAMES = 2
FOLDED_FRAMES = Form(
    stored=lambda shape, _: (*shape[:2], FRAMES, *shape[2:]),
    restored=lambda parts, _: parts[0].sum(dim=2),
)
"""A convolution over two frames, as in Qwen2-VL; a still picture is shown twice, so that the sum
of its two kernels does the same."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where one of our tensors lies on disk.

    Attributes:
        names: One name, or those of its parts in order.
        form: How it is laid out there.
    """

    names: tuple[str, ...]
    form: Form = STACKED


Keys = Mapping[str, str | tuple[str, ...] | Stored]
"""Names on disk by our names. `*` is the number of a block. A name of ours without `.weight` or
`.bias` stands for both, of which a tower has those that its configuration says."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which a family's tensors are named on disk.

    Attributes:
        keys: Where our tensors lie, without prefix. `norm_post` is the norm that the rest of the
            model applies to what the last block returns; without it, it applies none.
        prefixes: What may stand before these names. Exactly one of them does.
        aside: What may lie under the prefix beside the tower, as patterns for `fnmatch`, and why
            it is not taken. Anything else there is refused.
    """

    keys: Keys
    prefixes: tuple[str, ...]
    aside: Mapping[str, str] = field(default_factory=dict)


def last_block(_config: Config, depth: int) -> tuple[int, ...]:
    """The last block: what reads a tower unless its configuration says otherwise."""
    return (depth - 1,)


@dataclass(frozen=True, slots=True)
class Family:
    """A family of towers.

    Attributes:
        name: As rows of the catalogue name it.
        describe: The architecture that a config.json describes. Raises `ConfigError` or pydantic's
            `ValidationError` if it describes none of this family.
        layouts: How the tensors may be named on disk.
        reads: Blocks whose output the rest of the model reads, the deepest first, from the
            configuration and the number of blocks.
        interpolation: How the family itself brings its positions to other grids, where that is
            part of its architecture; None where it is not.
    """

    name: str
    describe: Callable[[Config], VitConfig]
    layouts: tuple[Layout, ...]
    reads: Callable[[Config, int], tuple[int, ...]] = last_block
    interpolation: Interpolation | None = None

    @property
    def has_final_norm(self) -> bool:
        """Whether its models apply a norm to what the last block returns, where they read it."""
        return any("norm_post" in layout.keys for layout in self.layouts)

    @property
    def prefixes(self) -> tuple[str, ...]:
        """All that may stand before the names of the tower's tensors."""
        return tuple(dict.fromkeys(p for layout in self.layouts for p in layout.prefixes))


def tower_settings(config: Config, towers: set[str], containers: set[str]) -> Config:
    """The part of a config.json that describes the tower.

    Args:
        config: The whole file.
        towers: Model types of the tower itself.
        containers: Model types of models that are known to hold such a tower, which
            `vision_config` may then leave unnamed and describe only in part.

    Raises:
        ConfigError: It describes another kind of tower, or none.
    """
    kind, nested = config.get("model_type"), config.get("vision_config")
    if nested is None and kind in containers:
        return {}
    if nested is None and kind in towers:
        return config
    inner = nested.get("model_type") if isinstance(nested, Mapping) else None
    if isinstance(nested, Mapping) and (inner in towers or (inner is None and kind in containers)):
        return nested
    found = f"model type {kind!r}"
    found += " without a vision_config" if nested is None else f" with a tower of type {inner!r}"
    raise ConfigError(
        f"Expected a tower of model type {' or '.join(sorted(towers))}, alone or inside a larger "
        f"model, but config.json says {found}. Is this a text-only model, or one of another family?"
    )


def listed_blocks(layers: Any, length: int, first: int) -> tuple[int, ...]:
    """Blocks that indices into a list of a tower's outputs mean, the deepest first.

    Args:
        layers: One index or several, as config.json has them; negative ones count from the end.
        length: Entries of the list.
        first: Entry that is the output of block 0: 1 in transformers, whose lists start with the
            embeddings.
    """
    entries = TypeAdapter(tuple[int, ...]).validate_python(
        (layers,) if isinstance(layers, int) else layers
    )
    return tuple(sorted(((i + length if i < 0 else i) - first for i in entries), reverse=True))


def hidden_state_blocks(layers: Any, depth: int) -> tuple[int, ...]:
    """Blocks that indices into transformers' list of hidden states mean, the deepest first."""
    return listed_blocks(layers, depth + 1, first=1)
