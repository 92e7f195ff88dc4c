"""Pictures in, features out: both sides of a pair, and its references, in one pass.

Each picture is opened and scaled once; the same pixels go to both encoders. The stages run beside
each other: threads open pictures, the main thread feeds the encoders, one thread collects features
and writes shards. What is finished is on disk: a killed run goes on where it stopped. Several
processes share the shards of one cache.
"""

import math
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from degradation.cache import (
    PairEntry,
    Storage,
    Store,
    check_paired,
    is_complete,
    open_features,
    open_store,
    write_pair,
)
from degradation.cache.pairs import known_random
from degradation.cache.schema import features_folder
from degradation.cache.shards import ShardCard
from degradation.encode import Gathered, by_shape, upload
from degradation.encoders.encoder import Encoder
from degradation.encoders.pair import Pair
from degradation.errors import ConfigError, DataError
from degradation.growing import GrowingShard
from degradation.pictures_cache import pictures_cache
from degradation.pipeline import in_bursts, in_order, read_ahead
from degradation.placement import rows_in_arrays
from degradation.protocol import Protocol
from degradation.ranks import ALONE, Ranks
from degradation.reading import Reader, Sample
from degradation.sides import Side, plan_sides, settled
from degradation.tasks.task import Rows, Task

__all__ = ["ExtractReport", "extract"]

_STANDARD = Protocol()
_IN_FLIGHT = 2
"""Batches whose features may wait to be collected; enough that a GPU never waits for the host."""


@dataclass(frozen=True, slots=True)
class ExtractReport:
    """What an extraction did; the numbers are those of all its processes together.

    Attributes:
        entry: The pair entry, with the addresses of the features.
        rows: Samples in the cache.
        left_out: Samples left out, by reason, those that the reader left out included.
        images: Pictures opened in this run.
        images_per_second: Over the whole run; 0 if all was there.
        skipped_shards: Shards of any side that were on disk already.
        read_seconds: Time that this process waited for pictures.
        infer_seconds: Time that it fed the encoders and waited for them.
        write_seconds: Time spent writing, beside the rest.
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
    protocol: Protocol = _STANDARD,
    size: int | None = None,
    blocks: Sequence[int] | None = None,
    token_blocks: Sequence[int] = (),
    batch_size: int = 64,
    shard_rows: int = 256,
    device: str = "cpu",
    compute_dtype: torch.dtype | None = None,
    storage: Storage = "float16",
    workers: int = 1,
    compile: bool = False,
    cache_pictures: bool = False,
    ranks: Ranks = ALONE,
    progress: bool = True,
    random: Encoder | None = None,
) -> ExtractReport:
    """Extract the features of both sides of a pair on one split into the cache.

    In the same pass come the references: the plain pictures, and a tower with fresh weights if
    one is given.

    Args:
        task: The task.
        split: One of its splits.
        pair: The pair, for its name, lineage and confirmatory block.
        pre: Encoder before.
        post: Encoder after.
        root: Root of all caches.
        protocol: How pictures become pixels, and pixels features. Its positions are only recorded:
            the encoders come with theirs, and with the norms and the freedom of shape that stage
            `native_norm` and geometry `native` need.
        size: Picture side in pixels; by default that of the protocol, or the native one of `pre`.
        blocks: Blocks to pool; by default those of the protocol, or all that both sides have.
        token_blocks: Blocks whose token maps are stored too; they are large, those of tracks by the
            number of frames: fewer rows per shard need less memory. Only for the squash of whole
            pictures.
        batch_size: Pictures (frames) per batch; under `native` those of one shape in it are
            computed together.
        shard_rows: Rows per shard; all of a shard's features are held in memory.
        device: Torch device.
        compute_dtype: torch.float32, or torch.bfloat16 for autocast; by default the dtype of the
            protocol.
        storage: Dtype on disk; a shard that float16 would harm is float32 all the same.
        workers: Threads that open pictures.
        compile: Compile the forward passes; they then have caches of their own. Not for `native`.
        cache_pictures: Keep the scaled pictures below `root`, for the next pair of this size.
        ranks: The processes that share the work; all of them must call this function.
        progress: Show a bar on stderr.
        random: The architecture of the pair with fresh weights (see `encoders.random_init`).
            Without it, one that the entry of this pair has already is kept.

    Raises:
        ConfigError: An option does not fit the task or the encoders.
        DataError: The split has no rows, or fewer than half of them can be used.
        PairingError: Token maps asked for, but the grids differ; or a side that was already in
            the cache saw other pixels.
        CacheError: Another process writes the same cache, or the disk is full.
    """
    if min(batch_size, shard_rows, workers) < 1:
        raise ConfigError("Batch size, rows per shard and workers must be at least 1.")
    rows = task.read(split)
    if len(rows) == 0:
        raise DataError(f"Split {split!r} of {task.spec.name} has no rows. Name another split.")
    per_batch = max(1, batch_size // rows.pictures.shape[1])
    protocol = settled(
        protocol, task.spec, (pre.info, post.info), size=size, blocks=blocks,
        token_blocks=token_blocks, compute_dtype=compute_dtype,
    )  # fmt: skip
    sides = plan_sides(
        task.spec, split, rows, pre, post, protocol, shard_rows=shard_rows, device=device,
        storage=storage, compile_for=per_batch if compile else None, random=random,
    )  # fmt: skip
    kept = pictures_cache(root, task.spec, protocol.geometry) if cache_pictures else None
    reader = Reader(task, rows, protocol.geometry, cache=kept, check_every=shard_rows)
    started = time.perf_counter()
    with tqdm(
        desc=f"{task.spec.name} {split}",
        unit="img",
        file=sys.stderr,
        disable=not (progress and ranks.leads),
    ) as bar:
        state = _Progress(bar)
        stages = _Stages(reader, device, per_batch, workers, protocol.mask_pad, state)
        skipped = _fill(stages, sides, root, ranks)
    seconds = time.perf_counter() - started
    entry = ranks.once(partial(_enter, root, pair, sides))
    images = sum(ranks.exchange(state.images))
    in_cache = open_features(root, entry.pre).rows
    return ExtractReport(
        entry=entry,
        rows=len(in_cache),
        left_out=Counter(row.reason for row in in_cache.left_out),
        images=images,
        images_per_second=images / seconds,
        skipped_shards=skipped,
        read_seconds=state.seconds["read"],
        infer_seconds=state.seconds["infer"],
        write_seconds=state.seconds["write"],
    )


def _enter(root: Path, pair: Pair, sides: tuple[Side, ...]) -> PairEntry:
    """Check that the sides belong together and write the pair entry."""
    pre, *others = (open_features(root, side.key.address) for side in sides)
    for other in others:
        check_paired(pre, other)
    post, pictures, *references = others
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
        random=references[0].address if references else None,
    )
    entry = replace(entry, random=entry.random or known_random(root, entry))
    write_pair(root, entry)
    return entry


@dataclass(frozen=True, slots=True)
class _Stages:
    """How the work on one split is done: its reader, and arguments of `extract`."""

    reader: Reader
    device: str
    per_batch: int
    workers: int
    mask_pad: bool
    state: _Progress


def _fill(stages: _Stages, sides: Sequence[Side], root: Path, ranks: Ranks) -> int:
    """Complete the caches of all sides; returns the number of shards that were there already."""
    rows, shard_rows = stages.reader.rows, sides[0].key.shard_rows
    # The same encoder on both sides has one address: it is computed once.
    distinct = list({side.key.address: side for side in sides}.values())
    numbers = range(math.ceil(len(rows) / shard_rows))
    with ExitStack() as stack:
        work = _open_stores(stack, root, distinct, ranks)
        present = sum(len(store.cards) for _, store in work)
        skipped = present + len(numbers) * (len(distinct) - len(work))
        todo = [n for n in numbers if any(n not in store.cards for _, store in work)]
        mine = ranks.share(todo)
        spans = {n: range(n * shard_rows, min((n + 1) * shard_rows, len(rows))) for n in mine}
        stages.state.bar.reset(total=sum(map(len, spans.values())) * rows.pictures.shape[1])
        _work_off(stages, spans, work, alone=ranks.count == 1)
        new = [{n: store.cards[n] for n in mine} for _, store in work]
        ranks.once(partial(_finish, rows, work, ranks.exchange(new)))
    return skipped


def _open_stores(
    stack: ExitStack, root: Path, sides: Sequence[Side], ranks: Ranks
) -> list[tuple[Side, Store]]:
    """The sides that are not complete, with their stores, which the leading process locks."""

    def open_all() -> dict[str, Mapping[int, ShardCard]]:
        return {
            side.key.address: stack.enter_context(open_store(root, side.key)).cards
            for side in sides
            if not is_complete(root, side.key)
        }

    addresses = [side.key.address for side in sides]
    if any(other != addresses for other in ranks.exchange(addresses)):
        raise ConfigError(
            "The processes of a run must extract the same, but these see other rows, weights or "
            "options. Start all with the same command, on the same data."
        )
    cards = ranks.once(open_all)
    return [
        (side, Store(features_folder(root, address), side.key, dict(cards[address])))
        for side, address in zip(sides, addresses, strict=True)
        if address in cards
    ]


def _work_off(
    stages: _Stages,
    spans: Mapping[int, range],
    work: Sequence[tuple[Side, Store]],
    *,
    alone: bool,
) -> None:
    """Compute and commit the shards of `spans`, rows of the split by number, in order."""
    state, plain = stages.state, any(side.launch is None for side, _ in work)
    reader = replace(stages.reader, features=plain)
    positions, workers = chain.from_iterable(spans.values()), stages.workers
    if torch.device(stages.device).type == "cpu":
        samples = in_bursts(reader, positions, workers, stages.per_batch)
    else:
        samples = read_ahead(reader, positions, workers, 2 * max(stages.per_batch, workers))

    def commit(shard: GrowingShard) -> None:
        with state.timed("write"):
            shard.write()
        if alone:
            _check_left_out(reader.rows, [store for _, store in work])

    with closing(samples), in_order(_IN_FLIGHT) as hand_over:
        for number, span in spans.items():
            missing = [(side, store) for side, store in work if number not in store.cards]
            shard = GrowingShard(number, span, missing)
            for start in range(0, len(span), stages.per_batch):
                with state.timed("read"):
                    batch = list(islice(samples, min(stages.per_batch, len(span) - start)))
                shard.left_out += [(one.row, one.reason) for one in batch if one.pixels is None]
                if good := [one for one in batch if one.pixels is not None]:
                    with state.timed("infer"):
                        launched = _launch(missing, good, stages)
                        read = [replace(one, pixels=None) for one in good]
                        hand_over(partial(shard.add, read, launched))
                images = len(batch) * reader.rows.pictures.shape[1]
                state.images += images
                state.bar.update(images)
            hand_over(partial(commit, shard))


def _launch(
    work: Sequence[tuple[Side, Store]], samples: Sequence[Sample], stages: _Stages
) -> dict[str, Gathered]:
    """Start the encoders on a batch, shape by shape; their features by address."""
    launches = {side.key.address: side.launch for side, _ in work if side.launch}
    if not launches:
        return {}
    pictures = [one.pixels for one in samples if one.pixels is not None]
    groups, parts = by_shape(pictures), defaultdict(list)
    for group in groups:
        pixels = upload([pictures[i] for i in group], stages.device)
        taken = stages.reader.rows.take(np.array([samples[i].row for i in group]))
        placements = [samples[i].placements for i in group]
        moved = rows_in_arrays(taken, placements, mask_pad=stages.mask_pad)
        for address, launch in launches.items():
            parts[address].append(launch(pixels, moved))
    return {address: Gathered(some, groups) for address, some in parts.items()}


def _finish(
    rows: Rows,
    work: Sequence[tuple[Side, Store]],
    new: Sequence[Sequence[Mapping[int, ShardCard]]],
) -> None:
    """Write the indices; `new` are the cards of the shards that each process wrote, by side."""
    for cards in new:
        for (_, store), some in zip(work, cards, strict=True):
            store.cards.update(some)
    if work:
        _check_left_out(rows, [store for _, store in work])
    for side, store in work:
        store.finish(rows, side.info, side.grid)


def _check_left_out(rows: Rows, stores: Sequence[Store]) -> None:
    """Raise once more than half of the split cannot be read, and forget what was written."""
    left_out = {row: why for s in stores for card in s.cards.values() for row, why in card.left_out}
    if 2 * len(left_out) <= len(rows):
        return
    for store in stores:
        store.discard()
    (reason, count), *_ = Counter(left_out.values()).most_common(1)
    raise DataError(
        f"More than half of the rows cannot be used ({len(left_out)} of {len(rows)} so far). "
        f"The commonest reason, {count} times: {reason} Mend the data root, or the geometry if "
        "it cuts too much away, and run it again."
    )
