"""What one extraction computes: the feature sets of a pass, with their keys and their sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from degradation.cache import Key, PixelProtocol, Storage
from degradation.encode import PICTURES, Launch, grid_of, launcher
from degradation.encoders.encoder import Encoder, EncoderInfo
from degradation.encoders.frozen import FrozenEncoder
from degradation.errors import ConfigError, PairingError
from degradation.geometry import Geometry
from degradation.protocol import Protocol, pixel_record
from degradation.tasks.task import Rows, TaskSpec

__all__ = ["Side", "check_square", "plan_sides", "settled"]


@dataclass(frozen=True, slots=True)
class Side:
    """One feature set of a pass.

    Attributes:
        key: What decides its content.
        info: Facts about the encoder.
        grid: Rows and columns of its patch grid; (0, 0) without an encoder.
        launch: Starts its computation on a batch; None where it is computed while reading.
    """

    key: Key
    info: EncoderInfo
    grid: tuple[int, int]
    launch: Launch | None = field(repr=False, default=None)


def settled(
    protocol: Protocol,
    infos: Sequence[EncoderInfo],
    *,
    size: int | None,
    blocks: Sequence[int] | None,
    token_blocks: Sequence[int],
    compute_dtype: torch.dtype | None,
) -> Protocol:
    """The protocol with nothing left open; what is not given is taken from it.

    Args:
        protocol: As asked for.
        infos: Facts about the encoders before and after.
        size: Picture side in pixels; if the protocol has none either, the native one of the
            encoder before.
        blocks: Blocks to pool; if the protocol names none either, all that both sides have.
        token_blocks: Blocks whose token maps are stored.
        compute_dtype: Arithmetic of the forward pass.

    Raises:
        ConfigError: Two different sizes were given, or a block that an encoder does not have.
    """
    geometry = protocol.geometry
    if size is not None and geometry.size not in (None, size):
        raise ConfigError(
            f"The protocol says size {geometry.size}, but size {size} was asked for. Give one."
        )
    if blocks is None:
        common = range(min(info.n_blocks for info in infos))
        blocks = common if protocol.blocks is None else protocol.blocks
    dtype = protocol.dtype if compute_dtype is None else str(compute_dtype).removeprefix("torch.")
    result = replace(
        protocol,
        geometry=geometry.at(infos[0].size if size is None else size),
        blocks=tuple(blocks),
        token_blocks=tuple(token_blocks) or protocol.token_blocks,
        dtype=dtype,
    )
    _check_blocks(infos, result.blocks, result.token_blocks)
    return result


def plan_sides(
    spec: TaskSpec,
    split: str,
    rows: Rows,
    pre: Encoder,
    post: Encoder,
    protocol: Protocol,
    *,
    shard_rows: int,
    device: str,
    storage: Storage,
    compile_for: int | None,
) -> tuple[Side, Side, Side]:
    """The sides `pre`, `post` and `pictures`; arguments as in `extract`, the protocol `settled`.

    Compiled code rounds otherwise than eager code, so features of one never share a cache with
    those of the other.

    Raises:
        ConfigError: The protocol does not fit the task or the encoders.
        PairingError: Token maps of encoders whose grids differ.
    """
    infos = (pre.info, post.info)
    _check_geometry(protocol, rows)
    _check_features(protocol, spec, infos)
    size = protocol.geometry.size
    _check_token_maps(infos, rows, size, protocol.token_blocks)
    key = partial(
        Key,
        task=spec,
        split=split,
        rows_digest=rows.digest(),
        protocol=PixelProtocol(**pixel_record(protocol)),
        storage=storage,
        shard_rows=shard_rows,
    )

    def side(encoder: Encoder) -> Side:
        if isinstance(encoder, torch.nn.Module):
            encoder.to(device)
        encoder_key = key(
            encoder=encoder.info.name,
            digest=encoder.info.digest,
            blocks=protocol.blocks,
            regions=("image",) if protocol.pool == "cls" else ("image", *rows.boxes),
            token_blocks=protocol.token_blocks,
            compute=protocol.dtype if compile_for is None else f"{protocol.dtype} compiled",
        )
        encoder = _normalising(encoder, protocol)
        launch = launcher(
            encoder,
            blocks=protocol.blocks,
            token_blocks=protocol.token_blocks,
            device=device,
            compute_dtype=getattr(torch, protocol.dtype),
            pooling=protocol.pool,
            compile_for=compile_for,
        )
        return Side(encoder_key, encoder.info, grid_of(encoder.info, size), launch)

    pictures_key = key(
        encoder=PICTURES.name,
        digest=PICTURES.digest,
        blocks=(0,),
        regions=("pixels", "histogram"),
        token_blocks=(),
        compute="float32",
    )
    return side(pre), side(post), Side(pictures_key, PICTURES, (0, 0))


def check_square(geometry: Geometry) -> None:
    """Raise `ConfigError` unless the geometry makes squares, the only arrays encoded here."""
    if geometry.kind == "native":
        raise ConfigError(
            "native needs square pictures here: arrays that follow the shape of each picture are "
            "not encoded, since most towers have positions for one square grid only. Choose "
            "squash, pad or short-crop."
        )


def _normalising(encoder: Encoder, protocol: Protocol) -> Encoder:
    """The encoder with the channel statistics of the protocol; it shares the tower."""
    if (statistics := protocol.statistics) is None:
        return encoder
    if not isinstance(encoder, FrozenEncoder):
        raise ConfigError(
            f"{encoder.info.name} normalises pictures in a way of its own, so that normalisation "
            f"{protocol.normalisation} cannot be given to it. Leave it native."
        )
    mean, std = statistics
    return FrozenEncoder(encoder.tower, replace(encoder.info, mean=mean, std=std))


def _check_geometry(protocol: Protocol, rows: Rows) -> None:
    """Raise if the geometry is of no use for these rows."""
    geometry = protocol.geometry
    check_square(geometry)
    if geometry.crop and geometry.crop not in rows.boxes:
        raise ConfigError(
            f"Pictures cannot be cut to {geometry.crop!r}: the rows have boxes "
            f"{', '.join(rows.boxes) or 'of no role'}. Name one of them as crop."
        )
    still = geometry.kind == "squash" and not geometry.crop
    if rows.points.shape[1] and rows.pictures.shape[1] > 1 and not still:
        raise ConfigError(
            "Points of samples of several pictures cannot be moved: nothing says of which picture "
            "they are. Choose squash without a cut, which leaves them where they are."
        )


def _check_features(protocol: Protocol, spec: TaskSpec, infos: Sequence[EncoderInfo]) -> None:
    """Raise if these encoders have no such features, or the probes of the task no use for them."""
    if protocol.stage == "native_norm":
        raise ConfigError(
            "Stage native_norm is not computed: the norm that the rest of a model applies is not "
            "read from its checkpoint. Choose stage block."
        )
    if protocol.pool != "cls":
        return
    for info in infos:
        if info.n_prefix == 0:
            raise ConfigError(
                f"{info.name} has no class token to take for pool cls. Choose mean, max, gem or "
                "grid:KxK."
            )
    if tuple(spec.regions) != ("image",):
        raise ConfigError(
            f"A class token is one for the whole image, but the probes of {spec.name} read "
            f"{', '.join(spec.regions)}. Choose mean, max, gem or grid:KxK."
        )


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
