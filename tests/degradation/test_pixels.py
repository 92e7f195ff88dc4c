"""Colour, orientation and geometry, on files that are really written in each awkward form."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from pixel_fixtures import encoded, picture

from degradation.errors import DataError
from degradation.pixels import (
    open_picture,
    pixel_hash,
    to_rgb,
)
from degradation.views import square

# ---------------------------------------------------------------- colour


def through_file(folder: Path, image: Image.Image, fmt: str, **options: object) -> np.ndarray:
    (folder / "p").write_bytes(encoded(image, fmt, **options))
    rgb = to_rgb(open_picture(folder / "p"))
    assert rgb.mode == "RGB"
    return np.asarray(rgb)


@pytest.mark.parametrize(("fmt", "mode"), [("PNG", "I;16"), ("TIFF", "I;16"), ("PPM", "I")])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path, fmt, mode):
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    values[-1, -1] = 65535
    (tmp_path / "p").write_bytes(encoded(Image.fromarray(values), fmt))
    image = open_picture(tmp_path / "p")
    assert image.mode == mode
    expected = np.rint(values / 257)
    np.testing.assert_array_equal(np.asarray(to_rgb(image)), np.repeat(expected[..., None], 3, -1))


def test_big_endian_sixteen_bit_grey_is_scaled():
    assert to_rgb(Image.new("I;16B", (2, 2), 257 * 90)).getpixel((0, 0)) == (90, 90, 90)


@pytest.mark.parametrize("value", [-1, 65536])
def test_values_beyond_sixteen_bits_are_refused(tmp_path, value):
    (tmp_path / "p.tif").write_bytes(encoded(Image.new("I", (3, 3), value), "TIFF"))
    with pytest.raises(DataError, match=rf"0 to 65535, found {value} to {value} in .*p\.tif"):
        to_rgb(open_picture(tmp_path / "p.tif"))


def test_floating_point_is_refused_with_its_name(tmp_path):
    (tmp_path / "depth.tif").write_bytes(encoded(Image.new("F", (3, 3), 0.5), "TIFF"))
    with pytest.raises(DataError, match=r"mode F \(floating point.*depth\.tif.*8-bit PNG"):
        to_rgb(open_picture(tmp_path / "depth.tif"))


def test_lab_is_refused():
    with pytest.raises(DataError, match="mode LAB"):
        to_rgb(Image.new("LAB", (2, 2)))


@pytest.mark.parametrize("fmt", ["JPEG", "TIFF"])
def test_cmyk_has_its_true_colours(tmp_path, fmt):
    cmyk = np.zeros((32, 32, 4), np.uint8)
    cmyk[:16] = (0, 255, 255, 0)  # red
    cmyk[16:] = (255, 0, 0, 128)  # dark cyan
    data = encoded(_cmyk(cmyk), fmt)
    if fmt == "JPEG":
        assert b"Adobe" in data[:64]  # so the stored values are inverted
    (tmp_path / "p").write_bytes(data)
    rgb = np.asarray(to_rgb(open_picture(tmp_path / "p"))).astype(int)
    np.testing.assert_allclose(rgb[4, 4], (255, 0, 0), atol=6)
    np.testing.assert_allclose(rgb[28, 28], (0, 127, 127), atol=6)


def _cmyk(values: np.ndarray) -> Image.Image:
    return Image.merge("CMYK", [Image.fromarray(channel) for channel in np.moveaxis(values, -1, 0)])


def palette() -> Image.Image:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([200, 30, 40, 10, 220, 60])
    image.putpixel((1, 1), 1)
    return image


def test_palette_without_transparency(tmp_path):
    rgb = through_file(tmp_path, palette(), "PNG")
    assert rgb[0, 0].tolist() == [200, 30, 40]
    assert rgb[1, 1].tolist() == [10, 220, 60]


def test_palette_with_one_transparent_colour_shows_white(tmp_path):
    for fmt in ("PNG", "GIF"):
        rgb = through_file(tmp_path, palette(), fmt, transparency=1)
        assert rgb[0, 0].tolist() == [200, 30, 40]
        assert rgb[1, 1].tolist() == [255, 255, 255]


def test_palette_with_graded_transparency_is_blended(tmp_path):
    rgb = through_file(tmp_path, palette(), "PNG", transparency=bytes([51, 255])).astype(int)
    np.testing.assert_allclose(rgb[0, 0], 0.2 * np.array([200, 30, 40]) + 0.8 * 255, atol=1)
    assert rgb[1, 1].tolist() == [10, 220, 60]


@pytest.mark.parametrize(("mode", "colour"), [("RGBA", (10, 20, 30, 102)), ("LA", (10, 102))])
def test_alpha_is_laid_over_white(tmp_path, mode, colour):
    rgb = through_file(tmp_path, Image.new(mode, (4, 4), colour), "PNG").astype(int)
    opaque = np.array(colour[:3] if mode == "RGBA" else colour[:1] * 3)
    np.testing.assert_allclose(rgb[0, 0], 0.4 * opaque + 0.6 * 255, atol=1)


@pytest.mark.parametrize(
    ("mode", "colour", "key"), [("RGB", (7, 8, 9), (7, 8, 9)), ("L", 7, 7), ("1", 0, 0)]
)
def test_colour_key_counts_as_transparent(tmp_path, mode, colour, key):
    rgb = through_file(tmp_path, Image.new(mode, (4, 4), colour), "PNG", transparency=key)
    assert (rgb == 255).all()


def test_one_bit(tmp_path):
    image = Image.new("1", (4, 4), 0)
    image.putpixel((2, 1), 1)
    rgb = through_file(tmp_path, image, "PNG")
    assert rgb[1, 2].tolist() == [255, 255, 255]
    assert rgb.sum() == 3 * 255


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(tmp_path, fmt):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    lossless = {"lossless": True} if fmt == "WEBP" else {}
    rgb = through_file(
        tmp_path, frames[0], fmt, save_all=True, append_images=frames[1:], **lossless
    )
    assert (rgb == (255, 0, 0)).all()


# ---------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_orientation_is_applied_once(tmp_path, orientation, fmt):
    exif = Image.Exif()
    exif[0x0112] = orientation
    exact = {"lossless": True, "exact": True} if fmt == "WEBP" else {}
    exact = {"quality": 95} if fmt == "JPEG" else exact
    (tmp_path / "p").write_bytes(encoded(picture(), fmt, exif=exif, **exact))
    upright = to_rgb(open_picture(tmp_path / "p"))  # Pillow turns TIFF itself while decoding
    assert upright.size == ((60, 40) if orientation < 5 else (40, 60))
    with Image.open(tmp_path / "p") as reference:
        expected = ImageOps.exif_transpose(reference).convert("RGB")
    np.testing.assert_array_equal(np.asarray(upright), np.asarray(expected))
    np.testing.assert_array_equal(np.asarray(to_rgb(upright)), np.asarray(upright))


def test_orientation_six_puts_the_left_edge_on_top(tmp_path):
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb = through_file(tmp_path, image, "PNG", exif=exif)
    assert rgb.shape == (40, 20, 3)
    assert (rgb[:10] == 255).all()
    assert (rgb[10:] == 0).all()


@pytest.mark.parametrize("value", [0, 9, 4711])
def test_unknown_orientation_counts_as_upright(tmp_path, value):
    exif = Image.Exif()
    exif[0x0112] = value
    rgb = through_file(tmp_path, picture(), "PNG", exif=exif)
    np.testing.assert_array_equal(rgb, np.asarray(picture()))


def test_damaged_exif_counts_as_upright(tmp_path):
    rgb = through_file(
        tmp_path, picture(), "WEBP", exif=b"Exif\0\0MMnonsense", lossless=True, exact=True
    )
    np.testing.assert_array_equal(rgb, np.asarray(picture()))


# ---------------------------------------------------------------- geometry and hash


@settings(max_examples=30, deadline=None)
@given(
    width=st.integers(40, 300),
    height=st.integers(40, 300),
    size=st.sampled_from([64, 98, 224]),
    corners=st.tuples(*[st.floats(0.05, 0.95)] * 4),
)
def test_boxes_stay_where_they_are_under_the_squash(width, height, size, corners):
    """A filled box is drawn, the picture squashed, and the box found again from the pixels."""
    x1, x2 = sorted(corners[:2])
    y1, y2 = sorted(corners[2:])
    left, right = round(x1 * width), max(round(x2 * width), round(x1 * width) + 12)
    top, bottom = round(y1 * height), max(round(y2 * height), round(y1 * height) + 12)
    right, bottom = min(right, width), min(bottom, height)
    image = Image.new("RGB", (width, height), "black")
    ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill="white")
    pixels = square(image, size).astype(float)[..., 0] / 255

    across, down = pixels.max(axis=0) > 0.5, pixels.max(axis=1) > 0.5
    found = [np.flatnonzero(across)[[0, -1]], np.flatnonzero(down)[[0, -1]]]
    for (first, last), low, high, side in zip(
        found, (left, top), (right, bottom), (width, height), strict=True
    ):
        tolerance = 1.0 / size + 0.5 / side
        assert abs(first / size - low / side) <= tolerance
        assert abs((last + 1) / size - high / side) <= tolerance


def test_square_keeps_the_mean_and_antialiases():
    rng = np.random.default_rng(3)
    noise = Image.fromarray(rng.integers(0, 256, (640, 480, 3)).astype(np.uint8))
    small = square(noise, 32)
    assert small.shape == (32, 32, 3)
    assert abs(small.mean() - np.asarray(noise).mean()) < 1
    assert small.std() < np.asarray(noise).std() / 8  # nearest or aliased sampling keeps it whole


def test_square_of_the_same_size_changes_nothing():
    image = picture(48, 48)
    np.testing.assert_array_equal(square(image, 48), np.asarray(image))


def test_one_pixel_fills_the_square():
    assert (square(Image.new("RGB", (1, 1), (9, 8, 7)), 14) == (9, 8, 7)).all()


def test_hash_sees_values_and_shape_but_not_memory_layout():
    pixels = np.arange(2 * 6 * 3, dtype=np.uint8).reshape(2, 6, 3)
    assert len(pixel_hash(pixels)) == 16
    assert pixel_hash(pixels) == pixel_hash(np.asfortranarray(pixels))
    assert pixel_hash(pixels) != pixel_hash(pixels.reshape(6, 2, 3))
    changed = pixels.copy()
    changed[1, 5, 2] += 1
    assert pixel_hash(pixels) != pixel_hash(changed)


def test_threads_get_the_same_pixels_and_leave_the_warning_filters_alone(tmp_path):
    paths = []
    for i in range(40):
        path = tmp_path / f"{i}.jpg"
        path.write_bytes(encoded(picture(60 + i, 40), "JPEG"))
        paths.append(path)

    def read(path: Path) -> bytes:
        return pixel_hash(square(to_rgb(open_picture(path)), 32))

    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        threaded = list(pool.map(read, paths))
    assert threaded == [read(path) for path in paths]
    assert warnings.filters == before
