"""Checkpoints: folders that are whole or absent, from which a run goes on as if never stopped.

A checkpoint is what `save_pretrained` writes, so it loads as a model, and beside it
`optimizer.safetensors` (Adam's moments by parameter name: `exp_avg/NAME`, `exp_avg_sq/NAME` and
`step/NAME`) and `state.json` (everything else: step, rows seen, curves, what was best). All
randomness of a run follows from its seed, the step and the rows seen, so that there is no state
of a generator to keep.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import Float
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from degradation.cache.files import sync
from degradation.errors import CacheError, ConfigError, DataError, WeightsError
from probes.records import Record
from socialfusion.records import FusionSettings, LossPoint, Stop, ValidationPoint

__all__ = [
    "OPTIMISER",
    "STATE",
    "RunState",
    "check_same",
    "checkpoints",
    "load_optimiser",
    "read_state",
    "remove_leftovers",
    "save_checkpoint",
    "write_folder",
]

OPTIMISER, STATE = "optimizer.safetensors", "state.json"
_PART, _OLD = ".part", ".old"
_NAME = re.compile(r"checkpoint-(\d{6,})")
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class RunState(Record):
    """Where a run is, beside its weights and moments."""

    schema_version: int = 1
    settings: FusionSettings
    encoder_digest: str
    rows: dict[str, str]
    """Digest of the rows of each question."""
    step: int
    """Steps taken."""
    seen: dict[str, int]
    """Rows of each question drawn."""
    losses: tuple[LossPoint, ...]
    sums: dict[str, tuple[float, float]]
    """Of what the next point of the curve is the mean: sum and count, by question and in all."""
    validation: tuple[ValidationPoint, ...]
    best: dict[str, float]
    waited: dict[str, int]
    stops: dict[str, Stop]
    mean: float | None
    best_step: int
    """The step with the best mean validation loss; its weights lie in `best-NNNNNN`."""
    seconds: float
    language_model_digests: dict[str, str]
    """Of each frozen tensor before training."""


def _checkpoint_folder(run: Path, step: int) -> Path:
    """Folder of the checkpoint after so many steps: `checkpoint-000500`."""
    return run / f"checkpoint-{step:06d}"


def checkpoints(run: Path) -> dict[int, Path]:
    """The whole checkpoints of a run by step, in rising order."""
    found = {
        int(match[1]): path
        for path in run.glob("checkpoint-*")
        if (match := _NAME.fullmatch(path.name)) and (path / STATE).is_file()
    }
    return dict(sorted(found.items()))


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a folder so that at any moment it is whole, as it was before, or absent.

    Args:
        folder: What is there already is replaced.
        write: Called with a temporary folder beside it.

    Raises:
        CacheError: The disk is full or cannot be written; no temporary folder is left.
    """
    part = folder.with_name(f"{folder.name}{_PART}")
    old = folder.with_name(f"{folder.name}{_OLD}")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        write(part)
        for path in (*sorted(part.rglob("*")), part):
            sync(path)
        # A folder cannot be renamed onto one that is not empty.
        shutil.rmtree(old, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.rename(folder, old)
        os.rename(part, folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise CacheError(
            f"Could not write {folder}: {error.strerror or error}. Earlier checkpoints are kept: "
            "make room or mend the folder, and go on with --resume."
        ) from error


def remove_leftovers(run: Path) -> None:
    """Mend what a killed process left: unfinished folders go, replaced ones come back if need be.

    Call it only while no other process writes into the run.
    """
    for old in run.glob(f"*{_OLD}"):
        folder = old.with_name(old.name.removesuffix(_OLD))
        if folder.exists():
            shutil.rmtree(old)
        else:
            os.rename(old, folder)
    for part in run.glob(f"*{_PART}"):
        if part.is_dir():
            shutil.rmtree(part)


def save_checkpoint(
    run: Path,
    model: nn.Module,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.AdamW,
    state: RunState,
) -> Path:
    """Write the checkpoint after `state.step` steps; returns its folder.

    Args:
        run: Folder of the run.
        model: Has `save_pretrained`.
        parameters: What is trained, by name.
        optimiser: Of these parameters.
        state: Everything else.

    Raises:
        CacheError: The disk is full or cannot be written.
    """

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        save_file(_moments(parameters, optimiser), folder / OPTIMISER)
        (folder / STATE).write_text(state.model_dump_json(indent=1) + "\n", encoding="utf-8")

    folder = _checkpoint_folder(run, state.step)
    write_folder(folder, write)
    return folder


def _moments(
    parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.AdamW
) -> dict[str, Float[Tensor, "..."]]:
    """Adam's state by name; nothing of a parameter that had no gradient yet."""
    return {
        f"{moment}/{name}": optimiser.state[parameter][moment].detach().cpu().contiguous()
        for name, parameter in parameters.items()
        if parameter in optimiser.state
        for moment in _MOMENTS
    }


def load_optimiser(
    folder: Path, parameters: Mapping[str, nn.Parameter], optimiser: torch.optim.AdamW
) -> None:
    """Put the moments of a checkpoint into an optimiser.

    Raises:
        WeightsError: They are missing or do not fit the parameters.
    """
    path = folder / OPTIMISER
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"Expected Adam's moments in {path}, but they cannot be read ({error}). Delete "
            f"{folder} to go on from the checkpoint before."
        ) from error
    names = sorted({name.partition("/")[2] for name in stored})
    shapes = {name: tuple(tensor.shape) for name, tensor in stored.items()}
    if odd := [
        name
        for name in names
        if name not in parameters
        or any(
            shapes.get(f"{moment}/{name}") != wanted
            for moment, wanted in zip(
                _MOMENTS, (*[tuple(parameters[name].shape)] * 2, ()), strict=True
            )
        )
    ]:
        raise WeightsError(
            f"Expected Adam's moments of the trained parameters in {path}, but {odd[0]} does not "
            f"fit. Delete {folder} to go on from the checkpoint before."
        )
    for name in names:
        parameter = parameters[name]
        optimiser.state[parameter] = {
            moment: stored[f"{moment}/{name}"].to("cpu" if moment == "step" else parameter.device)
            for moment in _MOMENTS
        }


def read_state(folder: Path, settings: FusionSettings | None) -> RunState:
    """The state of a checkpoint, after checking that it belongs to these settings.

    Args:
        folder: Of the checkpoint.
        settings: Of the run; None to take those of the checkpoint.

    Raises:
        DataError: It cannot be read.
        ConfigError: It was made with other settings.
    """
    path = folder / STATE
    try:
        state = RunState.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise DataError(
            f"Expected the state of a run in {path}, but it cannot be read ({first}). Delete "
            f"{folder} to go on from the checkpoint before."
        ) from error
    if settings is not None:
        check_same(state.settings, settings, folder)
    return state


def check_same(then: FusionSettings, now: FusionSettings, folder: Path) -> None:
    """Check that a run is gone on with as it was begun.

    Raises:
        ConfigError: Naming the first setting that differs.
    """
    for name in FusionSettings.model_fields:
        if (before := getattr(then, name)) != (wanted := getattr(now, name)):
            raise ConfigError(
                f"Expected the settings that {folder} was made with, but {name} was {before!r} "
                f"and is now {wanted!r}. Resume with the same settings, or give another --run."
            )
