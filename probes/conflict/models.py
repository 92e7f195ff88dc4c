"""The models whose gradients are measured: here both encoders of a pair, under fitted heads."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from degradation.axes import SIDES, Side
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.planted import PlantedEncoder
from degradation.encoders.registry import load_encoder
from degradation.errors import ConfigError, WeightsError
from probes.conflict.heads import FittedHead, fit_head, pooled_features, swapped_labels
from probes.conflict.measure import Objective
from probes.conflict.objectives import EncoderLoss, chosen_parameters, reached
from probes.conflict.records import Head, Labels
from probes.conflict.study import AskedTask, Study
from probes.folders import record_folder
from probes.problems import Features
from probes.questions import ClassQuestion
from probes.record_files import read_record
from probes.records import RunRecord
from probes.runs import RECORD

__all__ = ["EPSILON", "Model", "adam_scale", "encoder_models"]

log = logging.getLogger(__name__)

EPSILON = 1e-8
"""Added to the root of the second moment, as Adam does by default."""
FROM_RUN = "run record"


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One model, ready for its gradients to be measured.

    Attributes:
        name: Of the side in the record: `pre`, `post`, `step-000500`.
        labels: Whether the heads were fitted on the rows' own labels.
        model: What it is called.
        digest: Of its weights.
        step: Training step, of a checkpoint on the way.
        objectives: One for each question, of the batches that are measured.
        spare: The same of batches for the preconditioner; empty without one.
        parameters: By name, all of them reached by some loss.
        place: Where the losses are taken, for the signature: `block=2|heads=fitted, linear`.
        heads: Cards of the heads; complete when all batches have been measured.
        scale: The preconditioner D by name, of a model that comes with one; else it is estimated on
            the spare batches, if there are any.
    """

    name: str
    labels: Labels
    model: str
    digest: str
    step: int | None
    objectives: tuple[Objective, ...]
    spare: tuple[Objective, ...]
    parameters: Mapping[str, nn.Parameter]
    place: str
    heads: Callable[[], tuple[Head, ...]]
    scale: Mapping[str, Tensor] | None = None


def adam_scale(
    objectives: Sequence[Objective], parameters: Mapping[str, nn.Parameter], *, batches: int
) -> dict[str, Tensor]:
    """D = sqrt(v) + eps by parameter, where v is the mean square of all batch gradients.

    Adam's second moment is a running mean of squared gradients; that of a model that only takes
    turns at the questions, without moving, is this one.

    Args:
        objectives: On batches that are not measured.
        parameters: By name.
        batches: Of each objective.

    Returns:
        What `probes.conflict.measure` takes as preconditioner.
    """
    square = {name: torch.zeros_like(one) for name, one in parameters.items()}
    for m in range(batches):
        for objective in objectives:
            total = {name: torch.zeros_like(one) for name, one in parameters.items()}
            for loss in objective.losses(m):
                grads = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
                for own, grad in zip(total.values(), grads, strict=True):
                    if grad is not None:
                        own += grad
            for name, own in total.items():
                square[name] += own.square()
    count = batches * len(objectives)
    return {name: (own / count).sqrt() + EPSILON for name, own in square.items()}


def encoder_models(
    study: Study,
    *,
    results: Path,
    weights: Path | None = None,
    offline: bool = False,
) -> Iterator[Model]:
    """Both sides of the pair, one after the other, so that only one encoder is in memory.

    Args:
        study: Questions and batches.
        results: Folder of the records; where the pair was probed, its strengths are taken.
        weights: As for `degradation.encoders.registry.load_encoder`.
        offline: As for `load_encoder`.

    Raises:
        ConfigError: If the parameters asked for are not there, or no loss depends on them.
        DataError: If labels cannot be swapped.
        WeightsError: If an encoder is not the one that the features were extracted with.
    """
    settings = study.settings
    for side in SIDES:
        encoder = _loaded(study, side, weights=weights, offline=offline)
        parameters = chosen_parameters(encoder, settings.parameters, deepest=study.deepest)
        own = _fitted(study, side, results)
        for labels in ("own", "swapped") if settings.swapped else ("own",):
            fitted = own if labels == "own" else _swapped(study, side, own)
            losses = _losses(study, side, encoder, fitted, study.rows)
            spare = _losses(study, side, encoder, fitted, study.spare)
            yield Model(
                name=side,
                labels=labels,
                model=encoder.info.name,
                digest=encoder.info.digest,
                step=None,
                objectives=tuple(one.objective for one in losses),
                spare=tuple(one.objective for one in spare),
                parameters=_reached(losses, parameters, settings.parameters),
                place=f"block={study.deepest}|heads=linear, fitted until converged",
                heads=lambda losses=losses, fitted=fitted: _cards(losses, fitted),
            )


def _loaded(
    study: Study, side: Side, *, weights: Path | None, offline: bool
) -> FrozenEncoder | PlantedEncoder:
    """The encoder of a side as it was when features were extracted."""
    first = study.tasks[0]
    info, protocol = first.features(side).encoder, first.protocol
    encoder = load_encoder(
        info.name,
        device=study.settings.passes.device,
        weights=weights,
        size=protocol.geometry.size,
        interpolation=None if protocol.positions == "none" else protocol.positions,
        any_grid=protocol.geometry.kind == "native",
        final_norm=protocol.stage == "native_norm",
        revision=info.origin.revision if info.origin else None,
        offline=offline,
    )
    if encoder.info.digest != info.digest:
        raise WeightsError(
            f"{info.name} has other weights now than when features were extracted: expected the "
            f"digest {info.digest[:12]}, found {encoder.info.digest[:12]}. Bring the old weights "
            "back, or extract again."
        )
    if protocol.statistics is not None:
        encoder = encoder.with_statistics(*protocol.statistics)
    return encoder


def _fitted(study: Study, side: Side, results: Path) -> dict[str, FittedHead]:
    """The head of every question on one side."""
    found = {}
    for asked in study.tasks:
        features = _features(study, asked, side)
        known = _strengths(study, asked, side, results)
        for label, question in asked.questions.items():
            strength = known.get(question.name)
            found[label] = fit_head(question, features, strength=strength, rule=FROM_RUN)
    return found


def _swapped(study: Study, side: Side, own: Mapping[str, FittedHead]) -> dict[str, FittedHead]:
    """The same with labels of other clusters, which by themselves would ask for no features."""
    found = {}
    for asked in study.tasks:
        features = _features(study, asked, side)
        for label, question in asked.questions.items():
            found[label] = fit_head(
                question,
                features,
                strength=own[label].strength,
                rule=own[label].rule,
                donors=swapped_labels(question, asked.table, seed=study.settings.seed),
            )
    return found


def _features(study: Study, asked: AskedTask, side: Side) -> Features:
    """The cached features that heads of a task are fitted on."""
    gaze = not all(isinstance(one, ClassQuestion) for one in asked.questions.values())
    device = study.settings.passes.device
    return pooled_features(asked.table, side, asked.block, gaze=gaze, device=device)


def _strengths(study: Study, asked: AskedTask, side: Side, results: Path) -> dict[str, float]:
    """Strengths by question in the record of a run on the same rows and weights, if there is one.

    Raises:
        DataError: There is a record, but it cannot be read.
    """
    name = asked.task.spec.name
    label = f"{name}@{study.settings.row_list}" if study.settings.row_list else name
    path = record_folder(results, study.pair, label) / RECORD
    if not path.exists():
        return {}
    record = read_record(path, RunRecord, "probe")
    digest = asked.features(side).encoder.digest
    rows = {split: card.rows_digest for split, card in asked.table.cards().items()}
    same = rows == {split: card.rows_digest for split, card in record.splits.items()}
    if not same or digest != getattr(record.pair, f"{side}_digest"):
        log.info("%s was probed on other rows or weights: strengths are chosen anew", name)
        return {}
    return {
        one.question: getattr(one, f"strength_{side}")
        for one in record.comparisons
        if one.block == asked.block and not one.arm and one.blocks_chosen is None
    }


def _losses(
    study: Study,
    side: Side,
    encoder: FrozenEncoder | PlantedEncoder,
    fitted: Mapping[str, FittedHead],
    rows: Mapping[str, Int64[np.ndarray, "m b"]],
) -> list[EncoderLoss]:
    """One loss a question, on some batches."""
    losses = []
    for asked in study.tasks:
        regions = asked.table.spec.regions
        source = asked.table.on_disk(side, asked.block, regions)
        for label in asked.questions:
            if label not in rows:
                continue
            batches = rows[label]
            cached = source.take(batches.ravel()).reshape(*batches.shape, -1)
            losses.append(
                EncoderLoss(
                    label,
                    fitted[label].head,
                    encoder,
                    asked.protocol,
                    block=asked.block,
                    regions=regions,
                    pictures=study.pictures,
                    task=asked.task.spec.name,
                    batches=batches,
                    cached=cached,
                    passes=study.settings.passes,
                )
            )
    return losses


def _reached(
    losses: Sequence[EncoderLoss], parameters: Mapping[str, nn.Parameter], asked: str
) -> dict[str, nn.Parameter]:
    """The parameters that some loss depends on; one loss for each block is looked at."""
    by_block = {one.block: one.objective for one in losses}
    found = reached(list(by_block.values()), parameters)
    for name, one in parameters.items():
        one.requires_grad_(name in found)
    if not found:
        raise ConfigError(
            f"No loss depends on the parameters asked for ({asked}). Choose blocks that come "
            "before those that the heads read."
        )
    return found


def _cards(losses: Sequence[EncoderLoss], fitted: Mapping[str, FittedHead]) -> tuple[Head, ...]:
    """How every head came about, and how far features were from those it was fitted on."""
    return tuple(
        Head(
            label=one.label,
            probe=fitted[one.label].probe,
            strength=fitted[one.label].strength,
            strength_from=fitted[one.label].rule,
            fitted=fitted[one.label].fitted,
            drift=one.drift,
        )
        for one in losses
    )
