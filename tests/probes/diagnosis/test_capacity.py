"""Networks are chosen like strengths, start at the linear probe, and may stay there."""

import numpy as np
import pytest
import torch

from probes.diagnosis.alignment import standardise
from probes.diagnosis.capacity import Grid, anchor, read_network, targets_of
from probes.diagnosis.networks import mlp
from probes.problems import ClassProblem, Features, balanced_weights
from probes.selection import Plan, Stage, read_out

GRID = Grid((1.0,), 2)


def plan_of(n):
    """Three fifths train, a fifth validation, a fifth test; in another order than the table's."""
    train, val, test = np.split(np.random.default_rng(9).permutation(n), [3 * n // 5, 4 * n // 5])
    train, val = np.sort(train), np.sort(val)
    return Plan((Stage(((train, val),), np.sort(np.concatenate([train, val])), test),), "val")


def builder(x, n_classes):
    def build(rows):
        mean, scale = standardise(x[rows])
        return mlp(torch.from_numpy(((x - mean) * scale).astype(np.float32)), n_classes, hidden=32)

    return build


def read(x, labels, plan, n_classes=2, *, balanced=False, name="x"):
    problem = ClassProblem(Features(x), labels, n_classes, balanced)
    return read_network(
        builder(x, n_classes), anchor(problem, plan), targets_of(problem), GRID, seed=0, name=name
    )


def test_a_parity_is_read_by_the_mlp_only():
    x = np.random.default_rng(0).normal(size=(240, 3)).astype(np.float32)
    labels, plan = (x[:, 0] * x[:, 1] > 0).astype(np.int64), plan_of(240)
    linear = read_out(ClassProblem(Features(x), labels, 2), plan).scores
    found = read(x, labels, plan)
    truth = labels[plan.predicted]
    assert (linear.argmax(1) == truth).mean() < 0.65
    assert (found.scores.argmax(1) == truth).mean() > 0.9
    assert found.rounds[0] > 0
    assert found.by_seed.shape == (2, 48, 2)
    np.testing.assert_allclose(found.scores, found.by_seed.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.scores.sum(1), 1, atol=1e-5)


def test_where_nothing_is_to_be_gained_the_linear_probe_itself_is_chosen():
    x = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)
    labels, plan = np.random.default_rng(2).integers(0, 2, 200), plan_of(200)
    found = read(x, labels, plan)
    linear = read_out(ClassProblem(Features(x), labels, 2), plan).scores
    assert found.rounds == (0,)
    np.testing.assert_allclose(found.scores, linear, atol=1e-5)


@pytest.mark.slow
def test_both_sides_get_the_same_weights_and_order_and_equal_features_equal_bits():
    x = np.random.default_rng(3).normal(size=(120, 3)).astype(np.float32)
    labels, plan = (x[:, 0] * x[:, 1] > 0).astype(np.int64), plan_of(120)
    first, second = read(x, labels, plan), read(x.copy(), labels, plan)
    np.testing.assert_array_equal(first.by_seed, second.by_seed)
    assert not np.array_equal(first.by_seed, read(x, labels, plan, name="y").by_seed)


@pytest.mark.slow
def test_several_stages_predict_each_row_once_in_table_order():
    x = np.random.default_rng(4).normal(size=(120, 2)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int64)
    halves = np.split(np.random.default_rng(5).permutation(120), 2)
    stages = tuple(
        Stage(((one[:40], one[40:]),), np.sort(one), other) for one, other in (halves, halves[::-1])
    )
    found = read(x, labels, Plan(stages, "two"))
    assert len(found.rounds) == 2
    assert (found.scores.argmax(1) == labels).mean() > 0.9


def test_balanced_targets_weigh_classes_alike_and_unknown_labels_have_no_share():
    labels = np.array([0, 0, 0, 1, -1])
    targets = targets_of(ClassProblem(Features(np.zeros((5, 1), np.float32)), labels, 3, True))
    assert targets.shares[:4].argmax(1).tolist() == [0, 0, 0, 1]
    assert targets.shares[4].sum() == 0
    weights = targets.weights(np.arange(4)).numpy()
    np.testing.assert_allclose(weights[:4], balanced_weights(labels[:4]), rtol=1e-6)
    assert weights[4] == 0


@pytest.mark.slow
def test_a_class_that_was_not_seen_keeps_finite_logits():
    x = np.random.default_rng(6).normal(size=(100, 2)).astype(np.float32)
    labels, plan = (x[:, 0] > 0).astype(np.int64), plan_of(100)
    labels[plan.stages[0].predict[:3]] = 2
    found = read(x, labels, plan, n_classes=3)
    assert np.isfinite(found.scores).all()
    assert found.scores[:, 2].max() == pytest.approx(0, abs=0.05)
