"""What one extraction computes: the feature sets of a pass, with their keys and their sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from degradation.cache import Key, PixelProtocol, Storage
from degradation.encode import Launch, grid_of, launcher
from degradation.encoders.encoder import Encoder, EncoderInfo
from degradation.encoders.frozen import FrozenEncoder
from degradation.errors import ConfigError, PairingError
from degradation.pictures import PICTURES
from degradation.protocol import Protocol, pixel_record
from degradation.tasks.task import Rows, TaskSpec

__all__ = ["Side", "plan_sides", "settled"]


WHOLE = "image"
"""In place of a role to which pictures are cut: they are not."""


@dataclass(frozen=True, slots=True)
class Side:
    """One feature set of a pass.

    Attributes:
        key: What decides its content.
        info: Facts about the encoder.
        grid: Rows and columns of its patch grid; (0, 0) without an encoder. Where pictures differ
            in shape, those at its native side: gaze is read out on them if both sides have them.
        launch: Starts its computation on a batch; None where it is computed while reading.
    """

    key: Key
    info: EncoderInfo
    grid: tuple[int, int]
    launch: Launch | None = field(repr=False, default=None)


def settled(
    protocol: Protocol,
    spec: TaskSpec,
    infos: Sequence[EncoderInfo],
    *,
    size: int | None,
    blocks: Sequence[int] | None,
    token_blocks: Sequence[int],
    compute_dtype: torch.dtype | None,
) -> Protocol:
    """The protocol with nothing left open; what is not given is taken from it.

    Args:
        protocol: As asked for. Pictures are cut as the task says unless it names a cut itself;
            `image` stands for the whole picture.
        spec: The task.
        infos: Facts about the encoders before and after.
        size: Picture side in pixels; if the protocol has none either, the native one of the
            encoder before.
        blocks: Blocks to pool; if the protocol names none either, all that both sides have.
        token_blocks: Blocks whose token maps are stored.
        compute_dtype: Arithmetic of the forward pass.

    Raises:
        ConfigError: Two different sizes were given, or one for pictures of any shape, or a block
            that an encoder does not have.
    """
    geometry = protocol.geometry
    if size is not None and geometry.size not in (None, size):
        raise ConfigError(
            f"The protocol says size {geometry.size}, but size {size} was asked for. Give one."
        )
    if size is not None:
        geometry = replace(geometry, size=size)  # which native refuses
    crop = geometry.crop or spec.crop
    geometry = replace(geometry, crop="" if crop == WHOLE else crop)
    if blocks is None:
        common = range(min(info.n_blocks for info in infos))
        blocks = common if protocol.blocks is None else protocol.blocks
    dtype = protocol.dtype if compute_dtype is None else str(compute_dtype).removeprefix("torch.")
    result = replace(
        protocol,
        geometry=geometry.at(infos[0].size),
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
    random: Encoder | None = None,
) -> tuple[Side, ...]:
    """The sides `pre`, `post`, `pictures` and, if there is such a tower, `random`.

    Arguments as in `extract`, the protocol `settled`. Token maps are stored of the pair alone.
    Compiled code rounds otherwise than eager code, so features of one never share a cache with
    those of the other.

    Raises:
        ConfigError: The protocol does not fit the task or the encoders.
        PairingError: Token maps of encoders whose grids differ.
    """
    infos = (pre.info, post.info)
    references = () if random is None else (random,)
    _check_geometry(protocol, rows)
    _check_features(protocol, spec, infos)
    _check_stage(protocol, (pre, post))
    _check_blocks([one.info for one in references], protocol.blocks, ())
    if protocol.geometry.kind == "native":
        _check_any_shape((pre, post, *references), compiled=compile_for is not None)
    _check_token_maps(protocol, infos)
    key = partial(
        Key,
        task=spec,
        split=split,
        rows_digest=rows.digest(),
        protocol=PixelProtocol(**pixel_record(protocol)),
        storage=storage,
        shard_rows=shard_rows,
    )

    def planned(encoder: Encoder, token_blocks: tuple[int, ...]) -> Side:
        encoder_key = key(
            encoder=encoder.info.name,
            digest=encoder.info.digest,
            blocks=protocol.blocks,
            regions=("image",) if protocol.pool == "cls" else ("image", *rows.boxes),
            token_blocks=token_blocks,
            compute=protocol.dtype if compile_for is None else f"{protocol.dtype} compiled",
        )
        encoder = _normalising(encoder, protocol)
        if isinstance(encoder, torch.nn.Module):
            encoder.to(device)
        launch = launcher(
            encoder,
            blocks=protocol.blocks,
            token_blocks=token_blocks,
            device=device,
            compute_dtype=getattr(torch, protocol.dtype),
            pooling="mean" if protocol.pool_grid else protocol.pool,
            fields=protocol.pool_grid or 1,
            compile_for=compile_for,
        )
        side = protocol.geometry.size or encoder.info.size
        return Side(encoder_key, encoder.info, grid_of(encoder.info, (side, side)), launch)

    pictures_key = key(
        encoder=PICTURES.name,
        digest=PICTURES.digest,
        blocks=(0,),
        regions=("pixels", "histogram"),
        token_blocks=(),
        compute="float32",
    )
    return (
        *(planned(encoder, protocol.token_blocks) for encoder in (pre, post)),
        Side(pictures_key, PICTURES, (0, 0)),
        *(planned(encoder, ()) for encoder in references),
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
    return encoder.with_statistics(*statistics)


def _check_geometry(protocol: Protocol, rows: Rows) -> None:
    """Raise if the geometry is of no use for these rows."""
    geometry = protocol.geometry
    if geometry.crop and geometry.crop not in rows.boxes:
        raise ConfigError(
            f"Pictures cannot be cut to {geometry.crop!r}: the rows have boxes "
            f"{', '.join(rows.boxes) or 'of no role'}. Name one of them as crop."
        )
    if rows.points.shape[1] and rows.pictures.shape[1] > 1 and not geometry.still:
        raise ConfigError(
            "Points of samples of several pictures cannot be moved: nothing says of which picture "
            "they are. Choose squash without a cut, which leaves them where they are."
        )


def _check_features(protocol: Protocol, spec: TaskSpec, infos: Sequence[EncoderInfo]) -> None:
    """Raise if these encoders have no such features, or the probes of the task no use for them."""
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


def _check_stage(protocol: Protocol, encoders: Sequence[Encoder]) -> None:
    """Raise unless the encoders have the norms that the stage says, and these have an effect."""
    last = [
        encoder.info.n_blocks - 1
        for encoder in encoders
        if isinstance(encoder, FrozenEncoder) and encoder.final_norm
    ]
    if protocol.stage == "block":
        if last:
            raise ConfigError(
                "Stage block is the output of the blocks themselves, but an encoder was loaded "
                "with the norm after its last block. Choose stage native_norm, or load it without."
            )
    elif not last:
        raise ConfigError(
            f"Stage native_norm has no effect: of {' and '.join(e.info.name for e in encoders)} "
            "neither has a norm that the rest of its model applies to its last block. Choose "
            "stage block."
        )
    elif not {*last} & {*protocol.blocks, *protocol.token_blocks}:
        raise ConfigError(
            f"Stage native_norm has no effect: it changes block {' or '.join(map(str, last))} "
            f"only, which is not among the blocks {list(protocol.blocks)}. Choose stage block, or "
            "add that block."
        )


def _check_any_shape(encoders: Sequence[Encoder], *, compiled: bool) -> None:
    """Raise unless both sides take pictures that differ in shape."""
    for encoder in encoders:
        if not (isinstance(encoder, FrozenEncoder) and encoder.any_grid):
            raise ConfigError(
                f"{encoder.info.name} takes pictures of side {encoder.info.size} only, but under "
                "geometry native pictures differ in shape. Choose squash, pad or short-crop, or an "
                "encoder that `sdiag encoders` lists."
            )
    if compiled:
        raise ConfigError(
            "Under geometry native pictures differ in shape, and compiled code is for one shape. "
            "Leave --compile out, or choose another geometry."
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


def _check_token_maps(protocol: Protocol, infos: Sequence[EncoderInfo]) -> None:
    """Raise if the token maps asked for cannot be stored or compared."""
    if not protocol.token_blocks:
        return
    if not protocol.geometry.still:
        raise ConfigError(
            "Token maps are stored for geometry squash without a cut only, whose cells are those "
            f"of the picture; the geometry is {protocol.geometry.kind}"
            + (f", cut to {protocol.geometry.crop!r}" if protocol.geometry.crop else "")
            + ". Leave --token-block out: pooled features are always stored."
        )
    pre, post = infos
    size = protocol.geometry.size
    if (one := grid_of(pre, (size, size))) != (two := grid_of(post, (size, size))):
        raise PairingError(
            f"Token maps need the same grid on both sides, but at {size} px {pre.name} has "
            f"{one[0]} x {one[1]} tokens and {post.name} {two[0]} x {two[1]}. Choose another "
            "--size, or store no token maps: pooled regions can still be compared."
        )
