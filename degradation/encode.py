"""Features of one batch of pictures: of an encoder, and of the plain pictures beside it.

On a GPU nothing here waits: pixels are sent from pinned memory, and features are on their way back
while the next batch is launched. `Pending.collect` is where somebody waits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, Shaped, UInt8
from torch import Tensor

from degradation.cache import pooled_name, tokens_name
from degradation.encoders.encoder import BlockTokens, Encoder, EncoderInfo
from degradation.errors import DataError, PairingError
from degradation.pooling import box_weights, coverage, pool_frames, split_boxes
from degradation.protocol import Protocol
from degradation.tasks.task import Rows

__all__ = [
    "PICTURES",
    "Launch",
    "Pending",
    "encode",
    "grid_of",
    "launcher",
    "picture_features",
    "region_weights",
    "upload",
]

_CELLS = 16
_LEVELS = 4
_ONE_THREAD = 250_000  # multiplications; OpenBLAS takes more threads above 262,144
_WHOLE = np.array([0, 0, 1, 1], dtype=np.float32)  # a box

PICTURES = EncoderInfo(
    name="pictures",
    digest="pictures v1",
    n_blocks=1,
    width=_CELLS * _CELLS * 3,
    size=0,
    patch=0,
    n_prefix=0,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
)
"""The reference without an encoder: block 0, regions `pixels` (768) and `histogram` (64)."""


def grid_of(info: EncoderInfo, size: int) -> tuple[int, int]:
    """Rows and columns of the patch grid at picture side `size`."""
    return size // info.patch, size // info.patch


def region_weights(
    rows: Rows, info: EncoderInfo, size: int, *, fields: int = 1
) -> dict[str, Float32[np.ndarray, "b f k t"]]:
    """Pooling weights by region: the whole `image`, and each role of boxes.

    Each frame is pooled inside its own box, and the frames that have one are averaged: the
    weights of a field sum to 1 over frames and tokens, or are NaN if no frame has the box.

    Args:
        rows: The b samples of the batch, with boxes of the arrays. A role `image` bounds what the
            arrays show of the picture, and takes the place of the whole array.
        info: The encoder, for its patch side.
        size: Picture side in pixels.
        fields: Parts along each side of a region that are pooled apart; k = fields * fields.
    """
    height, width = grid_of(info, size)
    batch, frames = rows.pictures.shape
    tokens = height * width
    boxes_by_region = dict(rows.boxes)
    result = {"image": np.full((batch, frames, 1, tokens), 1 / (frames * tokens), dtype=np.float32)}
    if fields > 1 and "image" not in boxes_by_region:
        boxes_by_region["image"] = np.tile(_WHOLE, (batch, frames, 1))
    # Where patches do not divide the side, the grid ends before the picture does.
    reach = np.float32(size / (width * info.patch))
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
        arrays: By dataset name, pooled (b, l, d) and token maps (b, t, d), float32; on the host,
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


Launch = Callable[[UInt8[Tensor, "b f s s 3"], Rows], Pending]
"""Starts the computation of one batch, given its pixels on the device and its samples."""


def upload(
    pictures: Sequence[UInt8[np.ndarray, "f s s 3"]], device: str
) -> UInt8[Tensor, "b f s s 3"]:
    """The pixels of b samples on a device; sent from pinned memory if it is a GPU.

    Args:
        pictures: Pixels of each sample.
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
    compile_for: int | None = None,
) -> Launch:
    """The function that starts an encoder on a batch.

    Args:
        encoder: The encoder, on `device`.
        blocks: Blocks to pool.
        token_blocks: Blocks whose token maps are kept; one frame only.
        device: Where the encoder is.
        compute_dtype: float32, or a narrower type for `torch.autocast`.
        pooling: `Protocol.pool`; `cls` gives the region `image` only.
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
    fields = Protocol(pool=pooling).pool_grid or 1
    reduce = "mean" if fields > 1 else pooling

    @torch.inference_mode()
    def launch(pixels: UInt8[Tensor, "b f s s 3"], rows: Rows) -> Pending:
        batch, _, size = pixels.shape[:3]
        regions = replace(rows, boxes={}) if pooling == "cls" else rows
        by_region = region_weights(regions, info, size, fields=fields)
        weights = _sent(list(by_region.values()), device, axis=2)
        if compile_for is not None:
            pixels, weights = _padded(pixels, compile_for), _padded(weights, compile_for)
        vectors, maps = forward(
            encoder, pixels, weights, blocks, token_blocks, compute_dtype, reduce
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
    pixels: UInt8[np.ndarray, "b f s s 3"],
    rows: Rows,
    *,
    blocks: Sequence[int],
    token_blocks: Sequence[int],
    device: str,
    compute_dtype: torch.dtype,
) -> dict[str, Float32[np.ndarray, "b _ d"]]:
    """Features of one batch by dataset name, pooled (b, l, d) and token maps (b, t, d).

    Args:
        encoder: The encoder, on `device`.
        pixels: The pixels that both sides see.
        rows: The b samples of the batch, for their boxes.
        blocks: Blocks to pool.
        token_blocks: Blocks whose token maps are kept; one frame only.
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
    pixels: UInt8[Tensor, "b f s s 3"],
    weights: Float32[Tensor, "b f r k t"],
    blocks: Sequence[int],
    token_blocks: Sequence[int],
    compute_dtype: torch.dtype,
    reduce: str,
) -> tuple[Float32[Tensor, "b r l kd"], dict[int, Float32[Tensor, "b t d"]]]:
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
    maps = {block: outputs[block].patches.float() for block in token_blocks}
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


def picture_features(
    pixels: UInt8[np.ndarray, "b f s s 3"],
) -> dict[str, Float32[np.ndarray, "b 1 d"]]:
    """What can be read without an encoder, frames averaged, by dataset name.

    `pixels`: the picture averaged over 16 x 16 areas, 768 numbers in [0, 1]. `histogram`: shares
    of the pixels in 4 x 4 x 4 bins of red, green and blue, 64 numbers with sum 1.

    Args:
        pixels: The pixels that the encoders see.
    """
    batch, frames, size = pixels.shape[:3]
    area, first, window = _areas(size)
    lines = pixels.reshape(-1, size, size * 3).astype(np.float32)
    # In products so small that OpenBLAS does not share them out: many threads ask at a time.
    step = max(1, _ONE_THREAD // (_CELLS * size))
    parts = [area @ lines[:, :, i : i + step] for i in range(0, size * 3, step)]
    rows = np.concatenate(parts, axis=2).reshape(-1, _CELLS, size, 3)
    # A cell averages few columns; the product with all of `area` would take longest of all.
    columns = np.minimum(first + np.arange(len(window))[:, None], size - 1)
    averaged = np.einsum("kc,brkcd->brcd", window, rows.take(columns, axis=2))
    coarse = averaged.reshape(batch, frames, -1).mean(axis=1) / 255
    levels = pixels // (256 // _LEVELS)
    bins = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
    counts = [np.bincount(one.ravel(), minlength=_LEVELS**3) for one in bins]
    shares = (np.stack(counts) / (frames * size * size)).astype(np.float32)
    return {pooled_name("pixels"): coarse[:, None], pooled_name("histogram"): shares[:, None]}


@lru_cache(maxsize=8)
def _areas(
    size: int,
) -> tuple[Float32[np.ndarray, "16 s"], Int64[np.ndarray, "16"], Float32[np.ndarray, "k 16"]]:
    """Weights by which each of 16 cells averages a side of `size` pixels.

    Returns:
        The weights; for each cell the first pixel with a weight; and the weights from there on.
    """
    edges = np.arange(size) / size
    area = coverage(edges, edges + 1 / size, _CELLS).T
    area = (area / area.sum(axis=1, keepdims=True)).astype(np.float32)
    first = (area > 0).argmax(axis=1)
    last = size - (area[:, ::-1] > 0).argmax(axis=1)
    steps = np.arange((last - first).max())[:, None]
    window = area[np.arange(_CELLS), np.minimum(first + steps, size - 1)]
    return area, first, np.where(first + steps < last, window, np.float32(0))
