"""The part of `sdiag gcd` that is about a SocialFusion run and not about encoders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probes.conflict.records import ConflictRecord

__all__ = ["check_options", "conflict_of_run"]


def check_options(checkpoint: str | None, others: Mapping[str, object]) -> None:
    """Refuse `--step` without a run, and options of encoders beside one.

    Args:
        checkpoint: The run; None where only `--step` was given.
        others: Values of options that are about encoders, by name.

    Raises:
        ConfigError: Naming the option.
    """
    from degradation.errors import ConfigError

    if checkpoint is None:
        raise ConfigError("Expected --checkpoint RUN for --step, found none. Name the run.")
    if given := [name for name, value in others.items() if value]:
        raise ConfigError(
            f"Expected no {' and no '.join(given)} with --checkpoint: tasks, rows, arithmetic and "
            "models are those of the run. Leave them out."
        )


def conflict_of_run(
    checkpoint: str,
    *,
    cache: Path,
    results: Path,
    steps: Sequence[str],
    tasks: Mapping[str, Path | None],
    parameters: str | None,
    batch_size: int,
    batches: int,
    split: str | None,
    exact: bool,
    adam: bool,
    device: str,
    micro_batch: int | None,
    seed: int,
) -> "ConflictRecord":
    """The gradient conflict of a run, from the options of the command.

    Args:
        checkpoint: Folder of the run, or its name.
        cache: Root of all caches.
        results: Folder of the records.
        steps: Numbers, or `final`; empty for all.
        tasks: By name, with the folder of their pictures; empty for all tasks of the run.
        parameters: Part of the model; None for all that is trained.
        batch_size: Rows in a batch.
        batches: Of each question.
        split: Whose rows; None for those trained on.
        exact: Whether products are exact.
        adam: Whether in the metric of Adam's step.
        device: Where to compute.
        micro_batch: Rows in one backward pass.
        seed: Of batches, sketches and swaps.

    Raises:
        ConfigError: There is no such split.
        SdiagError: As `socialfusion.conflict.conflict_run`.
    """
    from degradation.errors import ConfigError
    from socialfusion.conflict import CheckpointSettings, conflict_run
    from socialfusion.saved import find_run

    if split not in (None, "train", "val", "test"):
        raise ConfigError(f"Expected --split train, val or test, found {split!r}.")
    settings = CheckpointSettings(
        parameters=parameters or "all",
        batch_size=batch_size,
        batches=batches,
        split=split or "train",
        exact=exact,
        adam=adam,
        device=device,
        micro_batch=micro_batch,
        seed=seed,
    )
    return conflict_run(
        find_run(checkpoint, results),
        settings,
        cache=cache,
        steps=steps,
        tasks=tuple(tasks),
        data_root=tasks,
    )
