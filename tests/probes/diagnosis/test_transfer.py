"""The old probe reads what a map brings back, and only that."""

import numpy as np
import pytest

from probes.diagnosis.transfer import transfer
from probes.gaze import cell_targets, displacement_basis
from probes.problems import ClassProblem, Features, GazeProblem
from probes.selection import Plan, Stage, read_out

N, D = 300, 6
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, N)
PRE = (3 * np.eye(3, D)[LABELS] + RNG.normal(size=(N, D))).astype(np.float32)
TURN = np.linalg.qr(RNG.normal(size=(D, D)))[0]
ORDER = np.random.default_rng(1).permutation(np.arange(200, N))  # predicted out of table order
PLAN = Plan((Stage(((np.arange(150), np.arange(150, 200)),), np.arange(200), ORDER),), "val")
PROBLEM = ClassProblem(Features(PRE), LABELS, 3)


def moved(post, problem=PROBLEM, plan=PLAN):
    return transfer(problem, PRE, post.astype(np.float32), LABELS, plan)


def hits(scores):
    return (scores.argmax(1) == LABELS[200:]).mean()


def test_before_is_the_ordinary_readout():
    np.testing.assert_allclose(moved(PRE).before, read_out(PROBLEM, PLAN).scores, atol=1e-3)


def test_unchanged_features_are_read_as_they_are():
    found = moved(PRE)
    np.testing.assert_allclose(found.after["raw"], found.before, atol=1e-6)
    assert found.fidelity["raw"].overall == pytest.approx(1)


def test_a_rotation_is_undone_by_the_orthogonal_map():
    found = moved(2 * PRE @ TURN + 1)
    np.testing.assert_allclose(found.after["orthogonal"], found.before, atol=1e-3)
    assert hits(found.after["raw"]) < hits(found.before) - 0.2
    assert found.fidelity["orthogonal"].class_signal == pytest.approx(1, abs=1e-4)


def test_a_stretch_is_undone_by_the_affine_map_only():
    found = moved(PRE @ np.diag([0.05, 0.05, 0.05, 20, 20, 20]) @ TURN)
    np.testing.assert_allclose(found.after["affine"], found.before, atol=0.02)
    assert hits(found.after["orthogonal"]) < hits(found.before) - 0.2
    assert found.fidelity["affine"].class_signal > 0.99


def test_what_is_gone_comes_back_by_no_map():
    post = PRE.copy()
    post[:, :3] = RNG.normal(size=(N, 3))
    found = moved(post)
    assert hits(found.before) > 0.85
    assert max(hits(one) for one in found.after.values()) < 0.6
    assert found.fidelity["affine"].class_signal < 0.2 < found.fidelity["affine"].overall


def test_labels_do_not_reach_the_maps():
    post = PRE @ TURN + RNG.normal(size=(N, D))
    found = moved(post)
    other = transfer(PROBLEM, PRE, post.astype(np.float32), np.roll(LABELS, 1), PLAN)
    for name, scores in found.after.items():
        np.testing.assert_array_equal(scores, other.after[name])


@pytest.mark.parametrize("width", [4, 9])
def test_other_widths_have_no_raw_reading(width):
    post = np.hstack([PRE, RNG.normal(size=(N, 3))])[:, :width]
    found = moved(post)
    assert set(found.after) == {"orthogonal", "affine"}
    assert hits(found.after["affine"]) > 0.8


@pytest.mark.slow
def test_gaze_is_transferred_too_and_several_stages_are_put_together():
    heads = np.tile(np.float32([0.4, 0.4, 0.6, 0.6]), (N, 1))
    points = np.clip(0.5 + 0.3 * PRE[:, None, :2] / 3, 0, 1)
    problem = GazeProblem(
        Features(PRE), displacement_basis(heads, (3, 3)), cell_targets(points, (3, 3))
    )
    one, two = np.arange(0, N, 2), np.arange(1, N, 2)
    plan = Plan(
        tuple(Stage(((a[:100], a[100:]),), a, b) for a, b in ((one, two), (two, one))), "two"
    )
    found = moved(PRE @ TURN, problem, plan)
    assert found.before.shape == (N, 9)
    np.testing.assert_allclose(found.after["orthogonal"], found.before, atol=1e-3)
    np.testing.assert_allclose(found.before, read_out(problem, plan).scores, atol=0.02)
