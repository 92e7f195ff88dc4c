"""Pixels, boxes and points through one map, against the models' own processors and plain maths."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from torch.nn import functional
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import (
    Qwen2VLImageProcessorPil,
    smart_resize,
)

from degradation.errors import ConfigError, DataError
from degradation.geometry import NATIVE, Geometry, place, render, smart_size, view
from degradation.pixels import pixel_hash, square, to_rgb
from degradation.placement import rows_in_arrays
from degradation.pooling import box_weights
from degradation.tasks.task import Rows

SIZE = 56
KINDS = {
    "squash": Geometry(kind="squash", size=SIZE),
    "pad": Geometry(kind="pad", size=SIZE),
    "short-crop": Geometry(kind="short-crop", size=SIZE),
    "native": Geometry(kind="native", max_pixels=28 * 28 * 12),
}
CUT = {name: replace(one, crop="face", margin=0.25) for name, one in KINDS.items()}
EVERY = {**KINDS, **{f"cut-{name}": one for name, one in CUT.items()}}
SEEN_BY_ALL = np.array([0.42, 0.44, 0.58, 0.56], dtype=np.float32)

kinds = st.sampled_from(sorted(KINDS))
every = st.sampled_from(sorted(EVERY))
sides = st.integers(20, 120)
shares = st.floats(0, 1, width=32)


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))


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


# ---------------------------------------------------------------- squash: the default, bit for bit


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (48, 48), (1, 1), (500, 3)])
def test_the_default_geometry_is_the_square_bit_for_bit(shape):
    image = noise(*shape)
    pixels, placement = view(image, Geometry().at(48))
    assert pixel_hash(pixels) == pixel_hash(square(image, 48))
    direct = np.asarray(image.resize((48, 48), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pixels, direct)
    assert placement.unmoved


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


# ---------------------------------------------------------------- against the models' processors


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(1, 6000),
    height=st.integers(1, 6000),
    bounds=st.sampled_from([(3136, 12_845_056), (3136, 1_003_520), (200_704, 401_408), (1, 784)]),
    multiple=st.sampled_from([28, 32]),
)
def test_native_sizes_are_those_of_transformers(width, height, bounds, multiple):
    asked = {"min_pixels": bounds[0], "max_pixels": bounds[1]}
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(ValueError, match="aspect ratio"):
            smart_resize(height, width, factor=multiple, **asked)
        with pytest.raises(DataError, match="200 : 1"):
            smart_size(width, height, multiple=multiple, **asked)
    else:
        expected = smart_resize(height, width, factor=multiple, **asked)
        assert smart_size(width, height, multiple=multiple, **asked) == expected


@pytest.mark.parametrize(
    ("width", "height", "shape"),
    [(224, 224, (224, 224)), (378, 378, (392, 392)), (350, 406, (392, 336)),
     (640, 480, (476, 644)), (1920, 1080, (1092, 1932)), (10, 10, (56, 56))],
)  # fmt: skip
def test_native_sizes_round_a_half_to_the_even_multiple(width, height, shape):
    assert place(width, height, NATIVE["qwen2_vl"]).shape == shape


@pytest.mark.parametrize(("width", "height"), [(100, 61), (31, 200), (378, 378), (9, 9)])
def test_native_pixels_are_those_that_qwen_sees(width, height):
    image = noise(width, height)
    processor = Qwen2VLImageProcessorPil(do_rescale=False, do_normalize=False)
    seen = processor(image, return_tensors="np")
    _, rows, columns = seen["image_grid_thw"][0]
    patches = seen["pixel_values"].reshape(rows // 2, columns // 2, 2, 2, 3, 2, 14, 14)
    raster = patches[..., 0, :, :].transpose(0, 2, 5, 1, 3, 6, 4)  # both frames are the same
    pixels, _ = view(image, NATIVE["qwen2_vl"])
    np.testing.assert_array_equal(raster.reshape(rows * 14, columns * 14, 3), pixels)


@settings(max_examples=60, deadline=None)
@given(width=st.integers(1, 150), height=st.integers(1, 150), size=st.sampled_from([14, 33, 56]))
def test_short_crop_pixels_are_those_that_clip_sees(width, height, size):
    image = noise(width, height)
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        do_rescale=False,
        do_normalize=False,
    )
    expected = processor(image, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    np.testing.assert_array_equal(view(image, Geometry("short-crop", size))[0], expected)


def molmo(image: Image.Image, size: int) -> np.ndarray:
    """The global crop as Molmo's processor makes it, in float32 from 0 to 255."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    height, width = (np.float32(side) for side in pixels.shape[2:])
    scale = min(np.float32(size) / height, np.float32(size) / width)
    down, across = int(height * scale), int(width * scale)
    scaled = functional.interpolate(pixels, (down, across), mode="bilinear", antialias=True)
    top, left = (size - down) // 2, (size - across) // 2
    padding = (left, size - across - left, top, size - down - top)
    return functional.pad(scaled, padding)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("width", "height"), [(640, 480), (480, 640), (336, 336), (50, 37), (1000, 301), (336, 335)]
)
def test_padded_pixels_are_those_that_molmo_sees(width, height):
    image = noise(width, height)
    expected = molmo(image, 336)
    pixels, placement = view(image, NATIVE["molmo"].at(336))
    assert np.abs(pixels - expected).max() <= 0.51  # what rounding to 8 bits costs
    assert np.array_equal(pixels.any(axis=-1), expected.any(axis=-1))
    eight_bit = render(image, placement, "bilinear").astype(int)
    assert np.abs(eight_bit - expected).max() <= 1.01  # Pillow rounds after each of two passes


@settings(max_examples=200, deadline=None)
@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_padding_keeps_the_shape_and_fills_one_side(width, height):
    left, top, right, bottom = place(width, height, Geometry("pad", 336)).target
    assert 0 <= left <= right <= 336
    assert 0 <= top <= bottom <= 336
    across, down = right - left, bottom - top
    assert max(across, down) >= 335  # float32 may lose a pixel, as it does in Molmo
    assert min(abs(across - 336), abs(down - 336)) <= 1
    assert abs(across - down * width / height) <= max(1, width / height) + 1e-3 or down == 1
    assert 0 <= 336 - right - left <= 1
    assert 0 <= 336 - bottom - top <= 1


def test_where_each_family_puts_a_picture():
    placed = {name: place(640, 480, one.at(336)) for name, one in NATIVE.items()}
    assert {name: (one.shape, one.target) for name, one in placed.items()} == {
        "qwen2_vl": ((476, 644), (0, 0, 644, 476)),
        "molmo": ((336, 336), (0, 42, 336, 293)),  # 251.99998 rows in float32
        "internvit": ((336, 336), (0, 0, 336, 336)),
        "clip": ((336, 336), (-56, 0, 392, 336)),
    }


# ---------------------------------------------------------------- points


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
        assert place(50, 50, geometry).shows(points).tolist() == [False, False, False, True]


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


# ---------------------------------------------------------------- the cut to a box


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_cut_is_the_same_as_a_picture_that_was_cut_before(kind):
    image, box = noise(100, 80), np.array([0.2, 0.25, 0.6, 0.5], dtype=np.float32)
    for margin, part in ((0.0, (20, 20, 60, 40)), (0.25, (10, 15, 70, 45)), (9.0, (0, 0, 100, 80))):
        geometry = replace(KINDS[kind], crop="face", margin=margin)
        pixels, placement = view(image, geometry, box=box)
        assert placement.part == part
        before, whole = view(image.crop(part), KINDS[kind])
        np.testing.assert_array_equal(pixels, before)
        # A point of the cut picture and of the whole one are the same point of the array.
        inside = np.array([[0.3, 0.7]])
        point = (inside * (part[2] - part[0], part[3] - part[1]) + part[:2]) / (100, 80)
        np.testing.assert_allclose(placement.to_array(point), whole.to_array(inside))


def test_a_cut_takes_the_nearest_pixels_and_at_least_one():
    def part(*box: float) -> tuple[int, ...]:
        geometry = replace(KINDS["squash"], crop="face")
        return place(10, 10, geometry, box=np.array(box, dtype=np.float32)).part

    assert part(0.3, 0.3, 0.7, 0.7) == (3, 3, 7, 7)  # 0.3 * 10 is not 3 in floating point
    assert part(0.51, 0.2, 0.52, 0.9) == (5, 2, 6, 9)
    assert part(0.99, 0.99, 1.0, 1.0) == (9, 9, 10, 10)
    assert part(-0.2, 0.5, 0.4, 1.3) == (0, 5, 4, 10)


@pytest.mark.parametrize("box", [None, np.full(4, np.nan, dtype=np.float32)])
def test_a_row_without_the_box_cannot_be_cut(box):
    with pytest.raises(DataError, match="Expected a box 'face' to cut the picture to, found none"):
        place(10, 10, CUT["squash"], box=box)


@pytest.mark.parametrize(
    "box", [(0.5, 0.5, 0.5, 0.8), (0.6, 0.1, 0.2, 0.8), (1, 0, 1.5, 1), (-1, 0, 0, 1)]
)
def test_boxes_without_picture_cannot_be_cut_to(box):
    with pytest.raises(DataError, match=r"x1 < x2 and y1 < y2.*Mend the annotation"):
        place(10, 10, CUT["squash"], box=np.array(box, dtype=np.float32))


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


# ---------------------------------------------------------------- limits and bad options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "native", "size": 336}, "follows the picture, but size 336"),
        ({"size": 0}, "size from 1 to 10000 pixels, found 0"),
        ({"size": 10_001}, "found 10001"),
        ({"kind": "pad", "max_pixels": 10_000}, "belong to native geometry.*is pad"),
        ({"kind": "native", "min_pixels": 0}, "1 <= min_pixels"),
        ({"kind": "native", "max_pixels": 3000}, "found 3136, 3000 and 28"),
        ({"kind": "native", "multiple": 0}, "1 <= multiple"),
        ({"crop": "the face"}, "role of boxes to cut to, found 'the face'"),
        ({"crop": "face", "margin": -0.1}, "margin of at least 0, found -0.1"),
        ({"crop": "face", "margin": float("nan")}, "found nan"),
        ({"margin": 0.5}, "but no cut. Name the role"),
    ],
)
def test_options_that_cannot_be_or_would_do_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Geometry(**options)


def test_a_size_is_filled_in_where_one_is_needed():
    assert Geometry().at(336) == Geometry(size=336)
    assert Geometry(size=224).at(336).size == 224
    assert NATIVE["qwen2_vl"].at(336).size is None
    with pytest.raises(ConfigError, match="needs a size"):
        place(10, 10, Geometry("pad"))


def test_long_pictures_cannot_fill_the_memory():
    started = time.perf_counter()
    with pytest.raises(DataError, match=r"at most 100,000,000 pixels after scaling.*336000 x 336"):
        view(Image.new("RGB", (50_000, 50)), NATIVE["clip"].at(336))
    assert time.perf_counter() - started < 1
    for name in ("internvit", "molmo"):
        pixels, _ = view(Image.new("RGB", (50_000, 50)), NATIVE[name].at(336))
        assert pixels.shape == (336, 336, 3)


def test_a_line_one_pixel_high_is_padded_to_one_row():
    pixels, placement = view(Image.new("RGB", (1000, 1), "white"), KINDS["pad"])
    assert placement.target == (0, 27, 56, 28)
    np.testing.assert_array_equal(np.flatnonzero(pixels.any(axis=(1, 2))), [27])


def test_the_orientation_is_applied_before_the_geometry():
    image = Image.new("RGB", (100, 50))
    image.getexif()[0x0112] = 6
    assert view(to_rgb(image), NATIVE["qwen2_vl"])[1].picture == (100, 50)


def test_geometry_and_protocol_do_not_import_torch():
    code = (
        "import sys, degradation.geometry, degradation.protocol; "
        "assert not {'torch', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
