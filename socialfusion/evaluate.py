"""What a model says of rows, in the form in which the probes' answers are kept and scored.

Classes get the probabilities that the likelihoods of their answers stand for. A gaze map of 64 x 64
cells is measured as it is (AUC, peak); its point is decoded as a probe's is, the one with the least
expected distance (`probes.gaze.decode`), from sums over squares of 4 x 4 cells. These 16 x 16 sums
are what the predictions file keeps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from accelerate.utils import gather_object
from jaxtyping import Float32, Int64

from degradation.errors import DataError
from probes.gaze import cell_targets, decode, prior_map
from probes.gaze_metrics import LITERATURE_GRID, gaze_outcome
from probes.metrics import ClassOutcome, Metric, evaluate, resolve
from probes.questions import Prediction
from probes.records import Estimate
from probes.summary import summarise
from socialfusion.heatmap import heatmap_probabilities
from socialfusion.learner import Learner, QuestionBatch
from socialfusion.place import Place
from socialfusion.records import PROBE, Generated, WrittenAnswer
from socialfusion.samples import QuestionSamples

__all__ = ["generated", "look", "metrics_of", "predict", "prior", "scored"]

GAZE_CELLS = (16, 16)
"""Cells of a gaze map in the predictions file."""
EXAMPLES = 8
"""Written answers that a record shows."""

Answer = TypeVar("Answer")
Rows = Int64[np.ndarray, " k"]


def metrics_of(samples: QuestionSamples) -> list[Metric]:
    """The metrics of a question; the first is the declared one."""
    question = samples.question
    classes = samples.task.table.spec.label_sets.get(question.name, ())
    return [resolve(name, classes) for name in question.metrics]


def predict(
    model: Learner, samples: QuestionSamples, rows: Rows, place: Place, *, batch_size: int
) -> Prediction:
    """What the model says of some rows.

    Args:
        model: In evaluation mode, on the place's device.
        samples: The question.
        rows: Positions in the table of its task.
        place: Where to compute.
        batch_size: Rows at once.

    Raises:
        DataError: The model gives numbers that are not finite.
    """
    gaze = samples.question.kind == "gaze"

    def answer(batch: QuestionBatch) -> np.ndarray:
        raw = (model.heatmaps if gaze else model.scores)(batch).float()
        return (heatmap_probabilities(raw).flatten(1) if gaze else raw.softmax(1)).cpu().numpy()

    scores = np.concatenate(_asked(answer, samples, rows, place, batch_size))
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores).all(axis=1)).argmax())
        raise DataError(
            f"The model gives numbers that are not finite for {samples.label}, row "
            f"{samples.task.table.ids[rows][bad]!r}. Compute in float32, or train anew with a "
            "lower learning rate."
        )
    return _prediction(samples, rows, scores)


def _asked(
    ask: Callable[[QuestionBatch], Answer],
    samples: QuestionSamples,
    rows: Rows,
    place: Place,
    batch_size: int,
) -> list[Answer]:
    """What is answered to every batch of some rows, in order; processes share the batches."""
    starts = range(0, len(rows), batch_size)
    own: list[tuple[int, Answer]] = []
    for start in starts[place.rank :: place.count]:
        batch = place.put(samples.batch(rows[start : start + batch_size]))
        with torch.inference_mode(), place.arithmetic():
            own.append((start, ask(batch)))
    every = own if place.count == 1 else gather_object(own)
    return [answer for _, answer in sorted(every, key=lambda one: one[0])]


def _prediction(
    samples: QuestionSamples, rows: Rows, scores: Float32[np.ndarray, "k c"]
) -> Prediction:
    """The scores of rows with what they are measured against."""
    task, table = samples.task, samples.task.table
    points = None
    if samples.question.kind == "gaze":
        coarse = _coarse(scores)
        points = decode(coarse, GAZE_CELLS)
        outcome = gaze_outcome(
            scores, LITERATURE_GRID, points, table.points[rows], table.sizes[rows]
        )
        scores = coarse
    else:
        outcome = ClassOutcome(table.labels[samples.question.name][rows], scores)
    return Prediction(
        question=samples.label,
        block=task.block,
        probe=PROBE,
        side=task.side,
        ids=table.ids[rows],
        clusters=table.clusters[rows],
        outcome=outcome,
        scores=scores,
        points=points,
    )


def _coarse(heat: Float32[np.ndarray, "k t"]) -> Float32[np.ndarray, "k u"]:
    """Sums of a 64 x 64 map over the squares that 16 x 16 cells cover."""
    (h, w), (rows, columns) = LITERATURE_GRID, GAZE_CELLS
    squares = heat.reshape(-1, rows, h // rows, columns, w // columns)
    return squares.sum(axis=(2, 4)).reshape(len(heat), rows * columns)


def prior(samples: QuestionSamples, rows: Rows) -> Prediction:
    """What can be said of rows without looking: class shares, or the mean map of the training rows.

    The point of a map is the mean training target, as in the probes' baseline `centre`.
    """
    table, train = samples.task.table, samples.train
    points = None
    if samples.question.kind == "gaze":
        chance = prior_map(cell_targets(table.points[train], GAZE_CELLS))
        scores = np.tile(chance.astype(np.float32), (len(rows), 1))
        points = np.tile(
            np.nanmean(table.points[train], axis=(0, 1), dtype=np.float64), (len(rows), 1)
        )
        outcome = gaze_outcome(scores, GAZE_CELLS, points, table.points[rows], table.sizes[rows])
    else:
        labels = table.labels[samples.question.name]
        counts = np.bincount(labels[train], minlength=len(samples.question.answers))
        scores = np.tile((counts / len(train)).astype(np.float32), (len(rows), 1))
        outcome = ClassOutcome(labels[rows], scores)
    return Prediction(
        question=samples.label,
        block=-1,
        probe="prior",
        side="none",
        ids=table.ids[rows],
        clusters=table.clusters[rows],
        outcome=outcome,
        scores=scores,
        points=points,
    )


def scored(
    predictions: Sequence[Prediction], metrics: Sequence[Metric], *, seed: int
) -> tuple[dict[tuple[str, str], Estimate], dict[str, str]]:
    """The numbers of one question with intervals that leave out whole clusters, in points.

    Args:
        predictions: Of one question, all of the same rows.
        metrics: What to compute.
        seed: Decides which clusters are left out together where there are many.

    Returns:
        Estimates by probe and metric, and why a metric has no value, by its name.
    """
    alone = [replace(one, side="none") for one in predictions]
    found = summarise(alone, metrics, draws=1, seed=seed)
    estimates = {(one.name, one.metric): one.estimate for one in found.baselines}
    missing = {
        metric.name: f"undefined on the {len(alone[0].ids)} rows tested: {metric.undefined}"
        for metric in metrics
        if (alone[0].probe, metric.name) not in estimates
    }
    return estimates, missing


def look(
    model: Learner,
    questions: Mapping[str, QuestionSamples],
    place: Place,
    *,
    rows: Mapping[str, Rows],
    batch_size: int,
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Mean loss and declared metric of each question on its validation rows.

    Args:
        model: In evaluation mode.
        questions: By label.
        place: Where to compute.
        rows: Validation rows by label, at least one each.
        batch_size: Rows at once.

    Returns:
        Losses in nats, and metrics as fractions; None where one is undefined.
    """
    losses, values = {}, {}
    for label, chosen in rows.items():
        samples = questions[label]
        parts = _asked(
            lambda batch: model(batch).float().cpu().numpy(), samples, chosen, place, batch_size
        )
        losses[label] = float(np.concatenate(parts).mean(dtype=np.float64))
        prediction = predict(model, samples, chosen, place, batch_size=batch_size)
        value = float(evaluate(metrics_of(samples)[0], prediction.outcome)[0])
        values[label] = None if np.isnan(value) else value
    return losses, values


def generated(
    model: Learner,
    samples: QuestionSamples,
    rows: Rows,
    place: Place,
    *,
    batch_size: int,
) -> Generated:
    """Answers written freely, against answers by the highest score, on some rows of a question.

    Args:
        model: In evaluation mode.
        samples: A question with classes.
        rows: Positions in the table of its task.
        place: Where to compute.
        batch_size: Rows at once.
    """
    answers = [text.strip() for text in samples.question.answers]
    parts = _asked(model.generate_answers, samples, rows, place, batch_size)
    texts = [text.strip() for part in parts for text in part]
    labels = samples.task.table.labels[samples.question.name][rows]
    right = [text == answers[label] for text, label in zip(texts, labels.tolist(), strict=True)]
    prediction = predict(model, samples, rows, place, batch_size=batch_size)
    none = [text not in answers for text in texts]
    # Sorting is stable: rows of a kind stay in their order.
    shown = sorted(range(len(rows)), key=lambda i: (not none[i], right[i]))[:EXAMPLES]
    return Generated(
        question=samples.label,
        accuracy=100 * float(np.mean(right)),
        scored=100 * float((prediction.outcome.predicted == labels).mean()),
        other=100 * float(np.mean(none)),
        n=len(rows),
        examples=tuple(
            WrittenAnswer(
                row=str(samples.task.table.ids[rows[i]]),
                right=answers[labels[i]],
                text=texts[i],
            )
            for i in shown
        ),
    )
