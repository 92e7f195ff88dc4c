"""A whole run: train, test, and write down what came of it.

<results>/socialfusion/<run>/
    fusion.json  fusion-predictions.parquet      what came of it (`socialfusion.records`)
    checkpoint-000500/  ...                      to go on from, each loads as a model
    final/                                       the model as it was tested
"""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, tracking
from torch import nn

from degradation.cache.files import locked
from degradation.device import check_device
from degradation.errors import ConfigError, InterruptedRun
from socialfusion.assemble import built, check_settings, gathered, resumed, unfrozen
from socialfusion.checkpoint import (
    RunState,
    check_same,
    checkpoints,
    load_optimiser,
    read_state,
    remove_leftovers,
    write_folder,
)
from socialfusion.frozen import check_frozen, frozen_digests
from socialfusion.learner import Learner
from socialfusion.online import Online, load_online
from socialfusion.outcome import outcome
from socialfusion.place import Place
from socialfusion.records import (
    FINAL,
    FusionRecord,
    FusionSettings,
    read_fusion,
    run_folder,
    write_fusion,
)
from socialfusion.samples import QuestionSamples
from socialfusion.signals import asked_to_stop
from socialfusion.sources import default_memory, encoder_name, open_tasks
from socialfusion.stepping import Stepper, aggregator_of, optimiser_of
from socialfusion.train import Loop
from socialfusion.unfrozen import Unfrozen
from socialfusion.vlm.assemble import pictured
from socialfusion.vlm.model import Vlm
from socialfusion.vlm.samples import open_rows

__all__ = ["Machine", "train_socialfusion"]


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and how a run is computed: nothing that decides its numbers, up to rounding.

    Attributes:
        device: As torch names it; with several processes `cuda` is the process's own.
        memory: Bytes of token maps that may be held; None for a quarter of the machine's memory.
        save_every: Steps between checkpoints; 0 for one at the end.
        tracker: `tensorboard` or `wandb`, whose files lie in the run's folder; None for none.
        quiet: Whether no progress is shown.
    """

    device: str = "cpu"
    memory: float | None = None
    save_every: int = 0
    tracker: str | None = None
    quiet: bool = False


def train_socialfusion(
    run: str,
    settings: FusionSettings,
    *,
    cache: Path,
    results: Path,
    machine: Machine = Machine(),
    data_root: Mapping[str, Path | None] | None = None,
    resume: bool = False,
    generate: bool = False,
    asked: Callable[[], bool] | None = None,
) -> FusionRecord:
    """Train a model, test it, and write its record.

    Args:
        run: Name of the run, and of its folder.
        settings: What is trained.
        cache: Root of all caches.
        results: Folder of the records.
        machine: Where and how.
        data_root: Folder of the pictures by task, for `settings.from_pictures`.
        resume: Whether to go on from the last checkpoint, if there is one; a run that is complete
            is returned as it is.
        generate: Whether to let the model write its answers too, and compare.
        asked: Says after each step whether to stop; SIGTERM and SIGINT do so anyway.

    Raises:
        ConfigError: Settings that cannot be, a run of that name, or one of other settings.
        InterruptedRun: It was asked to stop, and has saved where it was.
        SdiagError: As everything it calls: data, cache and weights that are not as they should be.
    """
    check_settings(settings)
    folder = run_folder(results, run)
    if Path(run).name != run or run in ("", ".", ".."):
        raise ConfigError(f"Expected a plain name for the run, found {run!r}. Leave out slashes.")
    accelerator, place = _accelerator(machine, settings, folder)
    alone = locked(folder) if accelerator.is_main_process else nullcontext()
    with alone:
        if accelerator.is_main_process:
            remove_leftovers(folder)
        accelerator.wait_for_everyone()
        complete, state = _earlier(folder, settings, resume=resume)
        if complete is not None:
            return complete
        online = None
        if settings.from_pictures:
            name = encoder_name(cache, settings.encoder, settings.tasks[0])
            online = load_online(name, place, data_root or {})
        if settings.vlm:
            tasks = open_rows(cache, settings.encoder, settings.tasks, row_list=settings.row_list)
        else:
            tasks = open_tasks(
                cache,
                settings.encoder,
                settings.tasks,
                block=settings.block,
                row_list=settings.row_list,
                memory=default_memory() if machine.memory is None else machine.memory,
                online=online,
            )
        questions = gathered(tasks, settings)
        _check_shares(questions, settings, accelerator.num_processes)
        last = None if state is None else checkpoints(folder)[state.step]
        model = built(questions, settings) if last is None else resumed(last, state, questions)
        if isinstance(model, Vlm):
            questions = pictured(questions, model, data_root)
        if settings.train_encoder:
            model, questions = unfrozen(model, questions, online, last)
        before = model.language_digests()
        seeing = _tower_digests(online, model)
        if state is not None:
            check_frozen(state.language_model_digests, before)
        model.to(place.device)
        loop = _loop(model, questions, settings, folder, machine, accelerator, place, before)
        if last is not None:
            load_optimiser(last, loop.stepper.parameters, loop.stepper.optimiser)
            loop.resume(state)
        if machine.tracker:
            _start_tracker(accelerator, run, settings)
        with asked_to_stop() as signalled:
            loop.asked = lambda: signalled() or (asked is not None and asked())
            whole = loop.run()
        if machine.tracker:
            accelerator.end_training()
        if not whole:
            raise InterruptedRun(
                f"Stopped as asked after step {loop.step} of {settings.steps}, which is saved in "
                f"{folder}. Go on with the same command and --resume."
            )
        best = loop.take_best()
        model.eval()
        after = model.language_digests()
        check_frozen(before, after)
        check_frozen(seeing, _tower_digests(online, model))
        record, predictions = outcome(run, loop, before, after, best=best, generate=generate)
        if accelerator.is_main_process:
            write_folder(folder / FINAL, model.save_pretrained)
            write_fusion(folder, record, predictions)
        accelerator.wait_for_everyone()
        return record


def _tower_digests(online: Online | None, model: Learner) -> dict[str, str]:
    """Of what is frozen in an encoder that computes here; one that does not cannot change."""
    if isinstance(model, Unfrozen):
        return model.tower_digests()
    tower = None if online is None else online.encoder
    return frozen_digests(tower) if isinstance(tower, nn.Module) else {}


def _accelerator(
    machine: Machine, settings: FusionSettings, folder: Path
) -> tuple[Accelerator, Place]:
    """What knows the other processes, and where this one computes."""
    if machine.tracker:
        _check_tracker(machine.tracker)
    dtype = getattr(torch, settings.dtype)
    check_device(machine.device, dtype)
    cpu = torch.device(machine.device).type == "cpu"
    accelerator = Accelerator(cpu=cpu, log_with=machine.tracker, project_dir=folder)
    alone = accelerator.num_processes == 1
    device = torch.device(machine.device) if alone else accelerator.device
    return accelerator, Place(device, dtype, accelerator.process_index, accelerator.num_processes)


def _earlier(
    folder: Path, settings: FusionSettings, *, resume: bool
) -> tuple[FusionRecord | None, RunState | None]:
    """What an earlier run of that name left: its record, or the state of its last checkpoint.

    Raises:
        ConfigError: It is not to be gone on with, or had other settings.
        DataError: It cannot be read.
    """
    record, saved = read_fusion(folder), checkpoints(folder)
    if not resume:
        if record is not None or saved:
            raise ConfigError(
                f"Expected no run in {folder}, found one. Give --resume to go on with it, another "
                "--run, or delete the folder."
            )
        return None, None
    if record is not None:
        check_same(record.settings, settings, folder)
        return record, None
    return None, read_state(saved[max(saved)], settings) if saved else None


def _check_shares(
    questions: Mapping[str, QuestionSamples], settings: FusionSettings, processes: int
) -> None:
    """Refuse batches with fewer rows than processes."""
    shared = settings.mixing == "equal" and settings.budget == "total"
    rows = settings.batch_size // (len(questions) if shared else 1)
    if processes > 1 and rows < processes:
        raise ConfigError(
            f"Expected at least {processes} rows of a question in a batch, one for each process, "
            f"found {rows}. Give a larger --batch-size, or fewer processes."
        )


def _loop(
    model: Learner,
    questions: Mapping[str, QuestionSamples],
    settings: FusionSettings,
    folder: Path,
    machine: Machine,
    accelerator: Accelerator,
    place: Place,
    before: Mapping[str, str],
) -> Loop:
    """A run at its beginning."""
    parameters = model.trained_parameters()
    stepper = Stepper(
        model=model,
        parameters=parameters,
        optimiser=optimiser_of(parameters, settings),
        settings=settings,
        place=place,
        accelerator=accelerator,
        aggregator=aggregator_of(settings.aggregator) if settings.aggregator else None,
    )
    first = next(iter(questions.values())).task
    identity = {
        "settings": settings,
        "encoder_digest": first.features.encoder.digest,
        "rows": {label: one.rows_digest() for label, one in questions.items()},
        "language_model_digests": dict(before),
    }
    ahead = any(one.task.tokens.slow for one in questions.values())
    return Loop(
        stepper=stepper,
        questions=questions,
        folder=folder,
        identity=identity,
        save_every=machine.save_every,
        ahead=ahead,
        asked=lambda: False,
        quiet=machine.quiet,
        seen=dict.fromkeys(questions, 0),
    )


def _check_tracker(tracker: str) -> None:
    """Refuse a tracker that is not installed.

    Raises:
        ConfigError: It is not.
    """
    if tracker not in [str(one) for one in tracking.get_available_trackers()]:
        raise ConfigError(
            f"Expected {tracker} to be installed, but accelerate does not find it. Run "
            "`pip install 'sdiag[tracking]'`, or leave --tracker out."
        )


def _start_tracker(accelerator: Accelerator, run: str, settings: FusionSettings) -> None:
    """Begin to send curves, with the settings beside them."""
    values = {
        name: "+".join(value) if isinstance(value, tuple) else value
        for name, value in settings.model_dump().items()
        if value is not None
    }
    accelerator.init_trackers(run, config=values)
