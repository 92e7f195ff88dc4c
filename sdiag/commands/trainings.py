"""What commands that train SocialFusion many times share: options, settings, and one training."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from socialfusion.records import FusionRecord, FusionSettings

__all__ = [
    "Changes",
    "Device",
    "Encoder",
    "Margin",
    "SaveEvery",
    "Seeds",
    "Steps",
    "checker",
    "leads",
    "question_counts",
    "reference",
    "trainer",
]

Encoder = Annotated[
    str, typer.Option(help="Frozen encoder: PAIR:SIDE, or the name of a side of any pair.")
]
Steps = Annotated[
    int | None,
    typer.Option(help="Optimiser steps of each run. Default: that of train-socialfusion."),
]
Seeds = Annotated[
    int,
    typer.Option(help="Training seeds: 0, 1, ... Below three there are no verdicts.", min=1),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any other setting of train-socialfusion, as lora_rank=8 or language_model=DIR; "
        "repeat.",
    ),
]
Margin = Annotated[
    float, typer.Option(help="Points below which a difference is too small to matter.", min=0)
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1; for several GPUs start with accelerate launch.")
]
SaveEvery = Annotated[
    int, typer.Option(help="Steps between checkpoints; 0 for one at the end.", min=0)
]


def reference(
    encoder: str, tasks: Sequence[str] | None, steps: int | None, changes: list[str] | None
) -> "FusionSettings":
    """The settings that a comparison starts from.

    Args:
        encoder: As typed.
        tasks: Names; None for the five social scenes.
        steps: Optimiser steps; None for the default.
        changes: From `--set`.

    Raises:
        ConfigError: A change is not NAME=VALUE, or not a setting that can have that value.
    """
    from degradation.errors import ConfigError
    from socialfusion.defaults import default_settings
    from socialfusion.transfer.plan import changed

    given: dict[str, Any] = {}
    for text in changes or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"Expected NAME=VALUE for --set, as lora_rank=8; found {text!r}.")
        if name in ("encoder", "tasks", "seed", "steps"):
            raise ConfigError(f"Expected another setting for --set, found {name}. Use its option.")
        given[name] = None if (name, value) == ("block", "") else value
    vlm = str(given.get("vlm")).lower() in ("true", "1", "yes")
    return changed(default_settings(encoder, tasks, steps=steps, vlm=vlm), given)


def trainer(
    *,
    cache: Path,
    results: Path,
    device: str,
    save_every: int,
    data_root: Mapping[str, Path | None] | None = None,
) -> "Callable[[str, FusionSettings], None]":
    """A function that trains a run, from its last checkpoint if there is one.

    Args:
        cache: Root of all caches.
        results: Folder of the records.
        device: Of the training.
        save_every: Steps between checkpoints.
        data_root: Folder of the pictures by task, where they are read at every step.
    """
    from degradation.errors import InterruptedRun
    from socialfusion.run import Machine, train_socialfusion

    machine = Machine(device=device, save_every=save_every)

    def train(run: str, settings: "FusionSettings") -> None:
        try:
            train_socialfusion(
                run, settings, cache=cache, results=results, machine=machine, data_root=data_root,
                resume=True,
            )  # fmt: skip
        except InterruptedRun as stopped:
            raise InterruptedRun(
                f"Stopped as asked in the run {run}; what is done is saved. Go on with the same "
                "command."
            ) from stopped

    return train


def checker(cache: Path) -> "Callable[[FusionRecord], None]":
    """A function that refuses a run of other weights or rows than the cache holds now.

    Args:
        cache: Root of all caches.
    """
    from functools import cache as remembered

    from degradation.errors import PairingError
    from probes.table import open_pair
    from socialfusion.sources import find_side

    @remembered
    def now(encoder: str, task: str, row_list: str) -> dict[str, str]:
        """Digests of the encoder and of the rows of each split."""
        pair, side = find_side(cache, encoder, task)
        table, entry = open_pair(cache, task, pair, row_list=row_list)
        rows = {
            f"the {name} rows of {task}": one.rows_digest for name, one in table.cards().items()
        }
        return {"the encoder": table.features[entry.split][side].encoder.digest, **rows}

    def check(record: "FusionRecord") -> None:
        settings = record.settings
        if settings.online:
            return
        for task in settings.tasks:
            then = {
                f"the {name} rows of {task}": one.rows_digest
                for name, one in record.splits[task].items()
            }
            if not settings.vlm:  # which has a tower of its own
                then["the encoder"] = record.encoder.digest
            here = now(settings.encoder, task, settings.row_list)
            for what, digest in then.items():
                if here.get(what) != digest:
                    raise PairingError(
                        f"The run {record.run} is complete, but {what} in {cache} changed since. "
                        "Move the run's folder away, or give other --results, and run the same "
                        "command again."
                    )

    return check


def question_counts(cache: Path, settings: "FusionSettings") -> dict[str, int]:
    """How many questions each task asks, from its features in the cache.

    Raises:
        CacheError: The features of a task are not there.
    """
    from degradation.cache import open_features, pairs
    from socialfusion.sources import find_side

    entries = {(one.pair, one.task): one for one in pairs(cache)}
    counts = {}
    for task in settings.tasks:
        pair, _ = find_side(cache, settings.encoder, task)
        counts[task] = len(open_features(cache, entries[pair, task].pre).spec.metrics)
    return counts


def leads() -> bool:
    """Whether this process prints and writes what all of them have trained."""
    return os.environ.get("RANK", "0") == "0"
