"""Extraction of pictures that keep their shape: both sides see the same rectangles."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from family_fixtures import CHECKPOINTS, DEPTH, PATCH, WIDTH, write
from library_towers import ORACLES
from PIL import Image

from degradation.cache import check_paired, open_features, verify
from degradation.encoders.encoder import BlockTokens, EncoderInfo
from degradation.encoders.families import load_family
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.pair import Pair
from degradation.errors import ConfigError
from degradation.extract import extract
from degradation.geometry import Geometry
from degradation.pixels import pixel_hash
from degradation.protocol import Protocol
from degradation.tasks.task import Rows, Task, TaskSpec
from degradation.views import view

N = 9
SHAPES = [(120, 70), (60, 110), (85, 84)]  # width and height; arrays of 4 x 2, 2 x 4, 3 x 3 cells
NATIVE = Geometry("native", max_pixels=28 * 28 * 9)
ANY = Protocol(geometry=NATIVE, positions="bicubic")
PAIR = Pair("fake", "fake:pre", "fake:post", "none", "this test", block=0)
BOX = np.float32([0.1, 0.2, 0.7, 0.9])


def picture(reference):
    rng = np.random.default_rng(sum(reference.encode()))
    width, height = SHAPES[int(reference.split("-")[0]) % 3]
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def make_task(*, frames=1, boxes=BOX, opened=None, see=picture, points=0):
    spec = TaskSpec(
        name="shapes", kind="classes", social=True, label_sets={"odd": ("no", "yes")},
        roles=("face",), regions=("image", "face"), metrics={"odd": ("accuracy",)},
        cluster="picture", source="this test",
    )  # fmt: skip
    ids = np.array([f"s{i}" for i in range(N)], dtype=object)
    rows = Rows(
        ids=ids,
        pictures=np.array([[f"{i}-{j}" for j in range(frames)] for i in range(N)], dtype=object),
        boxes={"face": np.broadcast_to(np.float32(boxes), (N, frames, 4)).copy()},
        labels={"odd": np.arange(N) % 2},
        points=np.full((N, points, 2), 0.5, dtype=np.float32),
        clusters=ids,
    )

    def open_counted(reference):
        if opened is not None:
            opened.append(reference)
        return see(reference)

    return Task(spec, ("all",), lambda split: rows, open_counted)


@pytest.fixture(scope="module")
def towers():
    """A CLIP tower, whose table of positions is interpolated, and one of Qwen2-VL."""
    return [
        load_family(family, CHECKPOINTS[family](), family, any_grid=True, interpolation="bicubic")
        for family in ("clip", "qwen2_vl")
    ]


class MeanTower(torch.nn.Module):
    """The mean colour of each patch."""

    def forward(self, pixels, blocks):
        tokens = torch.nn.functional.avg_pool2d(pixels, PATCH).flatten(2).transpose(1, 2)
        return {i: BlockTokens(tokens, tokens[:, :0]) for i in blocks}


def mean_colour(name="fake:pre", *, any_grid=True, size=56):
    info = EncoderInfo(name, name, 1, 3, size, PATCH, 0, (0.0,) * 3, (1.0,) * 3)
    return FrozenEncoder(MeanTower(), info, any_grid=any_grid)


def run(root, pre, post, task=None, **options):
    options = {"protocol": ANY, "batch_size": 4, "shard_rows": 4, "storage": "float32"} | options
    report = extract(
        task or make_task(), "all", PAIR, pre, post, root=root, progress=False, **options
    )
    sides = [open_features(root, getattr(report.entry, s)) for s in ("pre", "post", "pictures")]
    return *sides, report


def shares(box, height, width):
    """Weights of a box on an h x w grid, by counting points."""
    x, y = ((np.arange(side * 100) + 0.5) / (side * 100) for side in (width, height))
    columns = ((x > box[0]) & (x < box[2])).reshape(width, -1).sum(axis=1)
    rows = ((y > box[1]) & (y < box[3])).reshape(height, -1).sum(axis=1)
    weights = np.outer(rows, columns).ravel()
    return weights / weights.sum()


# --- features ---------------------------------------------------------------------------------


def test_rows_equal_a_loop_over_single_pictures(towers, tmp_path):
    pre, post, pictures, report = run(tmp_path / "cache", *towers)
    check_paired(pre, post)
    tiny = CHECKPOINTS["qwen2_vl"]()
    folder = write(tmp_path / "qwen", tiny)
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (towers[1].info.mean, towers[1].info.std))
    shapes = set()
    for row in range(0, N, 2):
        pixels, _ = view(picture(f"{row}-0"), NATIVE)
        rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
        shapes.add((rows, columns))
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        ours = [tokens.patches[0] for tokens in towers[0](batch, range(DEPTH)).values()]
        theirs = [
            out[0] for out in ORACLES["qwen2_vl"](tiny, folder, (batch / 255 - mean) / std).blocks
        ]
        for side, expected in ((pre, ours), (post, theirs)):
            assert side.pixel_hashes[row].tobytes() == pixel_hash(pixels)
            for block, tokens in enumerate(expected):
                tokens = tokens.double().numpy()
                image, face = (side.pooled(block, [region])[row] for region in ("image", "face"))
                np.testing.assert_allclose(image, tokens.mean(axis=0), atol=1e-5)
                weights = shares(BOX, rows, columns)
                np.testing.assert_allclose(face, weights @ tokens, atol=1e-5)
        colours = [pixels[..., i].mean() / 255 for i in range(3)]
        plain = pictures.pooled(0, ["pixels"])[row].reshape(256, 3)
        np.testing.assert_allclose(plain.mean(axis=0), colours, rtol=1e-4)
    assert shapes == {(4, 8), (8, 4), (6, 6)}
    assert (report.rows, report.left_out) == (N, {})
    assert pre.pooled(0, ["image"]).shape == (N, WIDTH)


def test_a_box_over_one_half_holds_the_colour_of_that_half(tmp_path):
    def halves(reference):
        image = picture(reference)
        pixels = np.zeros((image.height, image.width, 3), dtype=np.uint8)
        pixels[:, : image.width // 2] = (200, 20 * int(reference.split("-")[0]), 0)
        return Image.fromarray(pixels)

    task = make_task(boxes=[0, 0, 0.4, 1], see=halves)
    pre, *_ = run(tmp_path, mean_colour(), mean_colour("fake:post"), task)
    expected = np.float32([[200, 20 * i, 0] for i in range(N)]) / 255
    # Cells that the box touches reach as far as the middle; bicubic scaling rings there.
    np.testing.assert_allclose(pre.pooled(0, ["face"]), expected, atol=0.04)
    np.testing.assert_allclose(pre.pooled(0, ["image"]), expected / 2, atol=0.03)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_changes_nothing(towers, tmp_path, batch_size):
    expected = run(tmp_path / "a", *towers)
    found = run(tmp_path / "b", *towers, batch_size=batch_size)
    for one, two in zip(expected[:3], found[:3], strict=True):
        assert one.address == two.address
        np.testing.assert_array_equal(one.pixel_hashes, two.pixel_hashes)
        for region in one.regions:
            for block in one.blocks:
                a, b = one.pooled(block, [region]), two.pooled(block, [region])
                np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-6)


def test_a_cut_and_fields_and_maxima_go_through_rectangles(towers, tmp_path):
    cut = replace(ANY, geometry=replace(NATIVE, crop="face"))
    pre, *_ = run(tmp_path, *towers, protocol=cut)
    pixels, placement = view(picture("4-0"), cut.geometry, box=BOX)
    tokens = towers[0](torch.from_numpy(pixels).permute(2, 0, 1)[None], [0])[0].patches[0]
    # What is seen is the box, to the nearest pixel.
    np.testing.assert_allclose(placement.seen, BOX, atol=0.01)
    for region in ("image", "face"):
        found = pre.pooled(0, [region])[4]
        np.testing.assert_allclose(found, tokens.mean(dim=0), atol=0.02)
    for pool, width in (("grid:2x2", 4 * WIDTH), ("max", WIDTH), ("gem", WIDTH)):
        side = run(tmp_path, *towers, protocol=replace(ANY, pool=pool))[0]
        assert side.pooled(1, ["face"]).shape == (N, width)
    shared = run(tmp_path, *towers, protocol=replace(ANY, normalisation="shared:half"))[0]
    assert shared.encoder.mean == (0.5, 0.5, 0.5)


# --- resuming, and pictures on disk -----------------------------------------------------------


def test_resuming_encodes_only_what_is_missing(towers, tmp_path):
    *_, report = run(tmp_path / "whole", *towers)
    run(tmp_path, *towers)
    folder = tmp_path / "features" / report.entry.post
    (folder / "index.h5").unlink()
    next(folder.glob("shard-00001-*")).unlink()
    opened = []
    *_, again = run(tmp_path, *towers, make_task(opened=opened))
    assert sorted(opened) == [f"{i}-0" for i in range(4, 8)]
    assert again.skipped_shards == 8
    for path in (tmp_path / "whole" / "features" / report.entry.post).glob("*.*"):
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert verify(tmp_path) == []


def test_pictures_on_disk_keep_their_shape(towers, tmp_path):
    plain = run(tmp_path / "plain", *towers)
    opened = []
    task = make_task(opened=opened)
    first = run(tmp_path, *towers, task, cache_pictures=True)
    assert set(Counter(opened).values()) == {1}
    opened.clear()
    other = load_family("qwen2_vl", CHECKPOINTS["qwen2_vl"](), "other", any_grid=True)
    second = run(tmp_path, towers[0], other, task, cache_pictures=True)
    assert opened == ["0-0", "4-0", "8-0"]  # to compare, one of each shard
    for found in (first, second):
        np.testing.assert_array_equal(found[1].pixel_hashes, plain[1].pixel_hashes)
        np.testing.assert_array_equal(found[1].pooled(2, ["face"]), plain[1].pooled(2, ["face"]))


# --- what cannot be done ----------------------------------------------------------------------


def test_frames_of_different_shapes_are_left_out(towers, tmp_path):
    def see(reference):
        row, frame = map(int, reference.split("-"))
        return picture(f"{row + frame if row < 4 else row}-0")

    *_, report = run(tmp_path, *towers, make_task(frames=2, see=see))
    assert report.left_out == {"Geometry native gives its pictures different shapes.": 4}
    assert report.rows == N - 4


def test_gaze_is_read_out_on_the_grid_of_the_native_side(tmp_path):
    pre, post, pictures, _ = run(
        tmp_path, mean_colour(), mean_colour("fake:post"), make_task(points=1)
    )
    assert pre.grid == post.grid == (4, 4)
    assert pictures.grid == (0, 0)
    other = mean_colour("fake:other", size=84)
    assert run(tmp_path, mean_colour(), other, make_task(points=1))[1].grid == (6, 6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"token_blocks": [0]}, "squash without a cut only.*geometry is native"),
        ({"compile": True}, "compiled code is for one shape"),
        ({"size": 56}, "follows the picture, but size 56"),
        ({"post": mean_colour("rigid", any_grid=False)}, "rigid takes pictures of side 56 only"),
    ],
)
def test_what_needs_one_shape_is_refused(tmp_path, options, words):
    post = options.pop("post", mean_colour("fake:post"))
    with pytest.raises(ConfigError, match=words):
        run(tmp_path, mean_colour(), post, **options)
    assert list(tmp_path.iterdir()) == []


def test_too_long_a_picture_is_left_out(tmp_path):
    def see(reference):
        return Image.new("RGB", (403, 2)) if reference == "2-0" else picture(reference)

    *_, report = run(tmp_path, mean_colour(), mean_colour("fake:post"), make_task(see=see))
    ((reason, count),) = report.left_out.items()
    assert (count, "at most 200 : 1" in reason) == (1, True)
