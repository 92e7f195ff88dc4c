"""Features of one batch of pictures: of an encoder, and of the plain pictures beside it."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from degradation.cache import pooled_name, tokens_name
from degradation.encoders.encoder import BlockTokens, Encoder, EncoderInfo
from degradation.errors import DataError, PairingError
from degradation.pooling import box_weights, coverage, pool
from degradation.tasks.task import Rows

__all__ = ["PICTURES", "encode", "grid_of", "picture_features", "region_weights"]

_CELLS = 16
_LEVELS = 4

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
    rows: Rows, info: EncoderInfo, size: int
) -> dict[str, Float32[np.ndarray, "b f t"]]:
    """Pooling weights by region: the whole `image`, and each role of boxes.

    Each frame is pooled inside its own box, and the frames that have one are averaged: the
    weights of a sample sum to 1 over frames and tokens, or are NaN if no frame has the box.

    Args:
        rows: The b samples of the batch.
        info: The encoder, for its patch side.
        size: Picture side in pixels.
    """
    height, width = grid_of(info, size)
    batch, frames = rows.pictures.shape
    tokens = height * width
    result = {"image": np.full((batch, frames, tokens), 1 / (frames * tokens), dtype=np.float32)}
    # Where patches do not divide the side, the grid ends before the picture does.
    reach = np.float32(size / (width * info.patch))
    for role, boxes in rows.boxes.items():
        weights = box_weights((boxes * reach).reshape(-1, 4), (height, width))
        weights = weights.reshape(batch, frames, tokens)
        present = ~np.isnan(weights).any(axis=2, keepdims=True)
        count = present.sum(axis=1, keepdims=True).astype(np.float32)
        count[count == 0] = np.nan
        result[role] = np.where(present, weights, np.float32(0)) / count
    return result


@torch.inference_mode()
def encode(
    encoder: Encoder,
    pixels: UInt8[np.ndarray, "b f s s 3"],
    rows: Rows,
    *,
    blocks: Sequence[int],
    token_blocks: Sequence[int],
    device: str,
    compute_dtype: torch.dtype,
) -> dict[str, Float32[np.ndarray, "b k d"]]:
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
    batch, frames, size = pixels.shape[:3]
    images = torch.from_numpy(pixels).to(device).flatten(0, 1).permute(0, 3, 1, 2)
    narrow = compute_dtype != torch.float32
    with torch.autocast(torch.device(device).type, dtype=compute_dtype, enabled=narrow):
        outputs = encoder(images, sorted({*blocks, *token_blocks}))
    height, width = grid_of(encoder.info, size)
    _check_tokens(encoder.info, outputs, height * width)
    result = {}
    for region, weights in region_weights(rows, encoder.info, size).items():
        flat = torch.from_numpy(weights).to(device).flatten(0, 1)
        vectors = [
            pool(outputs[block].patches, flat).unflatten(0, (batch, frames)).sum(dim=1)
            for block in blocks
        ]
        values = _numpy(torch.stack(vectors, dim=1))
        _check_finite(encoder.info.name, region, values, rows, np.isnan(weights).any(axis=(1, 2)))
        result[pooled_name(region)] = values
    for block in token_blocks:
        values = _numpy(outputs[block].patches)
        _check_finite(encoder.info.name, "tokens", values, rows, np.zeros(batch, dtype=bool))
        result[tokens_name(block)] = values
    return result


def _numpy(values: Tensor) -> np.ndarray:
    """A tensor as a float32 array on the host."""
    return values.float().cpu().numpy()


def _check_tokens(info: EncoderInfo, outputs: dict[int, BlockTokens], expected: int) -> None:
    """Raise if a block returned another number of patches than the grid has."""
    for block, output in outputs.items():
        if (found := output.patches.shape[1]) != expected:
            raise PairingError(
                f"{info.name} should return {expected} patch tokens, block {block} returned "
                f"{found}. Give --size {info.size}, its native size."
            )


def _check_finite(
    name: str, region: str, values: np.ndarray, rows: Rows, absent: np.ndarray
) -> None:
    """Raise if a feature is not finite in a row that has the region."""
    bad = ~np.isfinite(values).all(axis=(1, 2)) & ~absent
    if bad.any():
        raise DataError(
            f"{name} gives features that are not finite ({region}, row "
            f"{rows.ids[bad.argmax()]!r}). Check its weights, or compute in float32."
        )


def picture_features(
    pixels: UInt8[np.ndarray, "b f s s 3"], rows: Rows
) -> dict[str, Float32[np.ndarray, "b 1 d"]]:
    """What can be read without an encoder, frames averaged, by dataset name.

    `pixels`: the picture averaged over 16 x 16 areas, 768 numbers in [0, 1]. `histogram`: shares
    of the pixels in 4 x 4 x 4 bins of red, green and blue, 64 numbers with sum 1.

    Args:
        pixels: The pixels that the encoders see.
        rows: The b samples; not looked at.
    """
    batch, frames, size = pixels.shape[:3]
    edges = np.arange(size) / size
    area = coverage(edges, edges + 1 / size, _CELLS).T
    area = (area / area.sum(axis=1, keepdims=True)).astype(np.float32)
    rows_averaged = area @ pixels.reshape(-1, size, size * 3).astype(np.float32)
    averaged = np.einsum("cs,brsk->brck", area, rows_averaged.reshape(-1, _CELLS, size, 3))
    coarse = averaged.reshape(batch, frames, -1).mean(axis=1) / 255
    step = 256 // _LEVELS
    levels = (pixels // step).astype(np.int64)
    bins = (levels[..., 0] * _LEVELS + levels[..., 1]) * _LEVELS + levels[..., 2]
    counts = [np.bincount(one.ravel(), minlength=_LEVELS**3) for one in bins]
    shares = (np.stack(counts) / (frames * size * size)).astype(np.float32)
    return {pooled_name("pixels"): coarse[:, None], pooled_name("histogram"): shares[:, None]}
