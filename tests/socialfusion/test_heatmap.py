"""Maps of where somebody looks: targets, loss, head, reading."""

import math

import pytest
import torch

from socialfusion.heatmap import GazeHead, heatmap_loss, heatmap_probabilities, target_maps

SIZE = 64


def by_hand(x: float, y: float) -> torch.Tensor:
    """Cell by cell: a Gaussian of deviation 3 around the cell of the point, cut at 9 cells."""
    column, row = min(int(x * SIZE), SIZE - 1), min(int(y * SIZE), SIZE - 1)
    out = torch.zeros(SIZE, SIZE)
    for i in range(SIZE):
        for j in range(SIZE):
            square = (i - row) ** 2 + (j - column) ** 2
            if square <= 81:
                out[i, j] = math.exp(-square / 18)
    return out


def test_target_has_its_peak_in_the_cell_of_the_point() -> None:
    points = torch.tensor([[[0.2, 0.7]], [[1.0, 0.0]]])
    maps = target_maps(points, SIZE)
    torch.testing.assert_close(maps[0], by_hand(0.2, 0.7))
    torch.testing.assert_close(maps[1], by_hand(1.0, 0.0))
    assert maps[0].argmax() == int(0.7 * SIZE) * SIZE + int(0.2 * SIZE)
    assert maps.amax((1, 2)).tolist() == [1.0, 1.0]


def test_annotators_are_averaged_and_absent_ones_passed_over() -> None:
    nan = float("nan")
    points = torch.tensor([[[0.2, 0.7], [0.5, 0.5], [nan, nan]], [[nan, nan]] * 3])
    maps = target_maps(points, SIZE)
    torch.testing.assert_close(maps[0], (by_hand(0.2, 0.7) + by_hand(0.5, 0.5)) / 2)
    assert maps[1].isnan().all()  # so that the loss says so


def test_loss_is_the_mean_binary_cross_entropy() -> None:
    target = target_maps(torch.tensor([[[0.5, 0.5]], [[0.1, 0.9]]]), SIZE)
    logits = torch.randn(2, SIZE, SIZE)
    p = torch.sigmoid(logits)
    expected = -(target * p.log() + (1 - target) * (1 - p).log()).mean((1, 2))
    torch.testing.assert_close(heatmap_loss(logits, target), expected)
    # What a map without any information costs, by which lambda is chosen.
    assert heatmap_loss(torch.zeros(1, SIZE, SIZE), target[:1]).item() == pytest.approx(
        0.693, abs=1e-3
    )
    constant = torch.logit(target[:1].mean()).expand(1, SIZE, SIZE)
    assert heatmap_loss(constant, target[:1]).item() == pytest.approx(0.073, abs=1e-3)


def test_probabilities_sum_to_one_and_recover_the_target() -> None:
    target = target_maps(torch.tensor([[[0.3, 0.4]]]), SIZE)
    read = heatmap_probabilities(torch.logit(target.clamp(1e-7, 1 - 1e-7)))
    assert read.sum().item() == pytest.approx(1)
    torch.testing.assert_close(read, target / target.sum(), atol=1e-5, rtol=0)


def test_head_doubles_the_grid_in_raster_order() -> None:
    head = GazeHead(6, 4, (3, 5), 64)
    head.initialise(generator=torch.Generator().manual_seed(0))
    hidden = torch.randn(2, 15, 6)
    image = (hidden @ head.project.weight.T + head.project.bias).view(2, 3, 5, 4)
    fine = torch.zeros(2, 6, 10)
    for i in range(6):
        for j in range(10):
            kernel = head.enlarge.weight[:, 0, i % 2, j % 2]
            fine[:, i, j] = image[:, i // 2, j // 2] @ kernel + head.enlarge.bias
    expected = torch.nn.functional.interpolate(fine[:, None], (64, 64), mode="bilinear")[:, 0]
    torch.testing.assert_close(head(hidden), expected)


def test_first_map_is_as_empty_as_a_target_on_average() -> None:
    head = GazeHead(96, 256, (8, 8), SIZE)
    head.initialise(generator=torch.Generator().manual_seed(0))
    share = torch.sigmoid(head(torch.zeros(1, 64, 96))).mean().item()
    assert share == pytest.approx(by_hand(0.5, 0.5).mean().item(), rel=0.15)
