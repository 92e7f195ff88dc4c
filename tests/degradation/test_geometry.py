"""From a picture to its array: the default, the cut to a box, limits and bad options."""

import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.geometry import Geometry
from degradation.pixels import to_rgb
from degradation.views import place, square, view

SIZE = 56
KINDS = {
    "squash": Geometry(kind="squash", size=SIZE),
    "pad": Geometry(kind="pad", size=SIZE),
    "short-crop": Geometry(kind="short-crop", size=SIZE),
    "closer-crop": Geometry(kind="short-crop", size=SIZE, crop_pct=0.875),
    "native": Geometry(kind="native", max_pixels=28 * 28 * 12),
}
CUT = {name: replace(one, crop="face", margin=0.25) for name, one in KINDS.items()}


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))


# ---------------------------------------------------------------- squash: the default, bit for bit


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (48, 48), (1, 1), (500, 3)])
def test_the_default_geometry_is_the_square_bit_for_bit(shape):
    image = noise(*shape)
    pixels, placement = view(image, Geometry().at(48))
    np.testing.assert_array_equal(pixels, square(image, 48))
    direct = np.asarray(image.resize((48, 48), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pixels, direct)
    assert placement.unmoved


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
        ({"crop_pct": 0.875}, "short-crop only, found 0.875 for squash"),
        ({"kind": "short-crop", "crop_pct": 0.0}, r"crop_pct in \(0, 1\]"),
        ({"kind": "short-crop", "crop_pct": 1.1}, "found 1.1"),
    ],
)
def test_options_that_cannot_be_or_would_do_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Geometry(**options)


def test_a_size_is_filled_in_where_one_is_needed():
    assert Geometry().at(336) == Geometry(size=336)
    assert Geometry(size=224).at(336).size == 224
    assert Geometry("native").at(336).size is None
    with pytest.raises(ConfigError, match="needs a size"):
        place(10, 10, Geometry("pad"))


def test_long_pictures_cannot_fill_the_memory():
    started = time.perf_counter()
    with pytest.raises(DataError, match=r"at most 100,000,000 pixels after scaling.*336000 x 336"):
        view(Image.new("RGB", (50_000, 50)), Geometry("short-crop", 336))
    assert time.perf_counter() - started < 1
    for kind in ("squash", "pad"):
        pixels, _ = view(Image.new("RGB", (50_000, 50)), Geometry(kind, 336))
        assert pixels.shape == (336, 336, 3)


def test_a_line_one_pixel_high_is_padded_to_one_row():
    pixels, placement = view(Image.new("RGB", (1000, 1), "white"), KINDS["pad"])
    assert placement.target == (0, 27, 56, 28)
    np.testing.assert_array_equal(np.flatnonzero(pixels.any(axis=(1, 2))), [27])


def test_the_orientation_is_applied_before_the_geometry():
    image = Image.new("RGB", (100, 50))
    image.getexif()[0x0112] = 6
    assert view(to_rgb(image), Geometry("native"))[1].picture == (100, 50)


def test_geometry_and_protocol_do_not_import_torch():
    code = (
        "import sys, degradation.geometry; assert 'numpy' not in sys.modules; "
        "import degradation.views, degradation.protocol; "
        "assert not {'torch', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
