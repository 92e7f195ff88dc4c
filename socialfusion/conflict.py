"""Gradient conflict of a SocialFusion run: its own losses, at several steps of its training.

The questions of the run are asked of the same batches at every step, so that steps can be compared.
Rows and tokens are those of the training; dropout is off.

Where a joint loss no longer falls, the gradients of its questions on the rows trained on sum to
nothing, so that they must oppose each other: late conflict on these rows says that training has
converged, not that the questions hinder each other. Rows of the test split are free of that.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from degradation.device import check_device
from degradation.errors import ConfigError, WeightsError
from probes.conflict.batches import Candidates, Dealt, deal
from probes.conflict.estimates import DRAWS
from probes.conflict.measure import Objective
from probes.conflict.models import Model
from probes.conflict.records import ConflictRecord, Head, QuestionCard
from probes.conflict.run import Terms, conflict_of
from probes.conflict.sketch import CELLS
from socialfusion.assemble import gathered
from socialfusion.checkpoint import load_optimiser
from socialfusion.config import check_encoder
from socialfusion.model import SocialFusion
from socialfusion.online import load_online
from socialfusion.outcome import trained_digest
from socialfusion.place import Place
from socialfusion.records import FusionSettings
from socialfusion.samples import QuestionSamples
from socialfusion.saved import Saved, SavedRun, open_run
from socialfusion.sources import default_memory, encoder_name, open_tasks
from socialfusion.stepping import optimiser_of

__all__ = ["CheckpointSettings", "conflict_run"]

log = logging.getLogger(__name__)

ALL = "all"
PREFIXES = {
    "connector": "connector.",
    "lora": "language_model.",
    "boxes": "boxes.",
    "heatmap": "heatmap.",
}
"""How names of trained parameters begin, by part."""
FROZEN = ("encoder", "language", "blocks", "vision")
METRIC = (
    "Adam: products in the metric 1 / (sqrt(v) + eps), v the second moment in the optimiser state "
    "of each checkpoint, with its bias correction, and its eps"
)


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """How the gradient conflict of a run is measured.

    Attributes:
        parameters: `all` that is trained, or `connector`, `lora`, `boxes` or `heatmap`.
        batch_size: Rows in a batch.
        batches: Of each question; fewer where rows or clusters do not suffice.
        split: Whose rows: those trained on, looked at on the way, or tested.
        exact: Whether products are exact; else from sketches, which takes less memory.
        cells: Numbers kept of a gradient in a sketch.
        adam: Whether gradients are measured in the metric of Adam's step.
        device: Where the model computes; its arithmetic is that of the training.
        micro_batch: Rows in one backward pass; None for whole batches.
        seed: Decides batches, sketches and swaps.
        draws: Label swaps behind the null.
    """

    parameters: str = ALL
    batch_size: int = 16
    batches: int = 32
    split: Literal["train", "val", "test"] = "train"
    exact: bool = True
    cells: int = CELLS
    adam: bool = False
    device: str = "cpu"
    micro_batch: int | None = None
    seed: int = 0
    draws: int = DRAWS


def conflict_run(
    folder: Path,
    settings: CheckpointSettings,
    *,
    cache: Path,
    steps: Sequence[str] = (),
    tasks: Sequence[str] = (),
    data_root: Mapping[str, Path | None] | None = None,
    progress: bool = True,
) -> ConflictRecord:
    """Measure the gradient conflict between the questions of a run, at several of its steps.

    Args:
        folder: Of the run; the record goes there, as `gcd.json`.
        settings: How to measure.
        cache: Root of all caches.
        steps: Numbers of saved steps, or `final`; empty for all that are saved.
        tasks: Whose questions; empty for all tasks of the run.
        data_root: Folder of the pictures by task, for a run that computes its tokens from them.
        progress: Show a bar on stderr.

    Returns:
        The record, as written: a side for each step, `step-000500` or `final`, and changes against
        the first of them.

    Raises:
        CacheError: Features are not in the cache, or the disk is full.
        ConfigError: There is no such run, step or task; parameters that are frozen or not there;
            one question only; rows that are not those of the run; no optimiser state.
        DataError: A question has too few rows or clusters for two batches; a loss is not finite.
        PairingError: The cache holds another encoder than the run was trained on.
        WeightsError: A checkpoint is damaged, or not the one of the record.
    """
    _check_part(settings.parameters)
    run = open_run(folder, steps, adam=settings.adam)
    place = Place(torch.device(settings.device), getattr(torch, run.settings.dtype))
    check_device(settings.device, place.dtype)
    questions = _questions(run, settings, cache, place, tasks, data_root or {})
    rows = {label: _split_of(one, settings.split) for label, one in questions.items()}
    candidates = [
        Candidates(label, one.task.name, rows[label], one.task.table.clusters[rows[label]])
        for label, one in questions.items()
    ]
    dealt = deal(
        candidates, batches=settings.batches, batch_size=settings.batch_size, seed=settings.seed
    )
    if dealt.batches < settings.batches:
        log.warning(
            "%s has rows for %d batches of %d that share no cluster, so all questions have no more "
            "than that instead of %d.", dealt.scarce, dealt.batches, settings.batch_size,
            settings.batches,
        )  # fmt: skip
    terms = _terms(run, settings, questions, dealt)
    models = _models(run, settings, questions, dealt, place)
    return conflict_of(models, terms, folder, progress=progress)


def _check_part(parameters: str) -> None:
    """Refuse parts that are not trained, before anything is opened."""
    if parameters in (ALL, *PREFIXES):
        return
    frozen = parameters.startswith(FROZEN)
    raise ConfigError(
        f"Expected parameters that SocialFusion trains, {', '.join(PREFIXES)} or {ALL}, found "
        f"{parameters!r}{', which stays frozen in its training' if frozen else ''}. For gradients "
        "of the encoder leave --checkpoint out."
    )


def _questions(
    run: SavedRun,
    settings: CheckpointSettings,
    cache: Path,
    place: Place,
    tasks: Sequence[str],
    data_root: Mapping[str, Path | None],
) -> dict[str, QuestionSamples]:
    """The questions that the parameters matter to, with the rows of the training, by label."""
    trained = run.settings
    if absent := [one for one in tasks if one not in trained.tasks]:
        raise ConfigError(
            f"{run.folder} was trained on {', '.join(trained.tasks)}, not on {absent[0]}. Name "
            "tasks of the run, or none for all."
        )
    online = None
    if trained.online:
        name = encoder_name(cache, trained.encoder, trained.tasks[0])
        online = load_online(name, place, data_root)
    opened = open_tasks(
        cache,
        trained.encoder,
        tuple(tasks) or trained.tasks,
        block=trained.block,
        row_list=trained.row_list,
        memory=default_memory(),
        online=online,
    )
    found = gathered(opened, trained)
    for label, one in found.items():
        run.check_rows(label, one.rows_digest())
    kept = {label: one for label, one in found.items() if _uses(one, settings.parameters, trained)}
    if len(kept) < 2:
        raise ConfigError(
            "Conflict is between two questions or more, but the parameters asked for "
            f"({settings.parameters}) serve {', '.join(kept) or 'none'} of {', '.join(found)}. "
            "Choose other parameters, more tasks, or a run that was trained on more."
        )
    if left := [label for label in found if label not in kept]:
        log.warning(
            "%s left out: no loss of theirs depends on %s.", ", ".join(left), settings.parameters
        )
    return kept


def _uses(samples: QuestionSamples, parameters: str, trained: FusionSettings) -> bool:
    """Whether the loss of a question depends on a part of the model."""
    if parameters == "heatmap":
        return samples.question.kind == "gaze"
    return parameters != "boxes" or (trained.box_masks and bool(samples.question.roles))


def _split_of(samples: QuestionSamples, split: str) -> Int64[np.ndarray, " k"]:
    """The rows of a question that may be in its batches."""
    return {"train": samples.train, "val": samples.validation, "test": samples.test}[split]


def _terms(
    run: SavedRun,
    settings: CheckpointSettings,
    questions: Mapping[str, QuestionSamples],
    dealt: Dealt,
) -> Terms:
    """What all steps have in common."""
    return Terms(
        model=f"socialfusion/{run.folder.name}",
        questions=tuple(
            _card(one, dealt.rows[label], len(_split_of(one, settings.split)))
            for label, one in questions.items()
        ),
        parameters=settings.parameters,
        split=settings.split,
        batch_size=settings.batch_size,
        batches=dealt.batches,
        batches_asked=settings.batches,
        row_list=run.settings.row_list,
        arithmetic=run.settings.dtype,
        exact=settings.exact,
        cells=settings.cells,
        seed=settings.seed,
        draws=settings.draws,
        metric=METRIC if settings.adam else "",
    )


def _card(samples: QuestionSamples, rows: Int64[np.ndarray, "m b"], available: int) -> QuestionCard:
    """One question and the rows of its batches."""
    table, question = samples.task.table, samples.question
    return QuestionCard(
        label=question.label,
        task=question.task,
        question=question.name,
        social=question.social,
        kind=question.kind,
        block=None,
        n=rows.size,
        clusters=len(set(table.clusters[rows.ravel()])),
        available=available,
        rows_digest=_rows_digest(samples, rows.ravel()),
    )


def _rows_digest(samples: QuestionSamples, rows: Int64[np.ndarray, " n"]) -> str:
    """SHA-256 over ids and pixel hashes, in the order of the batches."""
    table, side = samples.task.table, samples.task.side
    hashes = []
    for split, sides in table.features.items():
        own = sides[side].pixel_hashes
        hashes.append(own[table.chosen[split]] if table.chosen else own)
    sha = hashlib.sha256("\x00".join(table.ids[rows].astype(str)).encode())
    sha.update(np.ascontiguousarray(np.concatenate(hashes)[rows]).tobytes())
    return sha.hexdigest()


def _models(
    run: SavedRun,
    settings: CheckpointSettings,
    questions: Mapping[str, QuestionSamples],
    dealt: Dealt,
    place: Place,
) -> Iterator[Model]:
    """The model of each step, one after the other, so that only one is in memory."""
    first = next(iter(questions.values())).task
    for saved in run.steps:
        model = SocialFusion.from_pretrained(saved.folder)
        check_encoder(model.config, first.features.encoder)
        digest = _checked_digest(model, saved)
        model.to(place.device)
        trained = model.trained_parameters()
        scale = _adam_metric(saved.folder, trained, run.settings) if settings.adam else None
        parameters = {
            name: one
            for name, one in trained.items()
            if name.startswith(PREFIXES.get(settings.parameters, ""))
        }
        model.requires_grad_(False)
        for one in parameters.values():
            one.requires_grad_(True)
        yield Model(
            name=saved.name,
            labels="own",
            model=f"{run.folder.name}/{saved.folder.name}",
            digest=digest,
            step=saved.step,
            objectives=tuple(
                Objective(
                    label, _losses(model, one, dealt.rows[label], place, settings.micro_batch)
                )
                for label, one in questions.items()
            ),
            spare=(),
            parameters=parameters,
            place=f"block={first.block}|heads=own, gaze loss x {model.config.heatmap_weight:g}",
            heads=lambda: _heads(questions),
            scale=scale,
        )


def _checked_digest(model: SocialFusion, saved: Saved) -> str:
    """Digest of what was trained, after comparing it with that of the record."""
    digest = trained_digest(model)
    if saved.digest not in (None, digest):
        raise WeightsError(
            f"Expected the weights that the record of the run was made from in {saved.folder} "
            f"(digest {saved.digest[:12]}), found others ({digest[:12]}). Train the run again, or "
            "name saved steps with --step."
        )
    return digest


def _losses(
    model: SocialFusion,
    samples: QuestionSamples,
    batches: Int64[np.ndarray, "m b"],
    place: Place,
    micro_batch: int | None,
) -> Callable[[int], Iterator[Tensor]]:
    """A function that gives the losses of the micro-batches of batch m; they sum to its mean."""

    def losses(m: int) -> Iterator[Tensor]:
        rows = batches[m]
        size = micro_batch or len(rows)
        for start in range(0, len(rows), size):
            batch = place.put(samples.batch(rows[start : start + size]))
            with place.arithmetic():
                each = model(batch)
            yield each.sum() / len(rows)

    return losses


def _heads(questions: Mapping[str, QuestionSamples]) -> tuple[Head, ...]:
    """Cards of the model's own ways to answer."""
    return tuple(
        Head(
            label=label, probe="own", strength=None, strength_from="training", fitted=len(one.train)
        )
        for label, one in questions.items()
    )


def _adam_metric(
    folder: Path, parameters: Mapping[str, nn.Parameter], settings: FusionSettings
) -> dict[str, Float32[Tensor, "..."]]:
    """D = sqrt(v / (1 - beta2^t)) + eps by parameter: what Adam divided its next step by.

    Kingma and Ba (2015), algorithm 1, as `torch.optim.AdamW` computes it.

    Args:
        folder: Of the checkpoint.
        parameters: Everything that is trained.
        settings: Of the run.

    Raises:
        WeightsError: The moments do not fit the parameters.
    """
    optimiser = optimiser_of(parameters, settings)
    load_optimiser(folder, parameters, optimiser)
    (group,) = optimiser.param_groups
    beta, epsilon = group["betas"][1], group["eps"]
    found = {}
    for name, one in parameters.items():
        if one in optimiser.state:
            own = optimiser.state[one]
            correction = 1 - beta ** own["step"].item()
            found[name] = (own["exp_avg_sq"] / correction).sqrt() + epsilon
    return found
