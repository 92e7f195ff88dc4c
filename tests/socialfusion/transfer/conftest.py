"""Finished runs as training would leave them, with predictions of planted skill."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from probes.metrics import ClassOutcome, GazeOutcome
from probes.predictions import encode
from probes.questions import Prediction
from probes.records import Estimate, SplitCard, TaskCard
from socialfusion.records import (
    PROBE,
    FrozenDigests,
    FusionEncoder,
    FusionRecord,
    FusionSettings,
    LanguageModelCard,
    QuestionRows,
    Score,
    Trained,
    run_folder,
    write_fusion,
)

N, CLASSES = 90, ("sad", "glad", "mad")
GAZE = ("average_l2_error", "minimum_l2_error", "auc_score")
EVERY_GAZE = (*GAZE, "mean_distance", "peak_l2_error", "auc_on_grid")


def question(task):
    gaze = task.endswith("gaze")
    return QuestionRows(
        label=f"{task}/{'gaze' if gaze else 'mood'}", task=task, name="gaze" if gaze else "mood",
        kind="gaze" if gaze else "classes", social=True, prompt="what ?",
        classes=() if gaze else CLASSES, metrics=GAZE if gaze else ("accuracy", "macro_f1"),
        train=100, validation=20, test=N, splits=("train", "val", "test"), rows_digest="d",
    )  # fmt: skip


def classes(right, rng, *, n=N, name="moods/mood"):
    """Predictions of which a share `right` is right; ids and labels are always the same."""
    labels = np.arange(n) % 3
    hit = rng.random(n) < right
    said = np.where(hit, labels, (labels + 1 + rng.integers(0, 2, n)) % 3)
    scores = np.eye(3, dtype=np.float32)[said] * 0.9 + np.float32(0.03)
    return prediction(name, ClassOutcome(labels, scores), scores)


def gaze(error, rng, *, n=N, name="a-gaze/gaze"):
    base = np.random.default_rng(5).lognormal(0, 0.5, n)
    values = {m: error * base * rng.lognormal(0, 0.05, n) for m in EVERY_GAZE}
    scores = np.full((n, 4), 0.25, np.float32)
    return prediction(name, GazeOutcome(values), scores, np.full((n, 2), 0.5))


def prediction(name, outcome, scores, points=None):
    n = len(scores)
    return Prediction(
        name, 2, PROBE, "pre", np.array([f"{name}-{i}" for i in range(n)], dtype=object),
        np.array([f"c{i // 2}" for i in range(n)], dtype=object), outcome, scores, points,
    )  # fmt: skip


def record_of(name, settings, data, *, digest="enc"):
    estimate = Estimate(value=50, low=40, high=60)
    questions = tuple(question(task) for task in settings.tasks)
    scores = tuple(
        Score(
            question=one.label, metric=metric, higher_is_better=not metric.endswith("error"),
            estimate=estimate, n=N, clusters=45, chance=60.0 if one.kind == "gaze" else 33.3,
            signature="s",
        )
        for one in questions
        for metric in one.metrics
    )  # fmt: skip
    return FusionRecord(
        tool_version="0", run=name, settings=settings,
        encoder=FusionEncoder(
            name=settings.encoder, digest=f"{digest} of {settings.encoder}", pair="tiny",
            side="pre", block=2, grid=(8, 8), width=96, protocol="p",
        ),
        language_model=LanguageModelCard(name="lm", digest="lm"),
        tasks={
            task: TaskCard(
                name=task, kind="classes", social=True, label_sets={"mood": CLASSES}, regions=(),
                metrics={"mood": ("accuracy",)}, cluster="subject", source="a test",
            )
            for task in settings.tasks
        },
        splits={t: {"test": SplitCard(rows_digest="d", n=N, clusters=45, left_out={})}
                for t in settings.tasks},
        questions=questions, steps_run=settings.steps, samples_seen={}, seconds=1.0, losses=(),
        validation=(), stops={},
        trained=Trained(parameters={"connector": 10 * settings.connector_depth}, digest="t",
                        step=1, rule="last step"),
        frozen=FrozenDigests(language_model_before="a", language_model_after="a",
                             encoder_before="b", encoder_after="b"),
        scores=scores, undefined={}, predictions_sha256=hashlib.sha256(data).hexdigest(),
    )  # fmt: skip


@pytest.fixture
def base():
    return FusionSettings(
        encoder="tiny:pre", tasks=("moods", "b-moods", "a-gaze"), language_model="lm", steps=10
    )


@pytest.fixture
def trainer(tmp_path):
    """A trainer whose runs are right by `skill(task, settings)`; `calls` holds what it trained."""

    def make(skill, *, digest="enc", results=tmp_path):
        calls = []

        def train(name, settings):
            calls.append(name)
            found = []
            for task in settings.tasks:
                key = f"{task} {settings.tasks} {settings.seed} {settings.budget}"
                rng = np.random.default_rng(sum(map(ord, key)))
                make_one = gaze if task.endswith("gaze") else classes
                found.append(make_one(skill(task, settings), rng, name=question(task).label))
            data = encode(found)
            record = record_of(name, settings, data, digest=digest)
            write_fusion(run_folder(results, name), record, data)

        train.calls = calls
        return train

    return make


@pytest.fixture
def made():
    """The makers of predictions and questions above."""
    return SimpleNamespace(classes=classes, gaze=gaze, question=question, record=record_of)
