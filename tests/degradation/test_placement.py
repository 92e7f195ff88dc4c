"""Boxes, points and rows through the same map as the pixels, against plain maths and pictures."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from degradation.errors import DataError
from degradation.geometry import Geometry
from degradation.placement import rows_in_arrays
from degradation.pooling import box_weights
from degradation.tasks.task import Rows
from degradation.views import place, view

SIZE = 56
KINDS = {
    "squash": Geometry(kind="squash", size=SIZE),
    "pad": Geometry(kind="pad", size=SIZE),
    "short-crop": Geometry(kind="short-crop", size=SIZE),
    "closer-crop": Geometry(kind="short-crop", size=SIZE, crop_pct=0.875),
    "native": Geometry(kind="native", max_pixels=28 * 28 * 12),
}
CUT = {name: replace(one, crop="face", margin=0.25) for name, one in KINDS.items()}
EVERY = {**KINDS, **{f"cut-{name}": one for name, one in CUT.items()}}
SEEN_BY_ALL = np.array([0.42, 0.44, 0.58, 0.56], dtype=np.float32)

every = st.sampled_from(sorted(EVERY))
sides = st.integers(20, 120)
shares = st.floats(0, 1, width=32)


def ramps(width: int, height: int) -> Image.Image:
    """Red grows with x, green with y, and blue is 255 wherever there is picture."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = (x + 0.5) / width, (y + 0.5) / height
    colours = np.stack([red * 255, green * 255, np.full_like(red, 255)], axis=-1)
    return Image.fromarray(np.rint(colours).astype(np.uint8))


def box_of(a: float, b: float, c: float, d: float) -> np.ndarray:
    (x1, x2), (y1, y2) = sorted((a, b)), sorted((c, d))
    return np.array([x1, y1, x2, y2], dtype=np.float32)


def centres(shape: tuple[int, int]) -> np.ndarray:
    """Centres of the pixels of an array, normalised, shape (h, w, 2)."""
    height, width = shape
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return np.stack(np.meshgrid(x, y), axis=-1)


# ---------------------------------------------------------------- points


@settings(deadline=None)
@given(points=st.lists(st.tuples(shares, shares), min_size=1), width=sides, height=sides)
def test_the_squash_leaves_coordinates_exactly_as_they_are(points, width, height):
    placement = place(width, height, KINDS["squash"])
    points = np.array(points, dtype=np.float32)
    np.testing.assert_array_equal(placement.to_array(points), points)
    np.testing.assert_array_equal(placement.to_picture(points), points)
    assert placement.shows(points).all()
    boxes = np.concatenate([np.minimum(points, points[::-1]), np.maximum(points, points[::-1])], 1)
    np.testing.assert_array_equal(placement.boxes_to_array(boxes), boxes)


@settings(deadline=None)
@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    kind=every,
    points=st.lists(st.tuples(shares, shares), min_size=1, max_size=5),
)
def test_points_come_back_within_half_a_pixel(width, height, kind, points):
    assume(max(width, height) <= 200 * min(width, height))
    try:
        placement = place(width, height, EVERY[kind], box=SEEN_BY_ALL)
    except DataError:  # a small cut of a long picture may be longer than Qwen2-VL allows
        assume(False)
    points = np.array(points, dtype=np.float32)
    back = placement.to_picture(placement.to_array(points))
    assert (np.abs(back - points) * (width, height)).max() <= 0.5
    wide = points.astype(np.float64)
    np.testing.assert_allclose(placement.to_picture(placement.to_array(wide)), wide, atol=1e-12)
    height_out, width_out = placement.shape
    left, top, right, bottom = placement.part
    direct = (wide * (width, height) - (left, top)) / (right - left, bottom - top)
    span = np.array(placement.target[2:]) - placement.target[:2]
    direct = (direct * span + placement.target[:2]) / (width_out, height_out)
    np.testing.assert_allclose(placement.to_array(wide), direct, rtol=1e-12, atol=1e-9)


@settings(max_examples=200, deadline=None)
@given(width=sides, height=sides, kind=every)
def test_every_pixel_shows_the_place_that_the_map_says(width, height, kind):
    """The colours of a ramp are read off the array and give the place in the picture."""
    pixels, placement = view(ramps(width, height), EVERY[kind], box=SEEN_BY_ALL)
    colours = pixels.astype(np.float64) / 255
    at = centres(placement.shape)
    places = placement.to_picture(at.reshape(-1, 2)).reshape(at.shape)
    real = colours[..., 2] > 0.5
    assert real.any()
    picture = np.array([width, height])
    # Half a pixel, of the picture or of the array, whichever is larger, and the 8 bits.
    pixel = np.maximum(1, picture / (placement.scale * placement.shape[::-1]))
    error = np.abs(colours[..., :2] - places) * picture
    assert (error[real] <= 0.5 * pixel + picture / 255 + 1e-6).all()
    # And picture is exactly where the record says that it is.
    x1, y1, x2, y2 = placement.real
    inside = (at[..., 0] > x1) & (at[..., 0] < x2) & (at[..., 1] > y1) & (at[..., 1] < y2)
    np.testing.assert_array_equal(real, inside)
    np.testing.assert_array_equal(placement.shows(places.reshape(-1, 2)), inside.ravel())


@pytest.mark.parametrize(("x", "shown"), [(0.1, False), (0.24, False), (0.26, True), (0.74, True)])
def test_points_beside_a_centre_crop_are_known_to_be_gone(x, shown):
    placement = place(200, 100, KINDS["short-crop"])
    np.testing.assert_allclose(placement.seen, [0.25, 0, 0.75, 1])
    point = np.array([[x, 0.5]])
    assert placement.shows(point).tolist() == [shown]
    np.testing.assert_allclose(placement.to_array(point), [[(x - 0.25) * 2, 0.5]])


def test_points_that_are_absent_or_outside_the_picture_are_not_shown():
    points = np.array([[np.nan, np.nan], [1.2, 0.5], [0.5, -0.1], [0, 1]], dtype=np.float32)
    for geometry in KINDS.values():
        corner = geometry.crop_pct == 1  # else it is cut away even from a square
        assert place(50, 50, geometry).shows(points).tolist() == [False, False, False, corner]


# ---------------------------------------------------------------- boxes


@settings(max_examples=200, deadline=None)
@given(width=sides, height=sides, kind=every, corners=st.tuples(shares, shares, shares, shares))
def test_boxes_are_found_where_they_were_painted(width, height, kind, corners):
    """A filled box of whole pixels is painted; its edges are found again from the array."""
    ends = np.rint(box_of(*corners) * np.tile([width, height], 2)).astype(int)
    x1, y1, x2, y2 = ends.tolist()
    assume(x2 - x1 >= 4 and y2 - y1 >= 4)
    image = Image.new("RGB", (width, height), "black")
    ImageDraw.Draw(image).rectangle((x1, y1, x2 - 1, y2 - 1), fill="white")
    pixels, placement = view(image, EVERY[kind], box=SEEN_BY_ALL)
    box = np.array([[x1 / width, y1 / height, x2 / width, y2 / height]])
    (moved,) = placement.boxes_to_array(box)
    if np.isnan(moved).all():
        assert pixels.max() <= 128  # at most half of an edge that is shared with what is seen
        return
    real = placement.real
    assert (moved[:2] >= real[:2]).all()
    assert (moved[:2] <= moved[2:]).all()
    assert (moved[2:] <= real[2:]).all()
    # An antialiased edge is spread over one pixel of the picture, or of the array if larger.
    shape = np.array(placement.shape[::-1])
    blur = np.maximum(1, placement.scale * shape / (width, height))
    visible = (moved[2:] - moved[:2]) * shape
    assume((visible >= 3 * blur).all())
    for i, axis in enumerate((0, 1)):
        found = np.flatnonzero((pixels[..., 0] > 127).any(axis=axis))[[0, -1]] + (0, 1)
        assert (np.abs(found - moved[i::2] * shape[i]) <= 0.5 * blur[i] + 0.5).all()


def test_boxes_at_the_border_of_a_crop():
    placement = place(200, 100, KINDS["short-crop"])  # shows x from 0.25 to 0.75
    boxes = np.array(
        [
            [0.0, 0.2, 0.2, 0.4],  # wholly outside
            [0.0, 0.2, 0.25, 0.4],  # outside, touching
            [0.0, 0.2, 0.5, 0.4],  # half visible
            [0.2, 0.0, 0.8, 1.0],  # larger than what is visible
            [0.5, 0.5, 0.5, 0.5],  # without area, inside
            [0.25, 0.5, 0.25, 0.6],  # without area, at the border
            [0.1, 0.5, 0.1, 0.5],  # without area, outside
            [np.nan] * 4,
        ],
        dtype=np.float32,
    )
    nothing = [np.nan] * 4
    expected = [
        nothing, nothing, [0, 0.2, 0.5, 0.4], [0, 0, 1, 1], [0.5] * 4, [0, 0.5, 0, 0.6], nothing,
        nothing,
    ]  # fmt: skip
    moved = placement.boxes_to_array(boxes)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_an_inverted_box_is_still_refused_by_pooling():
    inverted = np.array([[0.6, 0.2, 0.4, 0.5]], dtype=np.float32)
    moved = place(200, 100, KINDS["short-crop"]).boxes_to_array(inverted)
    with pytest.raises(DataError, match="x1 <= x2"):
        box_weights(moved, (4, 4))


# ---------------------------------------------------------------- rows and pooling


def rows_of(box: np.ndarray, points: np.ndarray, frames: int = 1) -> Rows:
    n = len(box)
    return Rows(
        ids=np.array([f"r{i}" for i in range(n)], dtype=object),
        pictures=np.full((n, frames), "p", dtype=object),
        boxes={"face": np.repeat(box[:, None].astype(np.float32), frames, axis=1)},
        labels={"kind": np.arange(n)},
        points=points.astype(np.float32),
        clusters=np.array([f"c{i}" for i in range(n)], dtype=object),
    )


TWO = rows_of(
    np.array([[0.0, 0.2, 0.1, 0.4], [0.4, 0.2, 0.6, 0.8]]),
    np.array([[[0.1, 0.5], [0.5, 0.5]], [[0.3, 0.3], [np.nan, np.nan]]]),
)


def test_rows_under_the_squash_are_returned_as_they_are():
    placements = [[place(200, 100, KINDS["squash"])], [place(30, 90, KINDS["squash"])]]
    assert rows_in_arrays(TWO, placements, mask_pad=True) is TWO


def test_rows_of_a_centre_crop_lose_what_is_cut_away():
    placements = [[place(200, 100, KINDS["short-crop"])]] * 2
    moved = rows_in_arrays(TWO, placements, mask_pad=True)
    assert list(moved.boxes) == ["face"]
    np.testing.assert_allclose(
        moved.boxes["face"], [[[np.nan] * 4], [[0.3, 0.2, 0.7, 0.8]]], atol=1e-6
    )
    np.testing.assert_allclose(
        moved.points,
        [[[np.nan] * 2, [0.5, 0.5]], [[0.1, 0.3], [np.nan] * 2]],
        atol=1e-6,
    )
    for column in ("ids", "pictures", "labels", "clusters", "left_out"):
        assert getattr(moved, column) is getattr(TWO, column)


def test_pooling_leaves_padding_out():
    """The mean over the box `image` is the mean over the pixels of the picture alone."""
    sizes = ((100, 50), (40, 90), (60, 60))
    views = [view(ramps(*size), KINDS["pad"]) for size in sizes]
    rows = rows_of(np.tile([0.25, 0.25, 0.5, 0.5], (3, 1)), np.zeros((3, 0, 2)))
    placements = [[placement] for _, placement in views]
    moved = rows_in_arrays(rows, placements, mask_pad=True)
    for i, (pixels, _) in enumerate(views):
        weights = box_weights(moved.boxes["image"][i], (SIZE, SIZE)).reshape(SIZE, SIZE)
        real = pixels[..., 2] == 255
        np.testing.assert_array_equal(weights > 1e-6, real)
        expected = pixels[real].mean(axis=0)
        np.testing.assert_allclose(np.einsum("hw,hwc->c", weights, pixels), expected, rtol=1e-4)
        np.testing.assert_allclose(expected[:2], 127.5, atol=2)  # all of the ramp, nothing else
    assert "image" not in rows_in_arrays(rows, placements, mask_pad=False).boxes
    squares = rows_in_arrays(rows, [placements[2]] * 3, mask_pad=True)
    assert squares is rows  # no padding, nothing to leave out


def test_frames_have_maps_of_their_own():
    rows = rows_of(np.array([[0.2, 0.2, 0.6, 0.6]]), np.zeros((1, 0, 2)), frames=2)
    frames = [place(100, 50, KINDS["pad"]), place(50, 100, KINDS["pad"])]
    moved = rows_in_arrays(rows, [frames], mask_pad=True)
    np.testing.assert_allclose(moved.boxes["face"][0, 0], [0.2, 0.35, 0.6, 0.55], atol=1e-6)
    np.testing.assert_allclose(moved.boxes["face"][0, 1], [0.35, 0.2, 0.55, 0.6], atol=1e-6)
    np.testing.assert_allclose(moved.boxes["image"][0], [[0, 0.25, 1, 0.75], [0.25, 0, 0.75, 1]])
    pointed = rows_of(np.array([[0.2, 0.2, 0.6, 0.6]]), np.zeros((1, 1, 2)), frames=2)
    with pytest.raises(DataError, match="points of single pictures"):
        rows_in_arrays(pointed, [frames], mask_pad=True)
