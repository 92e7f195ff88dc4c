"""Pictures changed by chance, with boxes and points taken along, and tokens computed from them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from degradation.encoders.encoder import BlockTokens
from degradation.errors import PairingError
from degradation.tasks.registry import get_task
from socialfusion.augment import Change, draw_change, may_mirror
from socialfusion.online import Online, OnlineTokens, load_online
from socialfusion.place import Place
from socialfusion.sources import open_tasks

CPU = Place(torch.device("cpu"))


class Colours:
    """An encoder whose tokens are the mean colours of patches of 8 pixels."""

    def __call__(self, pixels: torch.Tensor, blocks: list[int]) -> dict[int, BlockTokens]:
        means = torch.nn.functional.avg_pool2d(pixels.float(), 8).flatten(2).transpose(1, 2)
        return {block: BlockTokens(means, means[:, :0]) for block in blocks}

    class info:
        patch, width, digest = 8, 3, "digest of pre"


def source(picture: Image.Image, size: int = 64) -> OnlineTokens:
    names = np.array([["one"]], dtype=object)
    return OnlineTokens(names, lambda name: picture, size, Colours(), 0, CPU, mirror=True)


@given(st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_all_that_is_marked_stays_in_the_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (2, 2, 2)), axis=1)
    boxes = {"face": corners.reshape(2, 4).astype(np.float32)}
    boxes["face"][1] = np.nan
    points = rng.uniform(size=(3, 2)).astype(np.float32)
    points[2] = np.nan
    change = draw_change(boxes, points, mirror=True, rng=rng).rounded(97, 61)
    x1, y1, x2, y2 = change.part
    assert 0 <= x1 <= 0.25
    assert 0.75 <= x2 <= 1
    assert 0 <= y1 <= 0.25
    assert 0.75 <= y2 <= 1
    moved, there = change.boxes(boxes["face"]), change.points(points)
    assert np.isnan(moved[1]).all()
    assert np.isnan(there[2]).all()
    assert ((there[:2] >= -1e-6) & (there[:2] <= 1 + 1e-6)).all()
    back = moved[0].astype(float)
    if change.mirror:
        back[[0, 2]] = 1 - back[[2, 0]]
    back = back.reshape(2, 2) * (x2 - x1, y2 - y1) + (x1, y1)
    assert np.allclose(back.ravel(), boxes["face"][0], atol=1e-5)


def test_pixels_and_boxes_move_together() -> None:
    """A red rectangle is where its box says, and the point is in it, whatever the change."""
    picture = Image.new("RGB", (80, 60))
    picture.paste((255, 0, 0), (16, 9, 40, 30))
    boxes = {"face": np.array([[[16 / 80, 9 / 60, 40 / 80, 30 / 60]]], dtype=np.float32)}
    points = np.array([[[28 / 80, 20 / 60]]], dtype=np.float32)
    one, changes = source(picture), set()
    for seed in range(12):
        seen = one.see(np.array([0]), boxes, points, np.random.default_rng(seed))
        red = seen.tokens[0, :, 0].reshape(8, 8).numpy()
        x1, y1, x2, y2 = (8 * seen.boxes["face"][0, 0]).tolist()
        share = np.array(
            [[max(0, min(x2, x + 1) - max(x1, x)) * max(0, min(y2, y + 1) - max(y1, y))
              for x in range(8)] for y in range(8)]
        )  # fmt: skip
        assert np.abs(red / 255 - share).max() < 0.12
        x, y = (8 * seen.points[0, 0]).astype(int)
        assert red[y, x] > 200
        changes.add(round(x1, 3))
    assert len(changes) > 4


def test_without_a_generator_nothing_changes() -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    boxes = {"face": np.array([[[0.1, 0.2, 0.5, 0.6]]], dtype=np.float32)}
    points = np.zeros((1, 0, 2), dtype=np.float32)
    seen = source(picture).see(np.array([0]), boxes, points)
    assert np.array_equal(seen.boxes["face"], boxes["face"])
    means = np.asarray(picture).reshape(8, 8, 8, 8, 3).mean(axis=(1, 3)).reshape(64, 3)
    assert np.allclose(seen.tokens[0].numpy(), means, atol=1e-3)
    assert Change().points(np.array([[0.3, 0.4]])).tolist() == [[0.3, 0.4]]


def test_what_speaks_of_left_and_right_is_not_mirrored() -> None:
    from dataclasses import replace

    spec = get_task("scenes-objects").spec
    assert may_mirror(spec)
    assert not may_mirror(replace(spec, label_sets={"hand": ("hand_Left", "other")}))
    assert may_mirror(replace(spec, label_sets={"law": ("bright", "leftover")}))


def test_online_tokens_come_by_the_cached_protocol(cache) -> None:
    (task,) = open_tasks(
        cache, "tiny:pre", ("scenes-gaze",), block=1, memory=0.0, online=Online(Colours(), CPU, {})
    )
    assert task.tokens.shape == (4, 3)
    assert task.tokens.size == 16
    assert task.tokens.pictures[0, 0] == "train-0-0"
    with pytest.raises(PairingError, match="Extract again"):
        open_tasks(
            cache, "tiny:pre", ("scenes-gaze",), block=1, memory=0.0,
            online=load_online("tiny:pre", CPU, {}),
        )  # fmt: skip
