"""Writing a cache: one locked folder, shards one by one, the index last."""

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from degradation.cache.files import locked, stray_files, write_atomically
from degradation.cache.index import index_image
from degradation.cache.schema import (
    INDEX,
    KEY,
    Key,
    features_folder,
    plain,
    shard_name,
    shard_number,
)
from degradation.cache.shards import Shard, ShardCard, checksum, image_of, read_card
from degradation.encoders.encoder import EncoderInfo
from degradation.errors import CacheError
from degradation.tasks.task import Rows

__all__ = ["Store", "is_complete", "open_store"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Store:
    """A cache being written; made by `open_store`, which holds its lock.

    Attributes:
        folder: Folder of the cache.
        key: What decides its content.
        cards: Cards of the shards on disk, by number.
    """

    folder: Path
    key: Key
    cards: dict[int, ShardCard] = field(default_factory=dict)

    def write(self, shard: Shard) -> None:
        """Commit one shard.

        Raises:
            CacheError: The disk is full; earlier shards are kept.
        """
        sha256, data = image_of(shard, self.key)
        path = self.folder / shard_name(shard.number, sha256)
        write_atomically(path, data)
        self.cards[shard.number] = read_card(path, self.key, sha256)

    def finish(self, rows: Rows, encoder: EncoderInfo, grid: tuple[int, int]) -> None:
        """Write the index over all shards, which makes the cache complete.

        Args:
            rows: The split as it was read.
            encoder: Facts about the encoder.
            grid: Rows and columns of its patch grid.

        Raises:
            CacheError: A shard is missing, or the disk is full.
        """
        numbers = range(math.ceil(len(rows) / self.key.shard_rows))
        if missing := sorted(set(numbers) - self.cards.keys()):
            raise CacheError(
                f"{self.folder} lacks {len(missing)} of {len(numbers)} shards, first number "
                f"{missing[0]}. Run the same command again."
            )
        cards = [self.cards[number] for number in numbers]
        write_atomically(self.folder / INDEX, index_image(self.key, encoder, grid, rows, cards))

    def discard(self) -> None:
        """Remove the shards, so that nothing of a failed run is taken up by the next."""
        for card in self.cards.values():
            (self.folder / card.name).unlink()
        self.cards.clear()


def is_complete(root: Path, key: Key) -> bool:
    """Whether the cache of `key` has its index."""
    return (features_folder(root, key.address) / INDEX).exists()


@contextmanager
def open_store(root: Path, key: Key) -> Iterator[Store]:
    """The store of `key`, locked for writing, with what an earlier run has committed.

    Shards whose checksum no longer fits are deleted, to be computed again.

    Args:
        root: Root of all caches.
        key: What decides the content.

    Raises:
        CacheError: Another process writes this cache, or the folder cannot be written.
    """
    folder = features_folder(root, key.address)
    with locked(folder):
        for path in stray_files(folder):
            path.unlink()
        if not (folder / KEY).exists():
            text = json.dumps(plain(key), indent=1, ensure_ascii=False)
            write_atomically(folder / KEY, text.encode())
        store = Store(folder, key)
        for path in sorted(folder.glob("shard-*.h5")):
            match, sha256 = shard_number(path.name), checksum(path)
            if match and sha256.startswith(match[1]) and match[0] not in store.cards:
                store.cards[match[0]] = read_card(path, key, sha256)
            else:
                log.warning("%s is damaged; it is computed again.", path)
                path.unlink()
        yield store
