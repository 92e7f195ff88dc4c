"""Boxes as cells, and the vectors that mark them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from degradation.errors import DataError
from socialfusion.boxes import BoxVectors, box_cells


def test_edges_are_rounded_outwards() -> None:
    cells = box_cells(np.array([[[0.26, 0.0, 0.74, 0.34]]], np.float32), (3, 4))
    expected = [[False, True, True, False]] * 2 + [[False] * 4]
    assert cells.reshape(3, 4).tolist() == expected


def test_an_edge_on_the_edge_of_a_cell_covers_no_more() -> None:
    # 0.3 and 0.6 are a little more than that as float32.
    cells = box_cells(np.array([[[0.3, 0.0, 0.6, 1.0]]], np.float32), (1, 10))
    assert np.flatnonzero(cells[0]).tolist() == [3, 4, 5]


@given(
    st.tuples(*[st.floats(-0.5, 1.5, width=32)] * 4),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
@settings(max_examples=60, deadline=None)
def test_every_box_covers_a_cell_and_all_that_it_touches(corners, grid) -> None:
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    if not (x2 > x1 and y2 > y1):
        return
    cells = box_cells(np.array([[[x1, y1, x2, y2]]], np.float32), grid).reshape(grid)
    assert cells.any()
    h, w = grid
    for row in range(h):
        for column in range(w):
            # Whatever lies in the box by more than rounding is covered.
            wide = min(x2 * w, column + 1) - max(x1 * w, column)
            high = min(y2 * h, row + 1) - max(y1 * h, row)
            if wide > 1e-3 and high > 1e-3:
                assert cells[row, column]


def test_a_box_outside_the_picture_covers_the_nearest_cell() -> None:
    cells = box_cells(np.array([[[1.2, -0.5, 1.4, -0.2]]], np.float32), (2, 3))
    assert np.flatnonzero(cells[0]).tolist() == [2]


def test_each_frame_has_its_own_box_and_an_absent_one_none() -> None:
    boxes = np.array([[[0, 0, 0.5, 0.5], [np.nan] * 4, [0.5, 0.5, 1, 1]]], np.float32)
    cells = box_cells(boxes, (2, 2)).reshape(3, 4)
    assert cells.tolist() == [[True, False, False, False], [False] * 4, [False, False, False, True]]


@pytest.mark.parametrize("box", [[0.2, 0.2, 0.2, 0.6], [0.6, 0.1, 0.2, 0.3]])
def test_a_box_without_area_is_refused(box) -> None:
    boxes = np.array([[[0, 0, 1, 1]], [box]], np.float32)
    with pytest.raises(DataError, match=r"with an area, found .* in row 1"):
        box_cells(boxes, (4, 4))


def test_each_role_adds_its_own_vector_on_its_own_cells() -> None:
    module = BoxVectors(("face", "person_a", "person_b"), 5)
    module.initialise(generator=torch.Generator().manual_seed(0))
    tokens = torch.randn(2, 4, 5)
    masks = torch.zeros(2, 4, 2, dtype=torch.bool)
    masks[0, 1, 0] = masks[0, 2, 1] = masks[1, 3, 0] = masks[1, 3, 1] = True
    added = module(tokens, masks, ("person_b", "face")) - tokens
    face, _, person_b = module.vectors
    expected = torch.zeros(2, 4, 5)
    expected[0, 1], expected[0, 2], expected[1, 3] = person_b, face, person_b + face
    torch.testing.assert_close(added, expected)
