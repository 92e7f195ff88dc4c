"""From the names of an encoder and of tasks to their rows and tokens in the cache."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from degradation.axes import SIDES, Side
from degradation.cache import PairEntry, pairs
from degradation.cache.schema import KEY, features_folder
from degradation.errors import CacheError, ConfigError, PairingError
from probes.table import Table, open_pair
from socialfusion.online import Online
from socialfusion.samples import TaskSamples, frame_boxes
from socialfusion.tokens import CachedTokens, cached_tokens

__all__ = ["default_memory", "encoder_name", "find_side", "open_tasks", "token_scale"]

SCALE_ROWS = 64
"""Rows of each task whose tokens say how large tokens are."""


def default_memory() -> float:
    """Bytes of token maps held unless told otherwise: a quarter of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 4


def find_side(root: Path, encoder: str, task: str) -> tuple[str, Side]:
    """The cached pair and side that hold the features of an encoder on a task.

    Args:
        root: Root of all caches.
        encoder: `PAIR:SIDE`, as `qwen2-vl:post`, or the name of an encoder that is a side of any
            pair, as `clip-l-336`.
        task: Name of the task.

    Raises:
        CacheError: There is none.
    """
    entries = [one for one in pairs(root) if one.task == task]
    pair, _, last = encoder.rpartition(":")
    for side in SIDES:
        if last == side and any(one.pair == pair for one in entries):
            return pair, side
    for one in entries:
        for side in SIDES:
            if _encoder_of(root, one, side) == encoder:
                return one.pair, side
    known = sorted({f"{one.pair}:{side}" for one in entries for side in SIDES})
    model = f" --model {pair}" if pair not in ("", "tiny") else ""
    raise CacheError(
        f"Expected features of the encoder {encoder} on {task} in {root}, found "
        f"{', '.join(known) or 'none of this task'}. Run `sdiag extract --task {task}{model} "
        "--token-block N` with the same --cache, or name a side of a cached pair."
    )


def encoder_name(root: Path, encoder: str, task: str) -> str:
    """Name of the encoder itself behind `PAIR:SIDE`; arguments and errors as for `find_side`."""
    pair, side = find_side(root, encoder, task)
    entry = next(one for one in pairs(root) if (one.task, one.pair) == (task, pair))
    return _encoder_of(root, entry, side)


def _encoder_of(root: Path, entry: PairEntry, side: Side) -> str:
    """Name of the encoder behind a side, from the key of its cache alone."""
    path = features_folder(root, getattr(entry, side)) / KEY
    try:
        return json.loads(path.read_text(encoding="utf-8"))["encoder"]
    except (OSError, ValueError, KeyError):
        return ""


def open_tasks(
    root: Path,
    encoder: str,
    tasks: Sequence[str],
    *,
    block: int | None,
    row_list: str = "",
    memory: float,
    online: Online | None = None,
) -> tuple[TaskSamples, ...]:
    """The rows of tasks with the tokens of one encoder, in the order given.

    Args:
        root: Root of all caches.
        encoder: As for `find_side`.
        tasks: Names.
        block: Block whose tokens are read; None for the pair's declared one, or the last one with
            tokens where that has none.
        row_list: Name of the row lists that choose rows; empty for all.
        memory: Bytes of token maps that may be held; those of the tasks that come too late stay on
            disk.
        online: What computes tokens in place of the cache.

    Raises:
        CacheError: Features or token maps are missing.
        ConfigError: A task is named twice, or has no row list of that name.
        DataError: A box has no area.
        PairingError: The tasks hold features of different encoders, or of other grids.
    """
    if len(set(tasks)) != len(tasks) or not tasks:
        raise ConfigError(
            f"Expected one or more different tasks, found {', '.join(tasks) or 'none'}."
        )
    found: list[TaskSamples] = []
    for task in tasks:
        pair, side = find_side(root, encoder, task)
        table, entry = open_pair(root, task, pair, row_list=row_list)
        chosen = _block(table, entry, side) if block is None and not found else block
        chosen = found[0].block if chosen is None else chosen
        tokens = online.tokens(table, side, chosen) if online else _tokens(table, side, chosen)
        if isinstance(tokens, CachedTokens) and tokens.nbytes <= memory:
            memory -= tokens.nbytes
            tokens = tokens.in_memory()
        found.append(TaskSamples(table, entry, side, chosen, frame_boxes(table), tokens))
    _check_alike(found)
    return tuple(found)


def _block(table: Table, entry: PairEntry, side: Side) -> int:
    """The declared block if its tokens are cached, else the last whose tokens are."""
    cached = set.intersection(*(set(one[side].token_blocks) for one in table.features.values()))
    declared = table.declared_block(entry)
    return declared if declared in cached or not cached else max(cached)


def _tokens(table: Table, side: Side, block: int) -> CachedTokens:
    """The token maps of all rows of a table."""
    parts = tuple(sides[side] for sides in table.features.values())
    taken = table.chosen.values() if table.chosen else [np.arange(len(one.rows)) for one in parts]
    positions = list(taken)
    part = np.repeat(np.arange(len(parts)), [len(one) for one in positions])
    return cached_tokens(parts, block, part, np.concatenate(positions))


def _check_alike(tasks: Sequence[TaskSamples]) -> None:
    """Raise unless all tasks were seen by the same encoder on the same grid, as cached."""
    first = tasks[0]
    for one in tasks:
        tokens = one.grid[0] * one.grid[1] * one.frames
        if one.tokens.shape[0] != tokens:
            raise CacheError(
                f"Expected {one.frames} x {one.grid[0]} x {one.grid[1]} tokens for each row of "
                f"{one.name}, found {one.tokens.shape[0]}. Extract it again."
            )
        for what, wanted, here in (
            ("digest", first.features.encoder.digest, one.features.encoder.digest),
            ("grid", first.grid, one.grid),
            ("protocol", first.entry.protocol, one.entry.protocol),
        ):
            if wanted != here:
                raise PairingError(
                    f"Expected one encoder, seeing all tasks in the same way, but {first.name} "
                    f"has the {what} {wanted} and {one.name} {here}. Extract both with the same "
                    "options."
                )


def token_scale(tasks: Sequence[TaskSamples]) -> float:
    """Root mean square of the tokens of some training rows, the same for every seed."""
    squares = []
    for one in tasks:
        train = np.nonzero(one.table.splits == one.table.splits[0])[0]
        rows = train[:: max(1, len(train) // SCALE_ROWS)][:SCALE_ROWS]
        values = one.tokens.see(rows, {}, one.table.points[rows], None).tokens.double()
        squares.append(float(values.square().mean()))
    return float(np.sqrt(np.mean(squares)))
