"""Heads of the probes as differentiable losses: the same numbers, and the right slopes."""

import numpy as np
import pytest
import torch

from degradation.errors import DataError
from probes.conflict.heads import fit_head, fitted_rows, pooled_features, swapped_labels
from probes.questions import declared_arm, prepare_question
from probes.selection import read_out
from probes.table import open_pair

N, D = 90, 6


def features(labels, rng, *, noise=1.5):
    centres = rng.normal(size=(5, 2, D))
    return {"face": centres[labels] + noise * rng.normal(size=(len(labels), 2, D))}


@pytest.fixture
def made(write_world, rows, spec):
    """A task with two label sets, one of them skewed; balanced, or not; or gaze."""

    def make(*, balanced=False, gaze=False, splits=("train", "val", "test")):
        rng = np.random.default_rng(0)
        if gaze:
            task = spec(
                "gazing",
                label_sets={},
                metrics={"gaze": ("l2_error",)},
                kind="gaze",
                roles=("face",),
            )
        else:
            task = spec(
                label_sets={"mood": ("a", "b", "c", "never"), "age": ("young", "old")},
                metrics={"mood": ("accuracy",), "age": ("accuracy",)},
                balanced=balanced,
            )
        parts = {}
        for split in splits:
            mood = rng.choice(3, N, p=[0.6, 0.3, 0.1])
            if gaze:
                points = rng.uniform(0.1, 0.9, (N, 1, 2))
                own = rows(split, {}, rng=rng, points=points)
                x = np.concatenate([points[:, 0], rng.normal(size=(N, D - 2))], axis=1)
                arrays = {"face": np.stack([x, x], axis=1) + 0.1 * rng.normal(size=(N, 2, D))}
            else:
                own = rows(split, {"mood": mood, "age": mood % 2}, rng=rng)
                arrays = features(mood, rng)
            parts[split] = (own, arrays, arrays, None)
        root = write_world(task, parts)
        return open_pair(root, task.name, "planted")[0]

    return make


def fitted(table, name, strength=0.05, **options):
    question = prepare_question(table, name, declared_arm(table.spec), 0)
    source = pooled_features(table, "pre", 1, gaze=name == "gaze", device="cpu")
    return question, source, fit_head(question, source, strength=strength, **options)


@pytest.mark.parametrize("name", ["mood", "age", "gaze"])
def test_the_loss_is_the_log_loss_of_the_probe_itself(made, name):
    table = made(gaze=name == "gaze")
    question, source, found = fitted(table, name)
    rows = np.nonzero(table.splits == "test")[0]
    problem = question.problem(source)
    own = problem.fit(fitted_rows(question.plan)[0], [found.strength]).scores(rows)[0]
    if name == "gaze":
        expected = -(question.targets[rows] * np.log(own)).sum(axis=1)
    else:
        expected = -np.log(own[np.arange(len(rows)), question.labels[rows]])
    losses = found.head.losses(torch.from_numpy(source.x[rows]), rows)
    assert float(losses.mean()) == pytest.approx(expected.mean(), abs=1e-6)
    # The probe z-scores in float32, the head reads features as they are in float64.
    np.testing.assert_allclose(losses.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["mood", pytest.param("gaze", marks=pytest.mark.slow)])
def test_the_strength_is_the_one_that_the_probe_chooses(made, name):
    table = made(gaze=name == "gaze")
    question, source, found = fitted(table, name, strength=None)
    assert found.strength == read_out(question.problem(source), question.plan).strength
    assert found.rule == "validation split, log-loss"
    assert found.fitted == 2 * N
    given = fit_head(question, source, strength=0.1, rule="run record")
    assert (given.strength, given.rule) == (0.1, "run record")


@pytest.mark.parametrize("name", ["mood", "gaze"])
def test_the_slope_in_the_features_is_that_of_finite_differences(made, name):
    table = made(gaze=name == "gaze")
    _, source, found = fitted(table, name)
    rows = np.nonzero(table.splits == "test")[0][:5]
    x = torch.from_numpy(source.x[rows]).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: found.head.losses(x, rows), (x,))
    narrow = torch.from_numpy(source.x[rows]).requires_grad_(True)
    found.head.losses(narrow, rows).sum().backward()
    assert narrow.grad.dtype == torch.float32


def test_balanced_classes_weigh_the_same_in_the_loss_as_in_the_fit(made):
    table = made(balanced=True)
    question, source, found = fitted(table, "mood")
    rows, _, _ = fitted_rows(question.plan)
    labels = question.labels[rows]
    losses = found.head.losses(torch.from_numpy(source.x[rows]), rows).numpy()
    plain = -np.log(
        question.problem(source)
        .fit(rows, [found.strength])
        .scores(rows)[0][np.arange(len(rows)), labels]
    )
    by_class = np.mean([plain[labels == k].mean() for k in range(3)])
    assert losses.mean() == pytest.approx(by_class, abs=1e-6)
    assert not np.allclose(losses, plain, atol=1e-2)


def test_at_the_optimum_the_rows_fitted_pull_the_bias_nowhere(made):
    table = made()
    question, source, found = fitted(table, "mood")
    rows, _, _ = fitted_rows(question.plan)
    bias = found.head.bias.requires_grad_(True)
    found.head.losses(torch.from_numpy(source.x[rows]), rows).mean().backward()
    assert bias.grad[:3].abs().max() < 1e-4
    assert bias.grad[3] == 0  # a class that was never fitted


def test_without_splits_one_fold_is_held_out_of_the_head(made):
    table = made(splits=("all",))
    question, _, found = fitted(table, "mood", strength=None)
    rows, trials, rule = fitted_rows(question.plan)
    held = question.plan.stages[0].predict
    assert not set(table.clusters[rows]) & set(table.clusters[held])
    assert found.fitted == len(rows) < N
    assert rule == question.plan.rule
    assert trials == question.plan.stages[0].trials


def test_swapped_labels_come_from_other_clusters_and_stay_on_their_side_of_the_fit(made):
    table = made()
    question, source, own = fitted(table, "mood")
    donors = swapped_labels(question, table, seed=0)
    assert sorted(donors) == list(range(len(table.ids)))
    assert not (table.clusters[donors] == table.clusters).any()
    rows, _, _ = fitted_rows(question.plan)
    assert set(donors[rows]) == set(rows)
    swapped = fit_head(question, source, strength=own.strength, donors=donors)
    np.testing.assert_array_equal(swapped.head.labels, question.labels[donors])


def test_labels_of_a_single_cluster_cannot_be_swapped(made):
    table = made()
    question = prepare_question(table, "mood", declared_arm(table.spec), 0)
    table.clusters[:] = "same"
    with pytest.raises(DataError, match="made-up/mood: expected rows of two clusters"):
        swapped_labels(question, table, seed=0)
