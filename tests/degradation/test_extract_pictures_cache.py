"""Scaled pictures on disk: decoded once for all pairs of a size, and never trusted blindly."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from degradation.errors import CacheError, DataError
from degradation.geometry import Geometry
from degradation.pictures_cache import pictures_cache
from degradation.pixels import pixel_hash
from degradation.reading import Reader
from degradation.tasks.task import Rows, Task, TaskSpec
from degradation.views import square

SIZE, N = 24, 10
SQUASH = Geometry(size=SIZE)
SPEC = TaskSpec(
    "photos", "classes", True, {"odd": ("no", "yes")}, (), ("image",), {"odd": ("accuracy",)},
    "picture", "this test",
)  # fmt: skip


def picture(reference):
    rng = np.random.default_rng(sum(reference.encode()))
    return Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))


def make_reader(root, *, frames=1, opened=None, see=picture, geometry=SQUASH, cached=True):
    names = np.array([f"p{i}" for i in range(N)], dtype=object)
    rows = Rows(
        ids=names,
        pictures=np.array([[f"p{i}-{j}" for j in range(frames)] for i in range(N)], dtype=object),
        boxes={"face": np.tile(np.float32([0.1, 0.2, 0.6, 0.9]), (N, frames, 1))},
        labels={"odd": np.arange(N) % 2},
        points=np.zeros((N, 0, 2), dtype=np.float32),
        clusters=names,
    )

    def open_counted(reference):
        if opened is not None:
            opened.append(reference)
        return see(reference)

    cache = pictures_cache(root, SPEC, geometry) if cached else None
    task = Task(SPEC, ("all",), lambda split: rows, open_counted)
    return Reader(task, rows, geometry, cache=cache, check_every=5)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(
    "geometry", [SQUASH, Geometry("pad", SIZE), Geometry("short-crop", SIZE, crop="face")]
)
def test_the_second_reader_decodes_only_what_it_checks(tmp_path, frames, geometry):
    make = partial(make_reader, tmp_path, frames=frames, geometry=geometry)
    plain = [make(cached=False)(i) for i in range(N)]
    opened = []
    first = [make(opened=opened)(i) for i in range(N)]
    assert set(Counter(opened).values()) == {1}
    assert len(opened) == frames * N
    opened.clear()
    second = [make(opened=opened)(i) for i in range(N)]
    assert sorted(opened) == sorted(f"p{i}-{j}" for i in (0, 5) for j in range(frames))
    for expected, *found in zip(plain, first, second, strict=True):
        for sample in found:
            np.testing.assert_array_equal(sample.pixels, expected.pixels)
            assert sample.hash == expected.hash
            assert sample.placements == expected.placements
            for name, values in expected.features.items():
                np.testing.assert_array_equal(sample.features[name], values)


def test_a_torn_or_damaged_file_is_decoded_again_and_mended(tmp_path):
    for i in range(N):
        make_reader(tmp_path)(i)
    cache = make_reader(tmp_path).cache
    one, two, three = (cache.path(f"p{i}-0") for i in (1, 2, 3))
    one.write_bytes(one.read_bytes()[:-1])
    two.write_bytes(two.read_bytes()[:-1] + b"\x00")
    three.write_bytes(b"")
    four = cache.path("p4-0")
    four.write_bytes(four.read_bytes()[:32] + b"\x01" + four.read_bytes()[33:])  # picture height
    opened = []
    for i in range(1, 6):
        sample = make_reader(tmp_path, opened=opened)(i)
        assert sample.hash == pixel_hash(square(picture(f"p{i}-0"), SIZE))
    assert opened == ["p1-0", "p2-0", "p3-0", "p4-0", "p5-0"]  # the last to compare
    assert make_reader(tmp_path).cache.get("p2-0").hash == pixel_hash(square(picture("p2-0"), SIZE))
    assert not list(tmp_path.rglob("*.part"))


def test_pictures_that_changed_are_refused(tmp_path):
    for i in range(N):
        make_reader(tmp_path)(i)
    changed = make_reader(tmp_path, see=lambda reference: picture(reference + "x"))
    with pytest.raises(CacheError, match=r"'p5-0' .* not that of the data root any more"):
        changed(5)

    def gone(reference):
        raise DataError("found nothing")

    with pytest.raises(CacheError, match="any more"):
        make_reader(tmp_path, see=gone)(0)
    assert make_reader(tmp_path, see=gone, cached=False)(0).reason == "found nothing"


def test_broken_pictures_are_not_kept(tmp_path):
    def broken(reference):
        raise DataError(f"Expected a picture at {reference}, found nothing.")

    sample = make_reader(tmp_path, see=broken)(3)
    assert (sample.pixels, sample.reason) == (
        None,
        "Expected a picture at <picture>, found nothing.",
    )
    assert make_reader(tmp_path)(3).pixels is not None


def test_other_geometries_tasks_and_boxes_have_other_files(tmp_path):
    boxes = [None, *np.float32([[0, 0, 1, 1], [0, 0, 1, 0.5]])]
    paths = [
        pictures_cache(tmp_path, spec, geometry).path("p1-0", box)
        for spec in (SPEC, replace(SPEC, name="other"), replace(SPEC, source="other"))
        for geometry in (
            SQUASH,
            Geometry(size=32),
            Geometry("pad", SIZE),
            Geometry(size=SIZE, filter="bilinear"),
            Geometry(size=SIZE, crop="face"),
        )
        for box in boxes
    ]
    assert len(set(paths)) == len(paths)
    asked = replace(SPEC, metrics={"odd": ("macro_f1",)}, regions=("face",))
    assert pictures_cache(tmp_path, asked, SQUASH) == pictures_cache(tmp_path, SPEC, SQUASH)


def test_a_full_disk_is_one_clear_message(tmp_path):
    reader = make_reader(tmp_path)
    reader.cache.folder.parent.mkdir(parents=True)
    reader.cache.folder.write_text("a file where the folder should be")
    with pytest.raises(CacheError, match="leave out --cache-pictures"):
        reader(0)


def test_references_are_never_paths(tmp_path):
    cache = make_reader(tmp_path).cache
    for reference in ("../../outside", "/etc/passwd", "a" * 5000, "b\x00c", ""):
        assert cache.path(reference).parent.parent == cache.folder
