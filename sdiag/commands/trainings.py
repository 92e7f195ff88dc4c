"""What commands that train SocialFusion share: options, settings, and the runs of a comparison."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from socialfusion.records import FusionRecord, FusionSettings
    from socialfusion.transfer.plan import PlannedRun
    from socialfusion.transfer.run import Runs

__all__ = [
    "Budget",
    "Changes",
    "Device",
    "Encoder",
    "Margin",
    "SaveEvery",
    "Seeds",
    "Steps",
    "TrainedTasks",
    "checker",
    "extract_embedded",
    "leads",
    "question_counts",
    "record_name",
    "reference",
    "trained",
    "trainer",
]


class Budget(StrEnum):
    """Whether steps and rows of a batch are counted for each question, or for all together."""

    PER_TASK = "per-task"
    TOTAL = "total"


Encoder = Annotated[
    str, typer.Option(help="Frozen encoder: PAIR:SIDE, or the name of a side of any pair.")
]
TrainedTasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task",
        "-t",
        help="Task name, or NAME=DIR; repeat for several. Default: the five social scenes.",
    ),
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


def record_name(settings: "FusionSettings") -> str:
    """A file name for what is trained: the encoder, `tiny-pre`, or a VLM that has its own."""
    name = settings.language_model if settings.vlm else settings.encoder
    return "".join(one if one.isalnum() or one in "-_." else "-" for one in name)


def extract_embedded(encoder: str, cache: Path, tasks: tuple[str, ...]) -> None:
    """Fill an empty cache with the embedded pair, if that is what is asked for."""
    from degradation.cache import pairs

    if encoder not in ("tiny:pre", "tiny:post") or pairs(cache):
        return
    from degradation.encoders.registry import get_pair
    from degradation.protocol import Protocol
    from degradation.tasks.registry import DEFAULT_TASKS
    from sdiag.commands.extract import extract_pairs

    if set(tasks) <= set(DEFAULT_TASKS):
        print(f"No features in {cache} yet: extracting the pair tiny first.", file=sys.stderr)
        extract_pairs({get_pair("tiny"): Protocol()}, list(tasks), None, cache, token_blocks=(2,))


def trained(
    runs: "Iterable[PlannedRun]",
    *,
    cache: Path,
    results: Path,
    device: str,
    save_every: int,
    data_root: Mapping[str, Path | None] | None = None,
) -> "Runs":
    """All runs of a comparison; those without a record are trained, from their last checkpoints.

    Args:
        runs: Equal ones are trained once.
        cache: Root of all caches.
        results: Folder of the records.
        device: Of the training.
        save_every: Steps between checkpoints.
        data_root: Folder of the pictures by task, where they are read at every step.

    Raises:
        DataError: A record cannot be read, is of other settings, or was not written.
        InterruptedRun: It was asked to stop, and has saved where it was.
        PairingError: A run is of other weights or rows than the cache holds now.
        SdiagError: As training.
    """
    from socialfusion.transfer.run import Runs
    from socialfusion.transfer.sweep import sweep

    train = trainer(
        cache=cache, results=results, device=device, save_every=save_every, data_root=data_root
    )
    records = sweep(runs, train, results=results, check=checker(cache), progress=leads())
    return Runs(results, records)


def trainer(
    *,
    cache: Path,
    results: Path,
    device: str,
    save_every: int,
    data_root: Mapping[str, Path | None] | None,
) -> "Callable[[str, FusionSettings], None]":
    """A function that trains a run, from its last checkpoint if there is one; args of `trained`."""
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
