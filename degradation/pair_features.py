"""A whole pair on a whole task, from names or records to features in the cache."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from degradation.encoders import registry
from degradation.encoders.encoder import Encoder
from degradation.encoders.pair import Pair
from degradation.encoders.random_init import random_name
from degradation.extract import ExtractReport, extract
from degradation.protocol import Protocol
from degradation.tasks.registry import get_task
from degradation.tasks.task import Task

__all__ = ["extract_pair", "load_sides"]


def extract_pair(
    root: Path,
    task: Task | str,
    pair: Pair | str,
    *,
    data_root: Path | None = None,
    protocol: Protocol | None = None,
    splits: Sequence[str] | None = None,
    weights: Path | None = None,
    offline: bool = False,
    random_init: bool = False,
    device: str = "cpu",
    **options: Any,
) -> list[ExtractReport]:
    """Extract the features of both sides of a pair on every split of a task.

    Args:
        root: Root of all caches.
        task: A task, or the name of one.
        pair: A pair, or the name of a registered one.
        data_root: Folder of the data, for a task given by name.
        protocol: How pictures become features; the standard one if None.
        splits: Names; all if None.
        weights: Folder in which published repositories are looked for first.
        offline: Make no request to the hub.
        random_init: Whether to extract the architecture with fresh weights, too.
        device: Torch device.
        options: Of `degradation.extract.extract`: blocks, token_blocks, batch_size, workers ...

    Returns:
        What was done, one report a split.

    Raises:
        ConfigError: No task or pair has that name, or an option does not fit.
        SdiagError: As `load_encoder` and `extract`.
    """
    task = get_task(task, data_root=data_root) if isinstance(task, str) else task
    pair = registry.get_pair(pair) if isinstance(pair, str) else pair
    protocol = protocol or Protocol()
    pre, post, random = load_sides(
        pair, protocol, device=device, weights=weights, offline=offline, random_init=random_init
    )
    return [
        extract(
            task, split, pair, pre, post, root=root, protocol=protocol, device=device,
            random=random, **options,
        )
        for split in splits or task.splits
    ]  # fmt: skip


def load_sides(
    pair: Pair,
    protocol: Protocol,
    *,
    device: str = "cpu",
    weights: Path | None = None,
    revisions: tuple[str | None, str | None] = (None, None),
    offline: bool = False,
    random_init: bool = False,
) -> tuple[Encoder, Encoder, Encoder | None]:
    """Both encoders of a pair as a protocol wants them, and one with fresh weights if asked for.

    Args:
        pair: The pair.
        protocol: Decides size, positions, shape and norm.
        device: Torch device.
        weights: Folder in which published repositories are looked for first.
        revisions: Of the repositories before and after.
        offline: Make no request to the hub.
        random_init: Whether to build the architecture before with fresh weights, too.

    Raises:
        SdiagError: As `load_encoder`.
    """
    any_grid = protocol.geometry.kind == "native"
    load = partial(
        registry.load_encoder,
        device=device,
        weights=weights,
        offline=offline,
        interpolation=None if protocol.positions == "none" else protocol.positions,
        any_grid=any_grid,
        final_norm=protocol.stage == "native_norm",
    )
    pre = load(pair.pre, size=protocol.geometry.size, revision=revisions[0])
    size = None if any_grid else pre.info.size
    post = load(pair.post, size=size, revision=revisions[1])
    if not random_init:
        return pre, post, None
    return pre, post, load(random_name(pair.pre), size=size, revision=revisions[0])
