"""Reading a complete cache, a block at a time.

Numbers are read shard by shard rather than through the virtual datasets of the index: HDF5 fills
in for a shard that it cannot open, and it keeps all of them open at once.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float, Float32, Int64, UInt8

from degradation.cache.files import LOCK
from degradation.cache.index import read_rows
from degradation.cache.schema import (
    INDEX,
    SCHEMA_VERSION,
    Key,
    encoder_from,
    features_folder,
    key_from,
)
from degradation.cache.shards import pooled_name, tokens_name
from degradation.encoders.encoder import EncoderInfo
from degradation.errors import CacheError, ConfigError
from degradation.tasks.task import Rows, TaskSpec

__all__ = ["Features", "open_features"]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """A complete cache; numbers are read when asked for.

    Attributes:
        folder: Folder of the cache.
        key: What decided its content.
        encoder: Facts about the encoder.
        rows: The n samples, with those left out by the reader of the data and by extraction.
        grid: Rows and columns of the patch grid; (0, 0) if imported.
        pixel_hashes: Hash of the pixels of each sample, shape (n, 16); (n, 0) if imported.
        shards: File name and number of rows of each shard.
    """

    folder: Path
    key: Key
    encoder: EncoderInfo
    rows: Rows
    grid: tuple[int, int]
    pixel_hashes: UInt8[np.ndarray, "n hash"]
    shards: tuple[tuple[str, int], ...]

    @property
    def address(self) -> str:
        """Address of the cache below `features/`."""
        return self.folder.name

    @property
    def spec(self) -> TaskSpec:
        """What is asked of the rows."""
        return self.key.task

    @property
    def split(self) -> str:
        """Split of the task."""
        return self.key.split

    @property
    def blocks(self) -> tuple[int, ...]:
        """Blocks whose pooled features are here."""
        return self.key.blocks

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that were pooled."""
        return self.key.regions

    @property
    def token_blocks(self) -> tuple[int, ...]:
        """Blocks whose token maps are here."""
        return self.key.token_blocks

    def pooled(self, block: int, regions: Sequence[str]) -> Float32[np.ndarray, "n d"]:
        """Pooled features of one block, the regions concatenated in the order given.

        A row is NaN in a region whose box it does not have.

        Args:
            block: One of `blocks`.
            regions: One or more of `regions`.

        Raises:
            ConfigError: The block or a region is not in the cache.
            CacheError: A shard is missing or damaged.
        """
        return self.pooled_at(block, regions, np.arange(len(self.rows)))

    def pooled_at(
        self, block: int, regions: Sequence[str], rows: Int64[np.ndarray, " m"]
    ) -> Float32[np.ndarray, "m d"]:
        """The same of some rows only, in their order; other shards are not opened.

        Args:
            block: One of `blocks`.
            regions: One or more of `regions`.
            rows: Positions, shape (m,).

        Raises:
            ConfigError: The block or a region is not in the cache.
            CacheError: A shard is missing or damaged.
        """
        if block not in self.blocks:
            raise ConfigError(f"{self.address} has blocks {list(self.blocks)}, not {block}.")
        if not regions or not set(regions) <= set(self.regions):
            raise ConfigError(
                f"{self.address} has regions {list(self.regions)}; asked for {list(regions)}."
            )
        position = self.blocks.index(block)
        names = [pooled_name(region) for region in regions]
        result = np.empty((len(rows), self.width(regions)), dtype=np.float32)
        for name, inside, own in self._places(rows):
            reach = slice(int(own[0]), int(own[-1]) + 1)
            with _opened(self.folder / name) as file:
                parts = [file[each][reach, position][own - reach.start] for each in names]
            result[inside] = np.concatenate(parts, axis=1)
        return result

    def width(self, regions: Sequence[str]) -> int:
        """Number of features d of these regions together."""
        for _, file in self._shards():
            return sum(file[pooled_name(region)].shape[2] for region in regions)
        return 0

    def tokens(self, block: int) -> Float32[np.ndarray, "n ft d"]:
        """Token maps of one block, patches in raster order; of a track, frame after frame.

        Args:
            block: One of `token_blocks`.

        Raises:
            ConfigError: The token maps of this block are not in the cache.
            CacheError: A shard is missing or damaged.
        """
        result: np.ndarray | None = None
        for rows, part in self.token_parts(block):
            if result is None:
                result = np.empty((len(self.rows), *part.shape[1:]), dtype=np.float32)
            result[rows] = part
        return result

    def token_parts(self, block: int) -> Iterator[tuple[slice, Float32[np.ndarray, "m ft d"]]]:
        """Token maps of one block, a shard at a time, with the place of its rows.

        All token maps of a large data set do not fit into memory.

        Args:
            block: One of `token_blocks`.

        Raises:
            ConfigError: The token maps of this block are not in the cache.
            CacheError: A shard is missing or damaged.
        """
        if block not in self.token_blocks:
            raise ConfigError(
                f"{self.address} has token maps of blocks {list(self.token_blocks)}, not {block}. "
                f"Extract with --token-block {block}."
            )
        for rows, file in self._shards():
            yield rows, file[tokens_name(block)][()].astype(np.float32)

    def tokens_at(
        self, block: int, rows: Int64[np.ndarray, " m"]
    ) -> Iterator[tuple[Int64[np.ndarray, " k"], Float[np.ndarray, "k t d"]]]:
        """Token maps of some rows only, as they are stored, with their places in `rows`.

        A shard at a time; shards without any of the rows are not opened.

        Args:
            block: One of `token_blocks`.
            rows: Positions, shape (m,), in any order and as often as wanted.

        Raises:
            CacheError: A shard is missing or damaged.
        """
        for name, inside, own in self._places(rows):
            # HDF5 wants each row once, in rising order.
            wanted, place = np.unique(own, return_inverse=True)
            with _opened(self.folder / name) as file:
                values = file[tokens_name(block)][wanted][place]
            yield inside, values

    def _places(
        self, rows: Int64[np.ndarray, " m"]
    ) -> Iterator[tuple[str, Int64[np.ndarray, " k"], Int64[np.ndarray, " k"]]]:
        """Of each shard that holds some of the rows: name, places in `rows`, rows of the shard."""
        order = np.argsort(rows, kind="stable")
        ends = np.cumsum([count for _, count in self.shards])
        cuts = np.searchsorted(rows, ends, sorter=order)[:-1]
        for (name, count), end, inside in zip(
            self.shards, ends, np.split(order, cuts), strict=True
        ):
            if len(inside):
                yield name, inside, rows[inside] - (end - count)

    def _shards(self) -> Iterator[tuple[slice, h5py.File]]:
        """Each shard with rows, opened, and where its rows lie."""
        start = 0
        for name, count in self.shards:
            if count:
                with _opened(self.folder / name) as file:
                    yield slice(start, start + count), file
            start += count


def _opened(path: Path) -> h5py.File:
    """An HDF5 file of a cache, open for reading."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise CacheError(
            f"{path} is missing or damaged ({error}). Run `sdiag cache prune` to see what it "
            "would remove, then `sdiag cache prune --yes` and extract again."
        ) from error


def open_features(root: Path, address: str) -> Features:
    """The cache at `address`, with its rows; its numbers stay on disk.

    Args:
        root: Root of all caches.
        address: Folder name below `features/`.

    Raises:
        CacheError: There is none, it is incomplete, of another schema version, or shards are
            missing.
    """
    folder = features_folder(root, address)
    if not folder.is_dir():
        raise CacheError(
            f"There is no cache {folder}. Run `sdiag extract`; `sdiag cache ls` lists all."
        )
    if not (folder / INDEX).exists():
        raise CacheError(
            f"{folder} is incomplete: its {INDEX} is not yet written. Run the same `sdiag extract` "
            "again; it goes on where it stopped."
        )
    with _opened(folder / INDEX) as file:
        record = _key_record(file, folder)
        names, counts = file["shards/names"].asstr()[:], file["shards/counts"][:]
        features = Features(
            folder=folder,
            key=key_from(record),
            encoder=encoder_from(json.loads(file.attrs["encoder"])),
            rows=read_rows(file),
            grid=tuple(file.attrs["grid"].tolist()),
            pixel_hashes=file["pixel_hashes"][()],
            shards=tuple(zip(names.tolist(), counts.tolist(), strict=True)),
        )
    if missing := [name for name, _ in features.shards if not (folder / name).exists()]:
        raise CacheError(
            f"{folder} lacks {len(missing)} of {len(names)} shards, first {missing[0]}. Bring them "
            f"back, or delete all but {LOCK} in it and extract again."
        )
    return features


def _key_record(file: h5py.File, folder: Path) -> Mapping[str, Any]:
    """The key in an index, after a look at the version."""
    version = file.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise CacheError(
            f"Expected schema version {SCHEMA_VERSION} in {folder}, found {version}. Extract again "
            "with this version of sdiag, or read it with the version that wrote it."
        )
    return json.loads(file.attrs["key"])
