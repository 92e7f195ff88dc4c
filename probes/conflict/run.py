"""From models and batches to the record of gradient conflict."""

import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from degradation.device import check_device
from degradation.errors import ConfigError
from degradation.tasks.task import Task
from probes.cards import pair_card, tool_version
from probes.conflict.estimates import DRAWS
from probes.conflict.measure import bytes_needed, measure
from probes.conflict.models import EPSILON, Model, adam_scale, encoder_models
from probes.conflict.numbers import numbers_of, side_changes
from probes.conflict.products import Products, write_products
from probes.conflict.records import (
    ConflictRecord,
    Labels,
    QuestionCard,
    SideRecord,
    products_name,
    write_conflict,
)
from probes.conflict.sketch import CELLS
from probes.conflict.study import Settings, Study, open_study
from probes.folders import record_folder
from probes.records import PairCard

__all__ = ["DEFINITION", "REDUCTION", "Terms", "conflict_of", "conflict_pair"]

log = logging.getLogger(__name__)

DEFINITION = (
    "GCD(i, j) = 1 - cos(g_i, g_j), from 0 to 2, above 1 where questions pull apart; g is the "
    "expected gradient of a question's loss, and cos = U_ij / sqrt(U_ii U_jj) with U_ij the mean "
    "of <g_im, g_jn> over batches m != n that share no cluster"
)
REDUCTION = "mean over the rows of a batch"


@dataclass(frozen=True, slots=True)
class Terms:
    """What all models of a record have in common.

    Attributes:
        model: What is measured, in words.
        questions: Whose gradients.
        parameters: As asked for.
        split: Whose rows.
        batch_size: Rows of a batch.
        batches: Of each question.
        pair: None for a model that is no pair of encoders.
        batches_asked: How many were wanted.
        row_list: Name of the row lists; empty for all rows.
        arithmetic: Of the forward and backward pass.
        exact: Whether products are exact.
        cells: Numbers kept of a gradient in a sketch.
        spare: Batches for a preconditioner; 0 for none.
        seed: Of sketches and swaps.
        draws: Label swaps behind the null.
        metric: How gradients are scaled, in words, where every model comes with a preconditioner.
    """

    model: str
    questions: tuple[QuestionCard, ...]
    parameters: str
    split: str
    batch_size: int
    batches: int
    batches_asked: int
    pair: PairCard | None = None
    row_list: str = ""
    arithmetic: str = "float32"
    exact: bool = True
    cells: int = CELLS
    spare: int = 0
    seed: int = 0
    draws: int = DRAWS
    metric: str = ""

    @property
    def preconditioner(self) -> str:
        """How gradients were scaled, in words."""
        if not self.spare:
            return self.metric or "none"
        return (
            f"Adam: products in the metric 1 / (sqrt(v) + {EPSILON:g}), v the mean square of the "
            f"gradients of {self.spare} other batches of each question"
        )


def conflict_of(
    models: Iterable[Model], terms: Terms, folder: Path, *, progress: bool = True
) -> ConflictRecord:
    """Measure the gradient conflict of models on the same batches and write the record.

    Args:
        models: One after the other; each is forgotten before the next is asked for.
        terms: What they have in common.
        folder: Where `gcd.json` and the scalar products go.
        progress: Show a bar on stderr.

    Returns:
        The record, as written.

    Raises:
        CacheError: The disk is full.
        ConfigError: There is not enough memory, or as `probes.conflict.measure.measure`.
        DataError: As `measure`: a loss is not finite or does not depend on the parameters.
    """
    sides: list[SideRecord] = []
    products: dict[tuple[str, Labels], Products] = {}
    for model in models:
        log.info("Gradients of %s (%s labels)", model.model, model.labels)
        found = _measured(model, terms, progress)
        name = products_name(model.name, model.labels)
        write_products(found, folder / name)
        products[model.name, model.labels] = found
        sides.append(
            SideRecord(
                name=model.name,
                labels=model.labels,
                model=model.model,
                digest=model.digest,
                step=model.step,
                products=name,
                products_sha256=_sha256(folder / name),
                heads=model.heads(),
                signature=_signature(model, terms),
                **numbers_of(
                    found, batch_size=terms.batch_size, seed=terms.seed, draws=terms.draws
                ),
            )
        )
    record = ConflictRecord(
        tool_version=tool_version(),
        pair=terms.pair,
        model=terms.model,
        definition=DEFINITION,
        reduction=REDUCTION,
        parameters=terms.parameters,
        split=terms.split,
        row_list=terms.row_list,
        batch_size=terms.batch_size,
        batches=terms.batches,
        batches_asked=terms.batches_asked,
        arithmetic=terms.arithmetic,
        exact=terms.exact,
        sketch=terms.cells,
        preconditioner=terms.preconditioner,
        seed=terms.seed,
        draws=terms.draws,
        questions=terms.questions,
        sides=tuple(sides),
        changes=side_changes(list(products), products),
    )
    write_conflict(folder, record)
    return record


def conflict_pair(
    root: Path,
    tasks: Sequence[Task],
    pair: str,
    *,
    results: Path,
    settings: Settings | None = None,
    weights: Path | None = None,
    offline: bool = False,
    progress: bool = True,
) -> ConflictRecord:
    """Measure the gradient conflict between the questions of tasks, on both sides of a cached pair.

    Heads are fitted on the cached features; encoders and pictures are read anew, and both are
    checked against the cache.

    Args:
        root: Root of all caches.
        tasks: Extracted for this pair.
        pair: Name of the pair.
        results: The record goes to `<results>/<pair>/gcd.json`.
        settings: How to measure.
        weights: As for `degradation.encoders.registry.load_encoder`.
        offline: As for `load_encoder`.
        progress: Show a bar on stderr.

    Returns:
        The record, as written.

    Raises:
        CacheError: If features are not in the cache, or the disk is full.
        ConfigError: If there is one question only, or parameters, device or split are not there.
        DataError: If a question has too few rows or clusters, a picture cannot be read, or a loss
            is not finite.
        PairingError: If pictures are not those that features were extracted from.
        WeightsError: If encoders are not those that features were extracted with.
    """
    settings = settings or Settings()
    check_device(settings.passes.device, torch.float64)
    study = open_study(root, tasks, pair, settings)
    models = encoder_models(study, results=results, weights=weights, offline=offline)
    return conflict_of(models, _terms(study), record_folder(results, pair), progress=progress)


def _terms(study: Study) -> Terms:
    """What both sides of a pair have in common."""
    settings, first = study.settings, study.tasks[0]
    return Terms(
        pair=pair_card(first.table, first.entry),
        model=study.pair,
        questions=study.cards(),
        parameters=settings.parameters,
        split=settings.split,
        row_list=settings.row_list,
        batch_size=settings.batch_size,
        batches=study.batches,
        batches_asked=settings.batches,
        arithmetic=str(settings.passes.dtype).removeprefix("torch."),
        exact=settings.exact,
        cells=settings.cells,
        spare=len(next(iter(study.spare.values()))) if study.spare else 0,
        seed=settings.seed,
        draws=settings.draws,
    )


def _measured(model: Model, terms: Terms, progress: bool) -> Products:
    """The scalar products of one model."""
    _check_memory(model.parameters, terms)
    scale = model.scale
    if terms.spare:
        scale = adam_scale(model.spare, model.parameters, batches=terms.spare)
    return measure(
        model.objectives,
        model.parameters,
        batches=terms.batches,
        k=terms.cells,
        seed=terms.seed,
        exact=terms.exact,
        preconditioner=scale,
        progress=progress,
    )


def _check_memory(parameters: Mapping[str, nn.Parameter], terms: Terms) -> None:
    """Refuse a measurement that would not fit beside the model."""
    needed = bytes_needed(
        parameters,
        tasks=len(terms.questions),
        batches=terms.batches,
        k=terms.cells,
        exact=terms.exact,
    )
    device = next(iter(parameters.values())).device
    if device.type == "cuda":
        there = torch.cuda.mem_get_info(device)[0]
    else:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    log.info("Sums of gradients take %.1f GB", needed / 1e9)
    if needed > there:
        raise ConfigError(
            f"Exact products of {len(terms.questions)} questions take {needed / 1e9:.1f} GB, but "
            f"there are {there / 1e9:.1f} GB. Give --sketch-only, fewer tasks, or part of the "
            "model with --parameters."
        )


def _signature(model: Model, terms: Terms) -> str:
    """One line that pins all definitions behind the numbers of a side."""
    rows = "".join(one.rows_digest for one in terms.questions)
    count = sum(one.numel() for one in model.parameters.values())
    return "|".join(
        [
            "gcd=1-cos",
            "cos=U_ij/sqrt(U_ii U_jj), U over batches m!=n",
            f"model={model.model}",
            f"weights={model.digest[:12]}",
            f"step={'final' if model.step is None else model.step}",
            f"parameters={terms.parameters} ({count})",
            model.place,
            f"labels={model.labels}",
            f"questions={len(terms.questions)}",
            f"split={terms.split}",
            f"rows={hashlib.sha256(rows.encode()).hexdigest()[:12]}",
            f"batch={terms.batch_size}",
            f"batches={terms.batches}",
            f"loss={REDUCTION}",
            f"arithmetic={terms.arithmetic}, sums float32",
            f"products={'exact' if terms.exact else 'sketched'}, k={terms.cells}",
            f"metric={terms.preconditioner}",
            f"ci=Fieller t over batches, 95 %, {terms.draws} swaps",
            f"seed={terms.seed}",
            f"sdiag={tool_version()}",
        ]
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
