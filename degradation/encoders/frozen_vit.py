"""Our own tower behind the encoder contract."""

from degradation.encoders.architecture import facts
from degradation.encoders.encoder import EncoderInfo
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.vit import Vit
from degradation.encoders.weights import digest

__all__ = ["frozen_vit"]


def frozen_vit(vit: Vit, name: str, *, any_grid: bool = False) -> FrozenEncoder:
    """The tower as a frozen encoder; its parameters are frozen in place.

    Args:
        vit: The tower.
        name: As typed on the command line.
        any_grid: Whether pictures of any shape are let through to it.
    """
    config = vit.config
    info = EncoderInfo(
        name=name,
        digest=digest(vit.state_dict(), config=facts(config)),
        n_blocks=config.depth,
        width=config.width,
        size=config.size,
        patch=config.patch,
        n_prefix=config.n_prefix,
        mean=config.mean,
        std=config.std,
    )
    return FrozenEncoder(vit, info, any_grid=any_grid, final_norm=config.final_norm)
