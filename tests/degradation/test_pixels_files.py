"""Picture files that cannot be used, and those outside the data root: one clear error each."""

import os
import struct
import warnings
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pixel_fixtures import encoded, picture

from degradation.errors import DataError
from degradation.geometry import MAX_PIXELS
from degradation.pixels import inside_root, open_picture, to_rgb


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and has no pixels: what a decompression bomb looks like."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


# ---------------------------------------------------------------- files that cannot be used


def test_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.png, found nothing\. Check the path"):
        open_picture(tmp_path / "nowhere.png")


def test_path_through_a_file_counts_as_missing(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture(), "PNG"))
    with pytest.raises(DataError, match="found nothing"):
        open_picture(tmp_path / "a.png" / "b.png")


def test_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="found a folder"):
        open_picture(tmp_path)


def test_pipe_is_refused_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="device or pipe"):
        open_picture(tmp_path / "pipe.png")


def test_zero_bytes_are_refused(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(DataError, match="zero bytes"):
        open_picture(tmp_path / "empty.jpg")


@pytest.mark.parametrize(
    "content", [b"hello", b"<svg/>", bytes(1000), b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_files_that_are_no_pictures_are_refused(tmp_path, content):
    (tmp_path / "fake.png").write_bytes(content)
    with pytest.raises(DataError, match=r"Expected a picture \(JPEG, PNG"):
        open_picture(tmp_path / "fake.png")


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.97])
def test_truncated_files_are_refused_in_every_format(tmp_path, fmt, kept):
    whole = encoded(picture(), fmt)
    path = tmp_path / "cut"
    path.write_bytes(whole)
    assert open_picture(path).size == (60, 40)
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(DataError, match="cut off"):
        open_picture(path)


def test_every_length_of_a_cut_jpeg_is_refused(tmp_path):
    whole = encoded(picture(16, 16), "JPEG")
    path = tmp_path / "cut.jpg"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            open_picture(path)


@settings(max_examples=150, deadline=None)
@given(
    fmt=st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_damaged_bytes_give_a_picture_or_a_data_error(tmp_path_factory, fmt, changes):
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {} if fmt == "GIF" else {"exif": exif}
    data = bytearray(encoded(picture(12, 9), fmt, **options))
    for where, value in changes:
        data[int(where * len(data))] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(data))
    try:
        image = to_rgb(open_picture(path))
    except DataError:
        return
    assert image.mode == "RGB"


@pytest.mark.parametrize("side", [10_001, 12_000, 40_000])  # above our limit, Pillow's two limits
def test_decompression_bomb_is_refused_without_a_warning(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(DataError, match=f"at most {MAX_PIXELS:,} pixels"):
            open_picture(tmp_path / "bomb.png")
    assert caught == []


def test_large_picture_within_the_limit_opens_without_a_warning(tmp_path):
    Image.new("1", (10_000, 9_500)).save(tmp_path / "large.png")  # Pillow warns from 89 million on
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert open_picture(tmp_path / "large.png").size == (10_000, 9_500)
    assert caught == []


def test_file_that_may_not_be_read_is_refused(tmp_path):
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(picture(), "PNG"))
    path.chmod(0)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)  # nobody: permissions do not bind the superuser
    try:
        with pytest.raises(DataError, match="not permitted"):
            open_picture(path)
    finally:
        if superuser:
            os.seteuid(0)


# ---------------------------------------------------------------- the data root


def test_root_holds_relative_absolute_and_roundabout_paths(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "p.png").write_bytes(encoded(picture(), "PNG"))
    for path in ("a/p.png", "a/../a/p.png", tmp_path / "a" / "p.png"):
        assert open_picture(path, root=tmp_path).size == (60, 40)


def test_paths_that_leave_the_root_are_refused(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    beside = tmp_path / "rootbeside.png"  # its path begins with the root's
    beside.write_bytes(encoded(picture(), "PNG"))
    (root / "link.png").symlink_to(beside)
    (root / "up").symlink_to(tmp_path)
    for path in ("../rootbeside.png", beside, "link.png", "up/rootbeside.png", "/etc/hostname"):
        with pytest.raises(DataError, match=r"inside the data root.*--data-root"):
            open_picture(path, root=root)


def test_link_inside_the_root_is_followed(tmp_path):
    (tmp_path / "p.png").write_bytes(encoded(picture(), "PNG"))
    (tmp_path / "link.png").symlink_to("p.png")
    assert inside_root("link.png", tmp_path).name == "p.png"
    assert inside_root("anything", "/") == Path("/anything")


@pytest.mark.parametrize("root", [None, "."])
@pytest.mark.parametrize("path", ["nul\0l.png", "x" * 5000])
def test_impossible_names_are_data_errors(path, root):
    with pytest.raises(DataError):
        open_picture(path, root=root)


def test_circular_link_is_a_data_error(tmp_path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    for root in (None, tmp_path):
        with pytest.raises(DataError):
            open_picture(tmp_path / "loop.png", root=root)
