"""What a model says of rows, and how it is scored."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score

from degradation.errors import DataError
from probes.gaze_metrics import gaussian_maps
from socialfusion.evaluate import generated, look, metrics_of, predict, prior, scored
from socialfusion.place import Place
from socialfusion.questions import questions_of
from socialfusion.records import PROBE
from socialfusion.samples import question_samples
from socialfusion.sources import open_tasks

CPU = Place(torch.device("cpu"))


@pytest.fixture
def asked(cache):
    tasks = open_tasks(cache, "tiny:pre", ("scenes-looking", "scenes-gaze"), block=None, memory=1e9)
    return [question_samples(one, questions_of(one.table.spec, one.frames)[0]) for one in tasks]


class Speaker:
    """A model that answers with given functions of the batch."""

    questions: ClassVar = {}

    def __init__(self, **answers) -> None:
        for name in ("scores", "heatmaps", "generate_answers", "trained_parameters"):
            setattr(self, name, answers.get(name, dict))
        self.language_digests = self.save_pretrained = dict

    def __call__(self, batch):
        return batch.labels.float()


def test_classes_are_scored_as_scikit_learn_does(asked) -> None:
    looking, _ = asked
    model = Speaker(scores=lambda batch: batch.tokens[:, 0, 1:3].float().log_softmax(1))
    found = predict(model, looking, looking.test, CPU, batch_size=5)
    tokens = looking.task.tokens.held[looking.test][:, 0, 1:3].astype(np.float32)
    expected = np.exp(tokens) / np.exp(tokens).sum(1, keepdims=True)
    assert np.allclose(found.scores, expected, atol=1e-6)
    labels = looking.task.table.labels["looking"][looking.test]
    estimates, missing = scored([found, prior(looking, looking.test)], metrics_of(looking), seed=0)
    assert not missing
    value = estimates[PROBE, "accuracy"]
    assert value.value == pytest.approx(100 * accuracy_score(labels, expected.argmax(1)))
    assert value.low < value.value < value.high
    shares = np.bincount(looking.task.table.labels["looking"][looking.train]) / 20
    assert estimates["prior", "accuracy"].value == pytest.approx(
        100 * (labels == shares.argmax()).mean()
    )


def test_a_map_at_the_truth_is_right(asked) -> None:
    _, gaze = asked
    points = gaze.task.table.points[gaze.test][:, 0]
    maps = torch.from_numpy(gaussian_maps(points)).reshape(-1, 64, 64)
    parts = iter(maps.clamp(1e-6, 1 - 1e-6).logit().split(5))
    model = Speaker(heatmaps=lambda batch: next(parts))
    found = predict(model, gaze, gaze.test, CPU, batch_size=5)
    assert found.scores.shape == (12, 256)
    assert np.allclose(found.scores.sum(1), 1, atol=1e-4)
    inside = (np.abs(points - 0.5) < 0.3).all(1)
    assert np.abs(found.points - points)[inside].max() < 0.02
    estimates, _ = scored([found, prior(gaze, gaze.test)], metrics_of(gaze), seed=0)
    assert estimates[PROBE, "auc_score"].value > 99
    assert estimates[PROBE, "average_l2_error"].value < 5
    centre = gaze.task.table.points[gaze.train].mean(axis=(0, 1))
    away = np.linalg.norm(points - centre, axis=1).mean()
    assert estimates["prior", "average_l2_error"].value == pytest.approx(100 * away, rel=1e-5)


def test_a_look_gives_mean_losses_and_declared_metrics(asked) -> None:
    looking, _ = asked

    model = Speaker(scores=lambda batch: torch.eye(2)[batch.labels].log_softmax(1))
    rows = {looking.label: looking.validation}
    losses, values = look(model, {looking.label: looking}, CPU, rows=rows, batch_size=3)
    labels = looking.task.table.labels["looking"][looking.validation]
    assert losses == {looking.label: pytest.approx(labels.mean())}
    assert values == {looking.label: 1.0}


def test_free_answers_are_compared_with_scores(asked) -> None:
    looking, _ = asked
    texts = {0: " other", 1: "a horse"}
    model = Speaker(
        scores=lambda batch: torch.eye(2)[batch.labels].log_softmax(1),
        generate_answers=lambda batch: [texts[one] for one in batch.labels.tolist()],
    )
    answers = looking.question.answers
    found = generated(model, looking, looking.test, CPU, batch_size=5)
    labels = looking.task.table.labels["looking"][looking.test]
    right = 100 * np.mean(labels == 0) if answers[0] == "other" else 0.0
    assert found.accuracy == pytest.approx(right)
    assert found.scored == 100
    assert found.n == 12


def test_numbers_that_are_not_finite_are_refused(asked) -> None:
    looking, _ = asked
    model = Speaker(scores=lambda batch: torch.full((len(batch), 2), torch.nan))
    with pytest.raises(DataError, match=r"not finite for scenes-looking/looking, row 'test-0'"):
        predict(model, looking, looking.test, CPU, batch_size=8)
