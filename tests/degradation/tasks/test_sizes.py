import io
import os
import time
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from degradation.tasks import sizes
from degradation.tasks.sizes import picture_sizes

W, H = 37, 23


def picture(mode="RGB"):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (H, W, 3), dtype=np.uint8)).convert(mode)


def saved(form, mode="RGB", orientation=None, **options):
    file = io.BytesIO()
    if orientation is not None:
        exif = Image.Exif()
        exif[0x010F] = "a camera"
        exif[0x0112] = orientation
        options["exif"] = exif
    picture(mode).save(file, form, **options)
    return file.getvalue()


def xmp(orientation):
    return f'<x:xmpmeta><rdf tiff:Orientation="{orientation}"/></x:xmpmeta>'.encode()


def with_segment(jpeg, marker, body):
    return jpeg[:2] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def late_exif(png):
    """The chunk eXIf moved behind the pixels, where it counts all the same."""
    start = png.index(b"eXIf") - 4
    length = 12 + int.from_bytes(png[start : start + 4], "big")
    chunk = png[start : start + length]
    rest = png[:start] + png[start + length :]
    end = rest.rindex(b"IEND") - 4
    return rest[:end] + chunk + rest[end:]


def texts(**pairs):
    info = PngImagePlugin.PngInfo()
    for name, value in pairs.items():
        info.add_itxt(name.replace("_", ":"), value)
    return info


FILES = {
    **{f"jpeg-{k}.jpg": saved("JPEG", orientation=k) for k in range(1, 9)},
    **{f"png-{k}.png": saved("PNG", orientation=k) for k in range(1, 9)},
    **{f"webp-{k}.webp": saved("WEBP", orientation=k) for k in (1, 6)},
    **{f"tiff-{k}.tif": saved("TIFF", orientation=k) for k in (1, 3, 6)},
    "plain.jpg": saved("JPEG"),
    "progressive.jpg": saved("JPEG", progressive=True, orientation=6),
    "optimised.jpg": saved("JPEG", optimize=True, subsampling=0),
    "grey.jpg": saved("JPEG", "L"),
    "cmyk.jpg": saved("JPEG", "CMYK"),
    "zero-orientation.jpg": saved("JPEG", orientation=0),
    "wild-orientation.jpg": saved("JPEG", orientation=77),
    "commented.jpg": saved("JPEG", comment=b"x" * 9000, orientation=6),
    "profile.jpg": saved("JPEG", icc_profile=b"p" * 200_000, orientation=8),
    "xmp.jpg": saved("JPEG", xmp=xmp(6)),
    "xmp-and-exif.jpg": saved("JPEG", xmp=xmp(6), orientation=1),
    "exif-twice.jpg": with_segment(saved("JPEG", orientation=6), 0xE1, b"Exif\0\0nonsense"),
    "damaged-exif.jpg": with_segment(saved("JPEG"), 0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff1234"),
    "padded.jpg": saved("JPEG")[:2] + b"\xff\xff" + saved("JPEG")[2:],
    "palette.png": saved("PNG", "P"),
    "alpha.png": saved("PNG", "RGBA"),
    "sixteen.png": saved("PNG", "I;16"),
    "late.png": late_exif(saved("PNG", orientation=6)),
    "described.png": saved("PNG", pnginfo=texts(Software="a program")),
    "xmp.png": saved("PNG", pnginfo=texts(XML_com_adobe_xmp=xmp(8).decode())),
    "first.gif": saved("GIF", "P"),
    "one.bmp": saved("BMP"),
    "one.ppm": saved("PPM"),
    "jpeg-called.png": saved("JPEG", orientation=6),
}


def test_sizes_are_pillows_after_the_orientation(tmp_path):
    expected = []
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
        with warnings.catch_warnings(action="ignore"), Image.open(tmp_path / name) as image:
            expected.append(ImageOps.exif_transpose(image).size)
    found = picture_sizes(tmp_path, list(FILES))
    assert dict(zip(FILES, map(tuple, found.tolist()), strict=True)) == dict(
        zip(FILES, expected, strict=True)
    )
    assert {tuple(size) for size in found.tolist()} == {(W, H), (H, W)}


@pytest.mark.parametrize("name", ["jpeg-6.jpg", "progressive.jpg", "plain.jpg", "alpha.png"])
def test_files_cut_off_anywhere_have_the_size_that_pillow_sees(tmp_path, name):
    data = FILES[name]
    cuts = [*range(0, 700, 7), len(data) - 40, len(data) - 2]
    expected = []
    for cut in cuts:
        (tmp_path / f"{cut}").write_bytes(data[:cut])
        try:
            with Image.open(tmp_path / f"{cut}") as image:
                size = image.size
                if image.format == "JPEG" and image.getexif().get(0x0112) == 6:
                    size = image.size[::-1]
        except OSError:
            size = (-1, -1)
        expected.append(size)
    found = picture_sizes(tmp_path, [f"{cut}" for cut in cuts])
    assert list(map(tuple, found.tolist())) == expected
    assert len(set(expected)) == 2


def test_what_is_no_picture_has_no_size(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "text.jpg").write_text("a text")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "bad.png").write_bytes(FILES["alpha.png"][:20] + b"x" + FILES["alpha.png"][21:])
    names = [*sorted(one.name for one in tmp_path.iterdir()), "absent.jpg", "nul\0.jpg"]
    np.testing.assert_array_equal(picture_sizes(tmp_path, names), np.full((len(names), 2), -1))
    assert picture_sizes(tmp_path, []).shape == (0, 2)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert picture_sizes(tmp_path, ["pipe.jpg"]).tolist() == [[-1, -1]]


def test_ordinary_files_do_not_need_pillow(tmp_path, monkeypatch):
    def refuse(file):
        raise AssertionError(file)

    monkeypatch.setattr(sizes, "picture_size", refuse)
    names = [*(f"jpeg-{k}.jpg" for k in range(1, 9)), "plain.jpg", "progressive.jpg", "grey.jpg",
             "commented.jpg", "profile.jpg", "alpha.png"]  # fmt: skip
    for name in names:
        (tmp_path / name).write_bytes(FILES[name])
    assert (picture_sizes(tmp_path, names) > 0).all()


def test_many_heads_are_read_quickly_and_in_order(tmp_path):
    names = []
    for number in range(40):
        names.append(f"{number}.jpg")
        Image.new("L", (number + 1, 2 * number + 1)).save(tmp_path / names[-1])
    start = time.process_time()
    found = picture_sizes(tmp_path, names * 100)
    assert time.process_time() - start < 2  # 4000 heads; about 0.1 s
    np.testing.assert_array_equal(found[:40, 0], np.arange(40) + 1)
    np.testing.assert_array_equal(found[40:80], found[:40])
