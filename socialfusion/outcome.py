"""What came of a run: the tests of its questions, and its record."""

import hashlib
from collections.abc import Mapping, Sequence

import torch

from probes.cards import task_card, tool_version
from probes.predictions import encode
from probes.questions import Prediction
from probes.statistics.clusters import group_rows
from probes.summary import METHOD
from socialfusion.assemble import encoder_card
from socialfusion.evaluate import generated, metrics_of, predict, prior, scored
from socialfusion.frozen import combined
from socialfusion.learner import Learner
from socialfusion.records import (
    PROBE,
    FrozenDigests,
    FusionEncoder,
    FusionRecord,
    FusionSettings,
    LanguageModelCard,
    QuestionRows,
    Score,
    Stop,
    Trained,
)
from socialfusion.samples import QuestionSamples
from socialfusion.train import Loop
from socialfusion.unfrozen import Unfrozen

__all__ = ["outcome", "trained_digest"]

_PARTS = ("connector", "boxes", "heatmap", "encoder")


def outcome(
    run: str,
    loop: Loop,
    before: Mapping[str, str],
    after: Mapping[str, str],
    *,
    best: bool,
    generate: bool,
) -> tuple[FusionRecord, bytes]:
    """The record of a run that is trained, and its predictions as the bytes of a Parquet file.

    Args:
        run: Its name.
        loop: At its end, the weights that are tested in its model.
        before: Digests of the frozen tensors of the language model before training.
        after: The same after training.
        best: Whether the weights are the best on the validation rows, not the last.
        generate: Whether to let the model write its answers too.

    Raises:
        DataError: The model gives numbers that are not finite.
    """
    model, settings, place = loop.stepper.model, loop.settings, loop.stepper.place
    questions = loop.questions
    predictions: list[Prediction] = []
    scores: list[Score] = []
    undefined: dict[str, str] = {}
    written = []
    first = next(iter(questions.values())).task
    encoder = encoder_card(first, model)
    unfrozen = isinstance(model, Unfrozen)
    language = LanguageModelCard(name=settings.language_model, digest=combined(before))
    for label, one in questions.items():
        answers = predict(model, one, one.test, place, batch_size=loop.batch_size)
        both = [answers, prior(one, one.test)]
        predictions += both
        found, missing = _scores(one, both, encoder, language, settings)
        scores += found
        undefined |= {f"{label} {metric}": why for metric, why in missing.items()}
        if generate and one.question.kind == "classes":
            written.append(generated(model, one, one.test, place, batch_size=loop.batch_size))
    data = encode(predictions)
    step = loop.progress.step if best else loop.step
    record = FusionRecord(
        tool_version=tool_version(),
        run=run,
        settings=settings,
        encoder=encoder,
        language_model=language,
        tasks={one.task.name: task_card(one.task.table) for one in questions.values()},
        splits={one.task.name: one.task.table.cards() for one in questions.values()},
        questions=tuple(_rows(one) for one in questions.values()),
        steps_run=loop.step,
        samples_seen=dict(loop.seen),
        seconds=loop.seconds,
        losses=tuple(loop.losses),
        validation=tuple(loop.looks),
        stops={
            label: loop.progress.stops.get(label, Stop(step=loop.step, reason="budget used up"))
            for label in questions
        },
        trained=_trained(model, step, best=best),
        frozen=FrozenDigests(
            language_model_before=combined(before),
            language_model_after=combined(after),
            encoder_before=model.digest_before if unfrozen else encoder.digest,
            encoder_after=model.encoder_digest() if unfrozen else encoder.digest,
        ),
        scores=tuple(scores),
        undefined=undefined,
        generated=tuple(written),
        predictions_sha256=hashlib.sha256(data).hexdigest(),
    )
    return record, data


def _rows(one: QuestionSamples) -> QuestionRows:
    question = one.question
    return QuestionRows(
        label=one.label,
        task=question.task,
        name=question.name,
        kind=question.kind,
        social=question.social,
        prompt=question.prompt,
        classes=one.task.table.spec.label_sets.get(question.name, ()),
        metrics=question.metrics,
        train=len(one.train),
        validation=len(one.validation),
        test=len(one.test),
        splits=one.splits,
        rows_digest=one.rows_digest(),
    )


def _scores(
    one: QuestionSamples,
    predictions: Sequence[Prediction],
    encoder: FusionEncoder,
    language: LanguageModelCard,
    settings: FusionSettings,
) -> tuple[list[Score], dict[str, str]]:
    """Every metric of one question, and why one has no value."""
    metrics = metrics_of(one)
    estimates, missing = scored(predictions, metrics, seed=settings.seed)
    clusters = group_rows(predictions[0].clusters).count
    found = []
    for metric in metrics:
        if metric.name in missing:
            continue
        chance = estimates.get(("prior", metric.name))
        found.append(
            Score(
                question=one.label,
                metric=metric.name,
                higher_is_better=metric.higher_is_better,
                estimate=estimates[PROBE, metric.name],
                n=len(one.test),
                clusters=clusters,
                chance=None if chance is None else chance.value,
                signature=_signature(one, metric.name, encoder, language, settings),
            )
        )
    return found, missing


def _signature(
    one: QuestionSamples,
    metric: str,
    encoder: FusionEncoder,
    language: LanguageModelCard,
    settings: FusionSettings,
) -> str:
    """One line that pins all definitions behind a number."""
    rows = one.rows_digest()[:12]
    recipe = hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]
    return "|".join(
        [
            f"task={one.question.task}",
            f"rows={f'{settings.row_list}:{rows}' if settings.row_list else rows}",
            f"encoder={encoder.name}:{encoder.digest[:12]}",
            f"pixels={encoder.protocol}",
            f"block={encoder.block}",
            f"model={PROBE}",
            f"lm={language.digest[:12]}",
            f"trained={'+'.join(settings.tasks)}",
            f"mixing={settings.mixing}",
            f"budget={settings.budget}",
            f"steps={settings.steps}x{settings.batch_size}",
            f"settings={recipe}",
            f"question={one.question.name}",
            f"metric={metric}",
            f"ci={METHOD}, by {one.task.table.spec.cluster}",
            f"seed={settings.seed}",
            f"sdiag={tool_version()}",
        ]
    )


def _trained(model: Learner, step: int, *, best: bool) -> Trained:
    """What was trained, in numbers."""
    counts: dict[str, int] = {}
    for name, one in model.trained_parameters().items():
        part = name.partition(".")[0]
        part = part if part in _PARTS else "lora"
        counts[part] = counts.get(part, 0) + one.numel()
    return Trained(
        parameters=counts,
        digest=trained_digest(model),
        step=step,
        rule="best mean validation loss" if best else "last step",
    )


def trained_digest(model: Learner) -> str:
    """SHA-256 over names and bytes of everything that is trained, in hexadecimal."""
    sha = hashlib.sha256()
    for name, one in model.trained_parameters().items():
        sha.update(f"{name}{one.dtype}{tuple(one.shape)}".encode())
        flat = one.detach().cpu().contiguous().reshape(-1)
        sha.update(memoryview(flat.view(torch.uint8).numpy()))
    return sha.hexdigest()
