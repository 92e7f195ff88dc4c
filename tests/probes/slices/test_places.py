"""Where tokens lie, against loops over cells, and means with clustered errors."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.slices.places import BACKGROUND, SIDE, box_cells, cell_centres, regions
from probes.slices.where import cluster_means

edges = st.floats(0, 1, width=32)
boxes = st.lists(st.tuples(edges, edges, edges, edges), min_size=1, max_size=4)


def as_boxes(corners):
    box = np.array(corners, dtype=np.float32).reshape(-1, 4)
    low, high = np.minimum(box[:, :2], box[:, 2:]), np.maximum(box[:, :2], box[:, 2:])
    return np.concatenate([low, high], axis=1)


@given(boxes, st.tuples(st.integers(1, 4), st.integers(1, 5)))
@settings(max_examples=40, deadline=None)
def test_regions_against_a_loop(corners, grid):
    box = as_boxes(corners)
    found = regions({"face": box}, grid)
    for i, (x1, y1, x2, y2) in enumerate(box.astype(float)):
        inside = [
            x1 <= (c + 0.5) / grid[1] <= x2 and y1 <= (r + 0.5) / grid[0] <= y2
            for r in range(grid[0])
            for c in range(grid[1])
        ]
        if any(inside):
            assert found["face"][i].tolist() == inside
        else:  # a box between the centres has the nearest
            assert found["face"][i].sum() == 1
            gaps = ((cell_centres(grid) - [(x1 + x2) / 2, (y1 + y2) / 2]) ** 2).sum(1)
            assert gaps[found["face"][i].argmax()] == pytest.approx(gaps.min())
        assert (found[BACKGROUND][i] == ~found["face"][i]).all()


def test_regions_overlap_and_missing_boxes_have_none():
    one = np.array([[0, 0, 0.6, 1], [np.nan] * 4], dtype=np.float32)
    two = np.array([[0, 0, 0.3, 1], [0.5, 0, 1, 1]], dtype=np.float32)
    found = regions({"a": one, "b": two}, (1, 4))
    assert found["a"].astype(int).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert found["b"].astype(int).tolist() == [[1, 0, 0, 0], [0, 0, 1, 1]]
    assert found[BACKGROUND].astype(int).tolist() == [[0, 0, 1, 1], [1, 1, 0, 0]]


def test_box_cells_put_the_box_in_the_middle_half():
    grid = (16, 16)
    box = np.array([[0.25, 0.25, 0.75, 0.75], [0, 0, 0, 0], [np.nan] * 4], dtype=np.float32)
    found = box_cells(box, grid)
    centres = cell_centres(grid)
    for token, (x, y) in enumerate(centres):
        u, v = (x - 0.25) / 0.5, (y - 0.25) / 0.5
        column, row = (int((w + 0.5) / 2 * SIDE) for w in (u, v))
        assert found[0, token] == SIDE * row + column
    inside = ((centres > 0.25) & (centres < 0.75)).all(1)
    rows, columns = np.divmod(found[0], SIDE)
    middle = (rows >= 2) & (rows < 6) & (columns >= 2) & (columns < 6)
    assert (middle == inside).all()
    assert (found[1:] == -1).all()


def test_clustered_errors_of_single_rows_are_the_usual_ones():
    values = np.random.default_rng(0).normal(size=(40, 3))
    mean, error, groups = cluster_means(values, np.arange(40))
    assert mean == pytest.approx(values.mean(0))
    assert error == pytest.approx(values.std(0, ddof=1) / np.sqrt(40))
    assert groups.tolist() == [40] * 3


def test_clustered_errors_against_a_loop_and_with_gaps():
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(15), 4)
    values = rng.normal(size=60) + rng.normal(size=15)[clusters]
    values[rng.random(60) < 0.3] = np.nan
    mean, error, groups = cluster_means(values[:, None], clusters)
    known = ~np.isnan(values)
    centre = values[known].mean()
    sums = [np.nansum(values[clusters == c] - centre) for c in range(15)]
    assert mean[0] == pytest.approx(centre)
    expected = np.sqrt(15 / 14 * np.sum(np.square(sums))) / known.sum()
    assert groups[0] == 15
    assert error[0] == pytest.approx(expected)
    whole, narrow, _ = cluster_means(np.repeat(values[:15, None], 4, 0), clusters)
    single, wide, _ = cluster_means(values[:15, None], np.arange(15))
    assert (whole, narrow) == (pytest.approx(single), pytest.approx(wide))  # copies add nothing


def test_columns_without_rows_have_no_mean():
    mean, error, groups = cluster_means(np.array([[np.nan, 1.0], [np.nan, np.nan]]), np.arange(2))
    assert np.isnan(mean[0])
    assert mean[1] == 1.0
    assert np.isnan(error).all()
    assert groups.tolist() == [0, 1]
