"""Pictures in, features out: both sides of a pair, and the plain pictures, in one pass.

Each picture is opened and squared once; the same pixels go to both encoders. Threads read ahead
while the main thread computes. What is finished is on disk: a killed run goes on where it stopped.
"""

import logging
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from tqdm import tqdm

from degradation.cache import (
    PairEntry,
    Shard,
    Storage,
    Store,
    check_paired,
    is_complete,
    open_features,
    open_store,
    write_pair,
)
from degradation.encoders.encoder import Encoder
from degradation.encoders.pair import Pair
from degradation.errors import ConfigError, DataError
from degradation.pixels import pixel_hash, square, to_rgb
from degradation.sides import Side, plan_sides
from degradation.tasks.task import Rows, Task

__all__ = ["ExtractReport", "extract"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What an extraction did.

    Attributes:
        entry: The pair entry, with the addresses of the features.
        rows: Samples in the cache.
        left_out: Samples left out, by reason, those that the reader left out included.
        images: Pictures opened in this run.
        images_per_second: Over the whole run; 0 if all was there.
        skipped_shards: Shards of any side that were on disk already.
        read_seconds: Time spent waiting for pictures.
        infer_seconds: Time spent in the encoders.
        write_seconds: Time spent writing.
    """

    entry: PairEntry
    rows: int
    left_out: Mapping[str, int]
    images: int
    images_per_second: float
    skipped_shards: int
    read_seconds: float
    infer_seconds: float
    write_seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """One sample as read: its pixels and their hash, or the reason why there are none."""

    row: int
    pixels: UInt8[np.ndarray, "f s s 3"] | None = None
    hash: bytes = b""
    reason: str = ""


@dataclass(slots=True)
class _Progress:
    """The bar, the pictures opened, and the seconds by what they were spent on."""

    bar: tqdm
    images: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Count the seconds of the block under `what`."""
        started = time.perf_counter()
        yield
        self.seconds[what] += time.perf_counter() - started


def extract(
    task: Task,
    split: str,
    pair: Pair,
    pre: Encoder,
    post: Encoder,
    *,
    root: Path,
    size: int | None = None,
    blocks: Sequence[int] | None = None,
    token_blocks: Sequence[int] = (),
    batch_size: int = 64,
    shard_rows: int = 256,
    device: str = "cpu",
    compute_dtype: torch.dtype = torch.float32,
    storage: Storage = "float16",
    workers: int = 1,
    progress: bool = True,
) -> ExtractReport:
    """Extract the features of both sides of a pair on one split into the cache.

    Args:
        task: The task.
        split: One of its splits.
        pair: The pair, for its name, lineage and confirmatory block.
        pre: Encoder before.
        post: Encoder after.
        root: Root of all caches.
        size: Picture side in pixels; by default the native one of `pre`.
        blocks: Blocks to pool; by default all that both sides have.
        token_blocks: Blocks whose token maps are stored too; they are large, and no probe of this
            version reads them.
        batch_size: Pictures (frames) per batch.
        shard_rows: Rows per shard; all of a shard's features are held in memory.
        device: Torch device.
        compute_dtype: torch.float32, or torch.bfloat16 for autocast.
        storage: Dtype on disk; a shard that float16 would harm is float32 all the same.
        workers: Threads that open pictures.
        progress: Show a bar on stderr.

    Raises:
        ConfigError: An option does not fit the task or the encoders.
        DataError: The split has no rows, or fewer than half of its pictures can be opened.
        PairingError: Token maps asked for, but the grids differ; or a side that was already in
            the cache saw other pixels.
        CacheError: Another process writes the same cache, or the disk is full.
    """
    if min(batch_size, shard_rows, workers) < 1:
        raise ConfigError("Batch size, rows per shard and workers must be at least 1.")
    rows = task.read(split)
    if len(rows) == 0:
        raise DataError(f"Split {split!r} of {task.spec.name} has no rows. Name another split.")
    sides = plan_sides(
        task.spec, split, rows, pair, pre, post, size=size, blocks=blocks, device=device,
        token_blocks=token_blocks, shard_rows=shard_rows, compute_dtype=compute_dtype,
        storage=storage,
    )  # fmt: skip
    started = time.perf_counter()
    title = f"{task.spec.name} {split}"
    with tqdm(desc=title, unit="img", file=sys.stderr, disable=not progress) as bar:
        state = _Progress(bar)
        skipped = _fill(task, rows, sides, root, batch_size, workers, state)
    seconds = time.perf_counter() - started
    entry = _enter(root, pair, sides)
    kept = open_features(root, entry.pre).rows
    return ExtractReport(
        entry=entry,
        rows=len(kept),
        left_out=Counter(row.reason for row in kept.left_out),
        images=state.images,
        images_per_second=state.images / seconds,
        skipped_shards=skipped,
        read_seconds=state.seconds["read"],
        infer_seconds=state.seconds["infer"],
        write_seconds=state.seconds["write"],
    )


def _enter(root: Path, pair: Pair, sides: tuple[Side, Side, Side]) -> PairEntry:
    """Check that the sides belong together and write the pair entry."""
    pre, post, pictures = (open_features(root, side.key.address) for side in sides)
    check_paired(pre, post)
    check_paired(pre, pictures)
    entry = PairEntry(
        pair=pair.name,
        task=pre.spec.name,
        split=pre.split,
        pre=pre.address,
        post=post.address,
        pictures=pictures.address,
        lineage=pair.lineage,
        source=pair.source,
        block=pair.block,
        protocol=str(pre.key.protocol),
    )
    write_pair(root, entry)
    return entry


def _fill(
    task: Task,
    rows: Rows,
    sides: Sequence[Side],
    root: Path,
    batch_size: int,
    workers: int,
    state: _Progress,
) -> int:
    """Complete the caches of all sides; returns the number of shards that were there already."""
    key = sides[0].key
    # The same encoder on both sides has one address: it is computed once.
    distinct = {side.key.address: side for side in sides}.values()
    frames = rows.pictures.shape[1]
    starts = range(0, len(rows), key.shard_rows)
    spans = {k: range(i, min(i + key.shard_rows, len(rows))) for k, i in enumerate(starts)}
    with ExitStack() as stack:
        work = [
            (side, stack.enter_context(open_store(root, side.key)))
            for side in distinct
            if not is_complete(root, side.key)
        ]
        cards = [store.cards for _, store in work]
        todo = {k: span for k, span in spans.items() if any(k not in some for some in cards)}
        written = sum(len(spans) - len(some) for some in cards)
        positions = [row for span in todo.values() for row in span]
        state.bar.reset(total=len(positions) * frames)
        per_batch = max(1, batch_size // frames)
        read = partial(_read, task, rows, key.protocol.size)
        with closing(_read_ahead(read, positions, workers, window=2 * per_batch)) as pictures:
            for number, span in todo.items():
                missing = [(side, store) for side, store in work if number not in store.cards]
                computing = [side for side, _ in missing]
                shards = _compute(number, len(span), computing, rows, pictures, per_batch, state)
                with state.timed("write"):
                    for (_, store), shard in zip(missing, shards, strict=True):
                        store.write(shard)
                _check_left_out(rows, [store for _, store in work])
        for side, store in work:
            store.finish(rows, side.info, side.grid)
    return len(spans) * len(distinct) - written


def _compute(
    number: int,
    count: int,
    sides: Sequence[Side],
    rows: Rows,
    pictures: Iterator[_Picture],
    per_batch: int,
    state: _Progress,
) -> list[Shard]:
    """The next `count` pictures as shard `number` of each side."""
    parts = [defaultdict(list) for _ in sides]
    kept: list[_Picture] = []
    left_out: list[tuple[int, str]] = []
    for start in range(0, count, per_batch):
        with state.timed("read"):
            batch = list(islice(pictures, min(per_batch, count - start)))
        good = [picture for picture in batch if picture.pixels is not None]
        left_out += [(picture.row, picture.reason) for picture in batch if picture.pixels is None]
        kept += [replace(picture, pixels=None) for picture in good]
        with state.timed("infer"):
            if good:
                pixels = np.stack([picture.pixels for picture in good])
                batch_rows = rows.take(np.array([picture.row for picture in good]))
                for side, arrays in zip(sides, parts, strict=True):
                    for name, values in side.compute(pixels, batch_rows).items():
                        arrays[name].append(values)
        images = len(batch) * rows.pictures.shape[1]
        state.images += images
        state.bar.update(images)
    hashes = np.frombuffer(b"".join(picture.hash for picture in kept), dtype=np.uint8)
    return [
        Shard(
            number=number,
            rows=np.array([picture.row for picture in kept], dtype=np.int64),
            pixel_hashes=hashes.reshape(len(kept), 16),
            arrays={name: np.concatenate(values) for name, values in arrays.items()},
            left_out=tuple(left_out),
        )
        for arrays in parts
    ]


def _read(task: Task, rows: Rows, size: int, row: int) -> _Picture:
    """Open and square the pictures of one row; a picture that cannot be read gives the reason."""
    frames = []
    for reference in rows.pictures[row]:
        try:
            frames.append(square(to_rgb(task.open(reference)), size))
        except DataError as error:
            # Without the name, so that pictures with the same fault are counted together.
            return _Picture(row, reason=str(error).replace(reference, "<picture>"))
    hashes = b"".join(pixel_hash(frame) for frame in frames)
    if len(frames) > 1:
        hashes = pixel_hash(np.frombuffer(hashes, dtype=np.uint8))
    return _Picture(row, pixels=np.stack(frames), hash=hashes)


def _read_ahead(
    read: Callable[[int], _Picture], positions: Iterable[int], workers: int, window: int
) -> Iterator[_Picture]:
    """The pictures in order, with at most `window` of them read ahead by threads."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
    waiting: deque[Future[_Picture]] = deque()
    try:
        for position in positions:
            waiting.append(pool.submit(read, position))
            if len(waiting) >= window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _check_left_out(rows: Rows, stores: Sequence[Store]) -> None:
    """Raise once more than half of the split cannot be read, and forget what was written."""
    left_out = {row: why for s in stores for card in s.cards.values() for row, why in card.left_out}
    if 2 * len(left_out) <= len(rows):
        return
    for store in stores:
        store.discard()
    (reason, count), *_ = Counter(left_out.values()).most_common(1)
    raise DataError(
        f"More than half of the pictures cannot be read ({len(left_out)} of {len(rows)} so far). "
        f"The commonest reason, {count} times: {reason} Mend the data root and run it again."
    )
