"""Features of one batch of pictures.

On a GPU nothing here waits: pixels are sent from pinned memory, and features are on their way back
while the next batch is launched. `Pending.collect` is where somebody waits.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped, UInt8
from torch import Tensor

from degradation.cache import pooled_name, tokens_name
from degradation.encoders.encoder import BlockTokens, Encoder, EncoderInfo
from degradation.errors import DataError, PairingError
from degradation.pooling import box_weights, pool_frames, split_boxes
from degradation.tasks.task import Rows

__all__ = [
    "Gathered",
    "Launch",
    "Pending",
    "by_shape",
    "encode",
    "grid_of",
    "launcher",
    "region_weights",
    "upload",
]

_WHOLE = np.array([0, 0, 1, 1], dtype=np.float32)  # a box


def grid_of(info: EncoderInfo, shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of the patch grid of an array of height and width `shape`."""
    return shape[0] // info.patch, shape[1] // info.patch


def region_weights(
    rows: Rows, info: EncoderInfo, shape: tuple[int, int], *, fields: int = 1
) -> dict[str, Float32[np.ndarray, "b f k t"]]:
    """Pooling weights by region: the whole `image`, and each role of boxes.

    Each frame is pooled inside its own box, and the frames that have one are averaged: the
    weights of a field sum to 1 over frames and tokens, or are NaN if no frame has the box.

    Args:
        rows: The b samples of the batch, with boxes of the arrays. A role `image` bounds what the
            arrays show of the picture, and takes the place of the whole array.
        info: The encoder, for its patch side.
        shape: Height and width of the arrays in pixels.
        fields: Parts along each side of a region that are pooled apart; k = fields * fields.
    """
    height, width = grid_of(info, shape)
    batch, frames = rows.pictures.shape
    tokens = height * width
    boxes_by_region = dict(rows.boxes)
    result = {"image": np.full((batch, frames, 1, tokens), 1 / (frames * tokens), dtype=np.float32)}
    if fields > 1 and "image" not in boxes_by_region:
        boxes_by_region["image"] = np.tile(_WHOLE, (batch, frames, 1))
    # Where patches do not divide a side, the grid ends before the array does.
    reach = np.float32([shape[1] / (width * info.patch), shape[0] / (height * info.patch)] * 2)
    for role, boxes in boxes_by_region.items():
        inside = (boxes * reach).reshape(-1, 4)
        parts = inside if fields == 1 else split_boxes(inside, fields).reshape(-1, 4)
        weights = box_weights(parts, (height, width))
        weights = weights.reshape(batch, frames, fields**2, tokens)
        present = ~np.isnan(weights).any(axis=3, keepdims=True)
        count = present.sum(axis=1, keepdims=True).astype(np.float32)
        count[count == 0] = np.nan
        result[role] = np.where(present, weights, np.float32(0)) / count
    return result


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """Features of one batch on their way to the host.

    Attributes:
        name: The encoder, for messages.
        rows: The b samples of the batch.
        arrays: By dataset name, pooled (b, l, d) and token maps (b, f*t, d), float32; on the host,
            but not yet there.
        absent: By dataset name, which samples do not have the region.
        arrived: When they are there; None if they are.
    """

    name: str
    rows: Rows
    arrays: Mapping[str, Float32[Tensor, "b _ d"]]
    absent: Mapping[str, Bool[np.ndarray, " b"]]
    arrived: torch.cuda.Event | None

    def collect(self) -> dict[str, Float32[np.ndarray, "b _ d"]]:
        """The features, once they have arrived.

        Raises:
            DataError: A feature is not finite although the sample has the region.
        """
        if self.arrived is not None:
            self.arrived.synchronize()
        result = {name: values.numpy() for name, values in self.arrays.items()}
        for name, values in result.items():
            bad = ~np.isfinite(values).all(axis=(1, 2))
            if name in self.absent:
                bad &= ~self.absent[name]
            if bad.any():
                raise DataError(
                    f"{self.name} gives features that are not finite ({name}, row "
                    f"{self.rows.ids[bad.argmax()]!r}). Check its weights, or compute in float32."
                )
        return result


Launch = Callable[[UInt8[Tensor, "b f h w 3"], Rows], Pending]
"""Starts the computation of one batch, given its pixels on the device and its samples."""


def by_shape(pictures: Sequence[UInt8[np.ndarray, "f _ _ 3"]]) -> list[Int64[np.ndarray, " _"]]:
    """Which samples of a batch have arrays of one shape and can be computed together.

    Args:
        pictures: Pixels of each sample; height and width may differ between samples.

    Returns:
        Positions in the batch, ascending, for each shape in the order of first appearance.
    """
    groups = defaultdict(list)
    for position, one in enumerate(pictures):
        groups[one.shape].append(position)
    return [np.array(positions) for positions in groups.values()]


@dataclass(frozen=True, slots=True, eq=False)
class Gathered:
    """Features of a batch that was launched in parts.

    Attributes:
        parts: Features under way.
        positions: Of the samples of each part in the batch.
    """

    parts: Sequence[Pending]
    positions: Sequence[Int64[np.ndarray, " _"]]

    def collect(self) -> dict[str, Float32[np.ndarray, "b _ d"]]:
        """The features in the order of the batch; errors as of `Pending.collect`."""
        parts = [part.collect() for part in self.parts]
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate(self.positions))
        return {name: np.concatenate([part[name] for part in parts])[order] for name in parts[0]}


def upload(
    pictures: Sequence[UInt8[np.ndarray, "f h w 3"]], device: str
) -> UInt8[Tensor, "b f h w 3"]:
    """The pixels of b samples on a device; sent from pinned memory if it is a GPU.

    Args:
        pictures: Pixels of each sample, all of one shape.
        device: Torch device.
    """
    return _sent(pictures, device, axis=0)


def launcher(
    encoder: Encoder,
    *,
    blocks: Sequence[int],
    token_blocks: Sequence[int],
    device: str,
    compute_dtype: torch.dtype,
    pooling: str = "mean",
    fields: int = 1,
    compile_for: int | None = None,
) -> Launch:
    """The function that starts an encoder on a batch.

    Args:
        encoder: The encoder, on `device`.
        blocks: Blocks to pool.
        token_blocks: Blocks whose token maps are kept, of a track frame after frame.
        device: Where the encoder is.
        compute_dtype: float32, or a narrower type for `torch.autocast`.
        pooling: `mean`, `max`, `gem`, or `cls`, which gives the region `image` only.
        fields: Parts along each side of a region that are pooled apart.
        compile_for: Compile the forward pass for this number of samples, to which every batch is
            padded; None for eager mode.

    Returns:
        A function that raises `PairingError` if the encoder returns another grid than its facts
        say.
    """
    forward = _forward
    if compile_for is not None:
        mode = "max-autotune-no-cudagraphs" if _is_cuda(device) else None
        forward = torch.compile(_forward, mode=mode, dynamic=False)
    info = encoder.info

    @torch.inference_mode()
    def launch(pixels: UInt8[Tensor, "b f h w 3"], rows: Rows) -> Pending:
        batch, _, height, width = pixels.shape[:4]
        regions = replace(rows, boxes={}) if pooling == "cls" else rows
        by_region = region_weights(regions, info, (height, width), fields=fields)
        weights = _sent(list(by_region.values()), device, axis=2)
        if compile_for is not None:
            pixels, weights = _padded(pixels, compile_for), _padded(weights, compile_for)
        vectors, maps = forward(
            encoder, pixels, weights, blocks, token_blocks, compute_dtype, pooling
        )
        pooled = _on_host(vectors[:batch])
        arrays = {pooled_name(region): pooled[:, r] for r, region in enumerate(by_region)}
        arrays |= {tokens_name(block): _on_host(values[:batch]) for block, values in maps.items()}
        absent = {
            pooled_name(region): np.isnan(one).any(axis=(1, 2, 3))
            for region, one in by_region.items()
        }
        arrived = torch.cuda.current_stream(device).record_event() if _is_cuda(device) else None
        return Pending(info.name, rows, arrays, absent, arrived)

    return launch


def encode(
    encoder: Encoder,
    pixels: UInt8[np.ndarray, "b f h w 3"],
    rows: Rows,
    *,
    blocks: Sequence[int],
    token_blocks: Sequence[int],
    device: str,
    compute_dtype: torch.dtype,
) -> dict[str, Float32[np.ndarray, "b _ d"]]:
    """Features of one batch by dataset name, pooled (b, l, d) and token maps (b, f*t, d).

    Args:
        encoder: The encoder, on `device`.
        pixels: The pixels that both sides see.
        rows: The b samples of the batch, for their boxes.
        blocks: Blocks to pool.
        token_blocks: Blocks whose token maps are kept, of a track frame after frame.
        device: Where the encoder is.
        compute_dtype: float32, or a narrower type for `torch.autocast`.

    Raises:
        PairingError: The encoder returns another grid than its facts say.
        DataError: A feature is not finite.
    """
    launch = launcher(
        encoder,
        blocks=blocks,
        token_blocks=token_blocks,
        device=device,
        compute_dtype=compute_dtype,
    )
    return launch(upload(list(pixels), device), rows).collect()


def _forward(
    encoder: Encoder,
    pixels: UInt8[Tensor, "b f h w 3"],
    weights: Float32[Tensor, "b f r k t"],
    blocks: Sequence[int],
    token_blocks: Sequence[int],
    compute_dtype: torch.dtype,
    reduce: str,
) -> tuple[Float32[Tensor, "b r l kd"], dict[int, Float32[Tensor, "b ft d"]]]:
    """Pooled features and token maps, on the device; the part that is worth compiling."""
    images = pixels.flatten(0, 1).permute(0, 3, 1, 2)
    narrow = compute_dtype != torch.float32
    with torch.autocast(pixels.device.type, dtype=compute_dtype, enabled=narrow):
        outputs = encoder(images, sorted({*blocks, *token_blocks}))
    _check_tokens(encoder.info, outputs, weights.shape[-1])
    if reduce == "cls":
        frames = weights.shape[:2]
        vectors = [
            outputs[block].prefix[:, :1].float().unflatten(0, frames).mean(dim=1)
            for block in blocks
        ]
    else:
        flat = weights.flatten(2, 3)
        vectors = [pool_frames(outputs[block].patches, flat, reduce) for block in blocks]
    # Of a track, the maps of its frames one after the other.
    maps = {
        block: outputs[block].patches.float().unflatten(0, weights.shape[:2]).flatten(1, 2)
        for block in token_blocks
    }
    # The fields of a region, one after the other, make one vector.
    fields = torch.stack(vectors, dim=2).unflatten(1, weights.shape[2:4])
    return fields.transpose(2, 3).flatten(3), maps


def _is_cuda(device: str) -> bool:
    return torch.device(device).type == "cuda"


def _sent(arrays: Sequence[np.ndarray], device: str, *, axis: int) -> Tensor:
    """Arrays stacked along a new axis, on a device; through pinned memory if it is a GPU."""
    shape = list(arrays[0].shape)
    shape.insert(axis, len(arrays))
    dtype = torch.from_numpy(np.empty(0, arrays[0].dtype)).dtype
    host = torch.empty(shape, dtype=dtype, pin_memory=_is_cuda(device))
    np.stack(arrays, axis=axis, out=host.numpy())
    return host.to(device, non_blocking=True)


def _on_host(values: Float[Tensor, "b *rest"]) -> Float32[Tensor, "b *rest"]:
    """A tensor in float32 on the host; from a GPU it goes to pinned memory and is still coming."""
    return values.float().to("cpu", non_blocking=values.is_cuda)


def _padded(values: Shaped[Tensor, "b *rest"], count: int) -> Shaped[Tensor, "count *rest"]:
    """Zeros added after the samples, up to `count` of them."""
    missing = values.new_zeros((count - len(values), *values.shape[1:]))
    return torch.cat([values, missing]) if len(missing) else values


def _check_tokens(info: EncoderInfo, outputs: dict[int, BlockTokens], expected: int) -> None:
    """Raise if a block returned another number of patches than the grid has."""
    for block, output in outputs.items():
        if (found := output.patches.shape[1]) != expected:
            raise PairingError(
                f"{info.name} should return {expected} patch tokens, block {block} returned "
                f"{found}. Give --size {info.size}, its native size."
            )
