"""What one extraction computes: the feature sets of a pass, with their keys and their sizes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch

from degradation.cache import Key, PixelProtocol, Storage
from degradation.encode import PICTURES, encode, grid_of, picture_features
from degradation.encoders.encoder import Encoder, EncoderInfo
from degradation.encoders.pair import Pair
from degradation.errors import ConfigError, PairingError
from degradation.tasks.task import Rows, TaskSpec

__all__ = ["Side", "plan_sides"]


@dataclass(frozen=True, slots=True)
class Side:
    """One feature set of a pass.

    Attributes:
        key: What decides its content.
        info: Facts about the encoder.
        grid: Rows and columns of its patch grid; (0, 0) without an encoder.
        compute: Pixels (b, f, s, s, 3) and their rows to features by dataset name.
    """

    key: Key
    info: EncoderInfo
    grid: tuple[int, int]
    compute: Callable[[np.ndarray, Rows], dict[str, np.ndarray]] = field(repr=False)


def plan_sides(
    spec: TaskSpec,
    split: str,
    rows: Rows,
    pair: Pair,
    pre: Encoder,
    post: Encoder,
    *,
    size: int | None,
    blocks: Sequence[int] | None,
    token_blocks: Sequence[int],
    shard_rows: int,
    device: str,
    compute_dtype: torch.dtype,
    storage: Storage,
) -> tuple[Side, Side, Side]:
    """The sides `pre`, `post` and `pictures`; arguments as in `extract`.

    Raises:
        ConfigError: A block that an encoder does not have, or token maps of a track.
        PairingError: Token maps of encoders whose grids differ.
    """
    infos = (pre.info, post.info)
    size = pre.info.size if size is None else size
    common = min(info.n_blocks for info in infos)
    blocks = tuple(range(common)) if blocks is None else tuple(blocks)
    token_blocks = tuple(token_blocks)
    _check_blocks(infos, blocks, token_blocks)
    _check_token_maps(infos, rows, size, token_blocks)
    key = partial(
        Key,
        task=spec,
        split=split,
        rows_digest=rows.digest(),
        protocol=PixelProtocol(size=size),
        storage=storage,
        shard_rows=shard_rows,
    )

    def side(encoder: Encoder) -> Side:
        if isinstance(encoder, torch.nn.Module):
            encoder.to(device)
        encoder_key = key(
            encoder=encoder.info.name,
            digest=encoder.info.digest,
            blocks=blocks,
            regions=("image", *rows.boxes),
            token_blocks=token_blocks,
            compute=str(compute_dtype).removeprefix("torch."),
        )
        compute = partial(
            encode,
            encoder,
            blocks=blocks,
            token_blocks=token_blocks,
            device=device,
            compute_dtype=compute_dtype,
        )
        return Side(encoder_key, encoder.info, grid_of(encoder.info, size), compute)

    pictures_key = key(
        encoder=PICTURES.name,
        digest=PICTURES.digest,
        blocks=(0,),
        regions=("pixels", "histogram"),
        token_blocks=(),
        compute="float32",
    )
    return side(pre), side(post), Side(pictures_key, PICTURES, (0, 0), picture_features)


def _check_blocks(
    infos: Sequence[EncoderInfo], blocks: Sequence[int], token_blocks: Sequence[int]
) -> None:
    """Raise if no block is asked for, one twice, or one that an encoder does not have."""
    if not blocks or any(len(set(some)) != len(some) for some in (blocks, token_blocks)):
        raise ConfigError(f"Expected one or more different blocks, found {list(blocks)}.")
    for info in infos:
        for block in (*blocks, *token_blocks):
            if not 0 <= block < info.n_blocks:
                raise ConfigError(
                    f"{info.name} has blocks 0 to {info.n_blocks - 1}, but block {block} was asked "
                    "for. Name blocks that both encoders have."
                )


def _check_token_maps(
    infos: Sequence[EncoderInfo], rows: Rows, size: int, token_blocks: Sequence[int]
) -> None:
    """Raise if the token maps asked for cannot be stored or compared."""
    if not token_blocks:
        return
    if (frames := rows.pictures.shape[1]) > 1:
        raise ConfigError(
            f"Token maps are stored for single pictures only, but each sample has {frames} frames. "
            "Leave --token-blocks out: pooled features of tracks are always stored."
        )
    pre, post = infos
    if (one := grid_of(pre, size)) != (two := grid_of(post, size)):
        raise PairingError(
            f"Token maps need the same grid on both sides, but at {size} px {pre.name} has "
            f"{one[0]} x {one[1]} tokens and {post.name} {two[0]} x {two[1]}. Choose another "
            "--size, or store no token maps: pooled regions can still be compared."
        )
