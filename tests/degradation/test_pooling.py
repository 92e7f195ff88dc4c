"""From patch tokens to one vector: weights of boxes, frames and fields."""

import numpy as np
import pytest
import torch

from degradation.errors import DataError
from degradation.pooling import box_weights, pool, pool_frames, split_boxes


def test_box_weights_equal_counting_points():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(-0.2, 1.2, (40, 2, 2)), axis=1)
    boxes = corners.reshape(40, 4).astype(np.float32)
    weights = box_weights(boxes, (3, 5))
    x, y = (np.arange(1500) + 0.5) / 1500, (np.arange(900) + 0.5) / 900
    for box, found in zip(boxes, weights, strict=True):
        columns = ((x > box[0]) & (x < box[2])).reshape(5, -1).sum(axis=1)
        lines = ((y > box[1]) & (y < box[3])).reshape(3, -1).sum(axis=1)
        if lines.sum() * columns.sum() == 0:  # wholly outside
            assert sorted(found) == [0] * 14 + [1]
            continue
        shares = np.outer(lines, columns).ravel() / (lines.sum() * columns.sum())
        np.testing.assert_allclose(found, shares, atol=0.02)


def test_small_boxes_weigh_the_cell_that_holds_them():
    points = np.array([[0.3, 0.9, 0.3, 0.9], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=np.float32)
    weights = box_weights(points, (4, 4))
    assert weights.argmax(axis=1).tolist() == [13, 15, 0]
    np.testing.assert_array_equal(weights.sum(axis=1), 1)
    tiny = box_weights(np.array([[0.3, 0.9, 0.3001, 0.9001]], dtype=np.float32), (4, 4))
    assert tiny[0, 13] == 1
    absent = np.array([[np.nan, 0, 1, 1], [0, 0, 1, 1]], dtype=np.float32)
    weights = box_weights(absent, (2, 2))
    assert np.isnan(weights[0]).all()
    np.testing.assert_array_equal(weights[1], 0.25)
    with pytest.raises(DataError, match="x1 <= x2"):
        box_weights(np.array([[0.9, 0, 0.1, 1]], dtype=np.float32), (2, 2))


def test_pool_accumulates_in_float32():
    tokens = torch.full((1, 4096, 1), 1.001, dtype=torch.bfloat16)
    mean = pool(tokens, torch.full((1, 1, 4096), 1 / 4096))
    assert mean.shape == (1, 1, 1)
    assert mean.dtype == torch.float32
    assert mean.item() == pytest.approx(tokens[0, 0, 0].item(), rel=1e-5)
    assert torch.isnan(pool(tokens, torch.full((1, 1, 4096), torch.nan))).all()


@pytest.mark.parametrize("how", ["mean", "max", "gem"])
def test_frames_that_have_the_region_are_averaged(how):
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(6, 5, 4, generator=generator)  # 3 samples of 2 frames
    mask = torch.tensor([[1, 1, 0, 0, 1], [0, 1, 1, 0, 0]]).float()
    weights = torch.zeros(3, 2, 1, 5)
    weights[0, :, 0] = mask / mask.sum(1, keepdim=True) / 2
    weights[1, 1, 0] = mask[1] / 2  # no region in the first frame
    weights[2] = torch.nan
    found = pool_frames(patches, weights, how)[:, 0]

    def direct(frame, cells):
        values = patches[frame][cells.bool()].double()
        if how == "max":
            return values.amax(0)
        if how == "mean":
            return values.mean(0)
        cubes = (values**3).mean(0)
        return cubes.sign() * cubes.abs() ** (1 / 3)

    expected = (direct(0, mask[0]) + direct(1, mask[1])) / 2
    torch.testing.assert_close(found[0], expected.float())
    torch.testing.assert_close(found[1], direct(3, mask[1]).float())
    assert torch.isnan(found[2]).all()


def test_boxes_split_in_raster_order():
    boxes = np.float32([[0, 0, 1, 0.5], [-1, 0.5, 0.5, 2], [np.nan] * 4])
    parts = split_boxes(boxes, 2)
    np.testing.assert_allclose(
        parts[0], [[0, 0, 0.5, 0.25], [0.5, 0, 1, 0.25], [0, 0.25, 0.5, 0.5], [0.5, 0.25, 1, 0.5]]
    )
    np.testing.assert_allclose(parts[1, 3], [0.25, 0.75, 0.5, 1])
    assert np.isnan(parts[2]).all()
