"""One shard: the features of consecutive rows, as a self-contained HDF5 file.

A shard holds `pooled/<region>` (m, l, d), `tokens/<block>` (m, f*t, d), the positions of its m rows
in the split, the hashes of their pixels, and which positions were left out and why. Its file name
carries its checksum, so that one rename commits both.
"""

import hashlib
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32, Int64, UInt8

from degradation.cache.narrow import narrow
from degradation.cache.schema import SCHEMA_VERSION, Key
from degradation.errors import CacheError

__all__ = ["Shard", "ShardCard", "checksum", "image_of", "pooled_name", "read_card", "tokens_name"]

log = logging.getLogger(__name__)

_CHUNK_BYTES = 2 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Features of the rows [number * shard_rows, ...) of a split, less those left out.

    Attributes:
        number: Position of the shard.
        rows: Positions in the split, shape (m,).
        pixel_hashes: Hash of the pixels of each row, shape (m, 16); (m, 0) if imported.
        arrays: By dataset name, shape (m, l, d) if pooled, (m, f*t, d) if tokens.
        left_out: Position in the split and reason, for each row left out.
    """

    number: int
    rows: Int64[np.ndarray, " m"]
    pixel_hashes: UInt8[np.ndarray, "m hash"]
    arrays: Mapping[str, Float32[np.ndarray, "m k d"]]
    left_out: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ShardCard:
    """What the index needs to know of a shard on disk: all but the numbers.

    Attributes:
        name: File name.
        sha256: Checksum of the file, in hexadecimal.
        rows: As in `Shard`.
        pixel_hashes: As in `Shard`.
        left_out: As in `Shard`.
        shapes: Shape of each dataset.
        dtypes: Dtype of each dataset.
        errors: Largest absolute rounding error of each dataset.
    """

    name: str
    sha256: str
    rows: Int64[np.ndarray, " m"]
    pixel_hashes: UInt8[np.ndarray, "m hash"]
    left_out: tuple[tuple[int, str], ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, np.dtype]
    errors: Mapping[str, float]


def pooled_name(region: str) -> str:
    """Dataset of the pooled features of `region`."""
    return f"pooled/{region}"


def tokens_name(block: int) -> str:
    """Dataset of the token maps of `block`."""
    return f"tokens/{block}"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def image_of(shard: Shard, key: Key) -> tuple[str, memoryview]:
    """Checksum and bytes of a shard; equal shards give equal bytes.

    A dataset that float16 would harm is stored as float32, with a warning.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION
        file.attrs["key"] = key.hash
        file.create_dataset("rows", data=shard.rows)
        file.create_dataset("pixel_hashes", data=shard.pixel_hashes)
        text = h5py.string_dtype()
        positions = np.array([row for row, _ in shard.left_out], dtype=np.int64)
        reasons = np.array([reason for _, reason in shard.left_out], dtype=object)
        file.create_dataset("left_out/rows", data=positions)
        file.create_dataset("left_out/reasons", data=reasons, dtype=text)
        for name, values in shard.arrays.items():
            _add(file, name, values, shard.number, key)
    data = buffer.getbuffer()
    return hashlib.sha256(data).hexdigest(), data


def _add(
    file: h5py.File, name: str, values: Float32[np.ndarray, "m k d"], number: int, key: Key
) -> None:
    """Store one dataset, narrowed if the key asks for it and the numbers allow it."""
    stored: np.ndarray = values
    if key.storage == "float16":
        stored, why = narrow(values)
        if why:
            log.warning(
                "%s of %s, shard %d: %s; stored as float32.", name, key.encoder, number, why
            )
    # Pooled features are read one block at a time, token maps a few rows at a time.
    columns = 1 if name.startswith("pooled/") else stored.shape[1]
    row_bytes = max(1, columns * stored.shape[2] * stored.itemsize)
    rows = min(len(stored), max(1, _CHUNK_BYTES // row_bytes))
    chunks = (rows, columns, stored.shape[2]) if stored.size else None
    dataset = file.create_dataset(name, data=stored, chunks=chunks)
    # Compared in slices, so that the check holds no second copy of a large shard.
    worst = [
        np.nanmax(np.abs(stored[i : i + 8].astype(np.float32) - values[i : i + 8]), initial=0.0)
        for i in range(0, len(values), 8)
    ]
    dataset.attrs["max_abs_error"] = float(max(worst, default=0.0))


def read_card(path: Path, key: Key, sha256: str) -> ShardCard:
    """The card of a shard on disk.

    Args:
        path: File of the shard.
        key: Key of its cache.
        sha256: Its checksum, already computed.

    Raises:
        CacheError: The file is not a shard of this key.
    """
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["key"] != key.hash:
                raise CacheError(f"{path} belongs to another cache. Move it back or delete it.")
            groups = ("pooled", "tokens")
            names = [f"{group}/{name}" for group in groups for name in file.get(group, ())]
            reasons = file["left_out/reasons"].asstr()[:]
            return ShardCard(
                name=path.name,
                sha256=sha256,
                rows=file["rows"][:],
                pixel_hashes=file["pixel_hashes"][:],
                left_out=tuple(zip(file["left_out/rows"][:].tolist(), reasons, strict=True)),
                shapes={name: file[name].shape for name in names},
                dtypes={name: file[name].dtype for name in names},
                errors={name: float(file[name].attrs["max_abs_error"]) for name in names},
            )
    except (OSError, KeyError, ValueError) as error:
        raise CacheError(
            f"{path} cannot be read as a shard ({error}). Run `sdiag cache prune` to see what it "
            "would remove, then `sdiag cache prune --yes` and extract again."
        ) from error
