"""What an encoder is: the contract that every family keeps.

An encoder is frozen. It takes the pixels that both sides see, normalises them with its own mean
and standard deviation and returns, for each requested block, the patch tokens in raster order
with any prefix tokens (class, registers) apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

__all__ = ["BlockTokens", "Encoder", "EncoderInfo", "Origin"]


class BlockTokens(NamedTuple):
    """Output of one block.

    Attributes:
        patches: Patch tokens in raster order, shape (b, h*w, d).
        prefix: Class and register tokens, shape (b, n_prefix, d); n_prefix may be 0.
    """

    patches: Float[Tensor, "b t d"]
    prefix: Float[Tensor, "b prefix d"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where published weights were read from.

    Attributes:
        place: Repository as `ORG/NAME`, or the folder as it was typed.
        revision: Commit hash; None for a folder that does not tell.
        files: `sha256:...` or `etag:...` of every file that was opened, by its name.
    """

    place: str
    revision: str | None
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """Facts that identify an encoder and decide what its features mean.

    Attributes:
        name: As typed on the command line: `tiny:pre`, `hf:openai/clip-vit-base-patch32`.
        digest: SHA-256 over all weights, over the architecture where the weights do not decide it,
            and over the planted operation where there is one.
        n_blocks: Number of transformer blocks.
        width: Token width d.
        size: Native picture side in pixels.
        patch: Patch side in pixels; the grid at side s has s // patch rows and columns.
        n_prefix: Number of prefix tokens.
        mean: Channel means subtracted from pixels in [0, 1].
        std: Channel standard deviations.
        origin: Where published weights were read from, for the record; None for all others. It
            decides no number, so that equal weights from two places are the same encoder.
    """

    name: str
    digest: str
    n_blocks: int
    width: int
    size: int
    patch: int
    n_prefix: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    origin: Origin | None = field(default=None, compare=False)


@runtime_checkable
class Encoder(Protocol):
    """A frozen vision encoder."""

    info: EncoderInfo

    def __call__(
        self, pixels: UInt8[Tensor, "b 3 h w"], blocks: Sequence[int]
    ) -> dict[int, BlockTokens]:
        """Tokens after each requested block, float32, in the order of `blocks`."""
        ...
