import time

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from probes.gaze_metrics import gaussian_maps, gaze_outcome, human_outcome, resize, roc_auc
from probes.metrics import GAZE_METRICS, GazeOutcome, evaluate, resolve


def annotated(seed=0, n=20, grid=(5, 6)):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 1, (n, 4, 2)).astype(np.float32)
    points[::2, 2:] = np.nan
    points[1, 1] = points[1, 0]  # two annotators at one place
    points[3, 0] = [1.0, 1.0]  # beyond the last pixel
    heat = (rng.integers(0, 8, (n, grid[0] * grid[1])) / 8).astype(np.float32)  # many ties
    predicted = rng.uniform(0, 1, (n, 2))
    sizes = rng.integers(20, 90, (n, 2))
    return heat, predicted, points, grid, sizes


def known(points):
    return points[~np.isnan(points[:, 0])]


def target(points, width, height):
    """One positive pixel for each annotator, as the literature assigns them."""
    found = np.zeros((height, width), dtype=int)
    for x, y in known(points):
        found[min(int(y * height), height - 1), min(int(x * width), width - 1)] = 1
    return found


def values_of(seed=0):
    heat, predicted, points, grid, sizes = annotated(seed)
    return gaze_outcome(heat, grid, predicted, points, sizes).values


def test_distances_are_direct_sums():
    heat, predicted, points, grid, _ = annotated()
    values = values_of()
    assert values.keys() == GAZE_METRICS.keys()
    for i in range(len(heat)):
        own = known(points[i])
        distance = np.linalg.norm(own - predicted[i], axis=1)
        mean = np.linalg.norm(own.mean(axis=0) - predicted[i])
        assert values["average_l2_error"][i] == pytest.approx(mean, rel=1e-6)
        assert values["mean_distance"][i] == pytest.approx(distance.mean(), rel=1e-6)
        assert values["minimum_l2_error"][i] == pytest.approx(distance.min(), rel=1e-6)
        assert values["mean_distance"][i] >= values["average_l2_error"][i] - 1e-9
        fine = resize(heat[i].reshape(grid), (64, 64))
        row, column = np.unravel_index(fine.argmax(), fine.shape)
        corner = np.array([column / 64, row / 64])
        expected = np.linalg.norm(own.mean(axis=0) - corner)
        assert values["peak_l2_error"][i] == pytest.approx(expected, rel=1e-6)


def test_a_peak_is_decoded_at_the_corner_of_its_cell():
    heat = np.zeros((1, 64 * 64), np.float32)
    heat[0, 10 * 64 + 32] = 1
    points = np.float32([[[0.5, 10 / 64]]])
    sizes = np.array([[100, 100]])
    centre = np.array([[32.5 / 64, 10.5 / 64]])
    values = gaze_outcome(heat, (64, 64), centre, points, sizes).values
    assert values["peak_l2_error"][0] == 0
    assert values["average_l2_error"][0] == pytest.approx(np.hypot(0.5, 0.5) / 64, rel=1e-5)


def test_auc_scores_are_scikit_learns_at_original_size_and_on_the_grid():
    heat, _, points, grid, sizes = annotated()
    values = values_of()
    for i, (width, height) in enumerate(sizes.tolist()):
        small = heat[i].reshape(grid)
        big = torch.nn.functional.interpolate(
            torch.from_numpy(small)[None, None], (height, width), mode="bilinear",
            align_corners=False,
        )[0, 0]  # fmt: skip
        np.testing.assert_allclose(resize(small, (height, width)), big, atol=1e-6)
        truth = target(points[i], width, height).ravel()
        own = roc_auc_score(truth, resize(small, (height, width)).ravel())
        assert values["auc_score"][i] == pytest.approx(own, abs=1e-12)
        # Interpolated by torch, ties may round apart, each worth half a pair.
        assert values["auc_score"][i] == pytest.approx(roc_auc_score(truth, big.ravel()), abs=0.02)
        cells = target(points[i], grid[1], grid[0])
        expected = roc_auc_score(cells.ravel(), heat[i])
        assert values["auc_on_grid"][i] == pytest.approx(expected, abs=1e-12)


@example(seed=0, grid=(3, 8), shape=(2, 1), levels=2, zeros=0.97, sign=-1)
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    levels=st.sampled_from([1, 2, 4, 10_000]),
    zeros=st.sampled_from([0.0, 0.5, 0.97]),
    sign=st.sampled_from([-1, 1]),
)
def test_auc_by_ranks_is_exact(seed, grid, shape, levels, zeros, sign):
    rng = np.random.default_rng(seed)
    heat = sign * (rng.integers(0, levels, grid) / levels) * (rng.random(grid) >= zeros)
    heat = heat.astype(np.float32)
    n = shape[0] * shape[1]
    positive = rng.choice(n, rng.integers(0, min(n, 11) + 1), replace=False)
    found = roc_auc(heat, positive, shape)
    if len(positive) in (0, n):
        assert np.isnan(found)
        return
    truth = np.zeros(n, dtype=int)
    truth[positive] = 1
    expected = roc_auc_score(truth, resize(heat, shape).ravel())
    assert found == pytest.approx(expected, abs=1e-12)


def test_what_is_undefined_is_no_number_and_says_why():
    one = np.full((1, 1, 2), 0.5, np.float32)
    sizes = np.array([[1, 1]])
    values = gaze_outcome(np.ones((1, 1), np.float32), (1, 1), one[:, 0], one, sizes).values
    assert np.isnan(values["auc_score"][0])
    assert np.isnan(values["auc_on_grid"][0])
    nowhere = np.full((1, 1, 2), np.nan, np.float32)
    sizes = np.array([[9, 9]])
    values = gaze_outcome(np.ones((1, 4), np.float32), (2, 2), one[:, 0], nowhere, sizes).values
    assert all(np.isnan(value[0]) for value in values.values())
    assert np.isnan(evaluate(resolve("auc_score", ()), GazeOutcome(values))[0])
    assert "auc_on_grid" in resolve("auc_score", ()).undefined
    assert np.isnan(roc_auc(np.float32([[np.nan, 1]]), np.array([0]), (1, 2)))


def test_one_unknown_size_leaves_only_the_grid():
    heat, predicted, points, grid, sizes = annotated()
    sizes[4] = 0
    values = gaze_outcome(heat, grid, predicted, points, sizes).values
    assert np.isnan(values["auc_score"]).all()
    np.testing.assert_array_equal(values["auc_on_grid"], values_of()["auc_on_grid"])


def test_a_map_that_stands_for_a_point():
    points = np.float32([[0.5, 0.25], [0.0, 1.0]])
    maps = gaussian_maps(points).reshape(2, 64, 64)
    assert maps[0, 16, 32] == 1
    assert maps[0, 16 + 3, 32] == pytest.approx(np.exp(-0.5))
    assert maps[0, 16 + 9, 32 - 9] > 0
    assert maps[0, 16 + 10, 32] == maps[0, 16, 32 - 10] == 0
    assert maps[1, 63, 0] == maps[1].max() == 1
    assert np.count_nonzero(maps[1]) == 100


def test_humans_are_measured_one_against_the_others():
    _, _, points, _, sizes = annotated(n=8)
    points[5, 1:] = np.nan
    values = human_outcome(points, sizes).values
    assert all(np.isnan(value[5]) for value in values.values())
    assert all(np.isfinite(np.delete(value, 5)).all() for value in values.values())
    for i in (0, 1, 2, 3):
        own = known(points[i]).astype(np.float64)
        width, height = sizes[i].tolist()
        sums = {"average_l2_error": 0.0, "minimum_l2_error": 0.0, "auc_score": 0.0}
        for k in range(len(own)):
            others = np.delete(own, k, axis=0)
            sums["average_l2_error"] += np.linalg.norm(own[k] - others.mean(axis=0))
            sums["minimum_l2_error"] += np.linalg.norm(own[k] - others, axis=1).min()
            heat = resize(gaussian_maps(own[k : k + 1]).reshape(64, 64), (height, width))
            truth = target(np.delete(points[i][: len(own)], k, axis=0), width, height)
            sums["auc_score"] += roc_auc_score(truth.ravel(), heat.ravel())
        for name, total in sums.items():
            assert values[name][i] == pytest.approx(total / len(own), rel=1e-5)


def test_humans_need_company_and_sizes():
    points = np.full((2, 3, 2), np.nan, np.float32)
    points[:, 0] = 0.5
    values = human_outcome(points, np.array([[9, 9], [9, 9]])).values
    assert all(np.isnan(value).all() for value in values.values())
    points[:, 1] = 0.25
    values = human_outcome(points, np.array([[9, 9], [0, 0]])).values
    assert np.isnan(values["auc_score"]).all()
    assert np.isfinite(values["average_l2_error"]).all()


def test_rows_without_a_number_leave_the_mean_alone():
    outcome = GazeOutcome({"auc_score": np.array([0.5, np.nan, 1.0])})
    metric = resolve("auc_score", ())
    np.testing.assert_array_equal(
        evaluate(metric, outcome, np.array([[1.0, 1, 1], [0, 1, 0]])), [0.75, np.nan]
    )


def test_ranks_are_much_faster_than_sorting():
    rng = np.random.default_rng(0)
    heat = rng.random((24, 24), dtype=np.float32)
    shape, positive = (480, 640), rng.choice(480 * 640, 10, replace=False)
    truth = np.zeros(480 * 640, dtype=int)
    truth[positive] = 1

    def least(count, work):
        times = []
        for _ in range(count):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    ours = least(20, lambda: roc_auc(heat, positive, shape))
    big = resize(heat, shape).ravel()
    theirs = least(3, lambda: roc_auc_score(truth, big))
    assert theirs / ours > 25  # 50 and more on a quiet machine: tests/benchmarks/gaze_auc.py
