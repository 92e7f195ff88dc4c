"""Geometry, pooling and statistics in extraction: planted pictures, boxes that move along."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from degradation.cache import check_paired, open_features
from degradation.encoders.encoder import BlockTokens, EncoderInfo
from degradation.encoders.frozen import FrozenEncoder
from degradation.encoders.pair import Pair
from degradation.errors import ConfigError, PairingError
from degradation.extract import extract
from degradation.geometry import Geometry
from degradation.protocol import STATISTICS, Protocol
from degradation.tasks.task import Rows, Task, TaskSpec

PATCH, SIZE, N = 4, 32, 4
WIDE, HIGH = 64, 32  # pictures twice as wide as high
BRIGHT = (24, 8, 40, 24)  # left, top, right, bottom, in pixels; in the centre
BOX = np.float32([24 / WIDE, 8 / HIGH, 40 / WIDE, 24 / HIGH])
PAIR = Pair("fake", "fake:pre", "fake:post", "none", "this test", block=0)
GEOMETRIES = {
    "squash": Geometry(),
    "pad": Geometry("pad"),
    "short-crop": Geometry("short-crop"),
    "crop": Geometry(crop="square", margin=0.5),
}


class MeanColour(torch.nn.Module):
    """Block i: the mean colour of each patch in [0, 1], times i + 1; the class token is 7."""

    def __init__(self, name="fake:pre", *, size=SIZE, n_prefix=1):
        super().__init__()
        statistics = ((0.0,) * 3, (1.0,) * 3)
        self.info = EncoderInfo(name, name, 2, 3, size, PATCH, n_prefix, *statistics)

    def forward(self, pixels, blocks):
        means = torch.nn.functional.avg_pool2d(pixels.float() / 255, PATCH)
        tokens = means.flatten(2).transpose(1, 2)
        prefix = torch.full((len(tokens), self.info.n_prefix, 3), 7.0)
        return {i: BlockTokens(tokens * (i + 1), prefix) for i in blocks}


class MeanTower(torch.nn.Module):
    """The mean of each normalised patch."""

    def forward(self, pixels, blocks):
        tokens = torch.nn.functional.avg_pool2d(pixels, PATCH).flatten(2).transpose(1, 2)
        return {i: BlockTokens(tokens, tokens[:, :0]) for i in blocks}


def bright_square(reference):
    """Grey, with a square of another colour for each picture."""
    pixels = np.full((HIGH, WIDE, 3), 40, dtype=np.uint8)
    left, top, right, bottom = BRIGHT
    pixels[top:bottom, left:right] = (200, 100 + 10 * int(reference), 250)
    return Image.fromarray(pixels)


def colour_of(row):
    return np.float32([200, 100 + 10 * row, 250]) / 255


def make_task(*, boxes=BOX, points=(), regions=("image", "square"), see=bright_square):
    spec = TaskSpec(
        name="planted", kind="classes", social=True, label_sets={"odd": ("no", "yes")},
        roles=("square",), regions=regions, metrics={"odd": ("accuracy",)}, cluster="picture",
        source="this test",
    )  # fmt: skip
    ids = np.array([f"s{i}" for i in range(N)], dtype=object)
    rows = Rows(
        ids=ids,
        pictures=np.array([[str(i)] for i in range(N)], dtype=object),
        boxes={"square": np.broadcast_to(np.float32(boxes), (N, 1, 4)).copy()},
        labels={"odd": np.arange(N) % 2},
        points=np.tile(np.float32(points).reshape(1, -1, 2), (N, 1, 1)),
        clusters=ids,
    )
    return Task(spec, ("all",), lambda split: rows, see)


def run(root, task=None, pre=None, post=None, **options):
    options = {"batch_size": 3, "shard_rows": 3, "progress": False, "storage": "float32"} | options
    pre, post = pre or MeanColour(), post or MeanColour("fake:post")
    report = extract(task or make_task(), "all", PAIR, pre, post, root=root, **options)
    return open_features(root, report.entry.pre), open_features(root, report.entry.post), report


# --- geometry ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [False, True], ids=["opened", "cached"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_box_holds_the_same_features_in_every_geometry(tmp_path, name, cached):
    go = partial(run, tmp_path, size=64, cache_pictures=cached)
    pre, post, _ = go(protocol=Protocol(geometry=GEOMETRIES[name]), post=MeanColour("third"))
    pre, post, _ = go(protocol=Protocol(geometry=GEOMETRIES[name]))  # from the cache, if any
    expected = np.stack([colour_of(row) for row in range(N)])
    for side in (pre, post):
        # Bicubic scaling rings by a few grey levels at the edges of the square.
        np.testing.assert_allclose(side.pooled(0, ["square"]), expected, atol=0.03)
        np.testing.assert_allclose(side.pooled(1, ["square"]), 2 * expected, atol=0.06)
        np.testing.assert_array_equal(side.rows.boxes["square"][0, 0], BOX)  # of the picture
    assert pre.rows.digest() == make_task().read("all").digest()


def test_padding_is_not_pooled_unless_asked_for(tmp_path):
    plain = make_task(see=lambda reference: Image.new("RGB", (WIDE, HIGH), (51, 102, 204)))
    expected = np.float32([51, 102, 204]) / 255
    for geometry in ("squash", "pad", "short-crop"):
        pre, *_ = run(tmp_path, plain, protocol=Protocol(geometry=Geometry(geometry)))
        np.testing.assert_allclose(pre.pooled(0, ["image"]), np.tile(expected, (N, 1)), rtol=1e-5)
    unmasked = Protocol(geometry=Geometry("pad"), mask_pad=False)
    pre, *_ = run(tmp_path, plain, protocol=unmasked)
    np.testing.assert_allclose(pre.pooled(0, ["image"])[0], expected / 2, rtol=1e-5)


def test_rows_whose_box_or_points_are_cut_away_are_left_out(tmp_path):
    crop = Protocol(geometry=Geometry("short-crop"))
    left = np.tile(BOX, (N, 1, 1))
    left[1] = (0, 0, 0.2, 1)
    pre, _, report = run(tmp_path, make_task(boxes=left), protocol=crop)
    assert pre.rows.ids.tolist() == ["s0", "s2", "s3"]
    assert report.left_out == {"Geometry short-crop cuts the whole box 'square' away.": 1}
    assert np.isfinite(pre.pooled(0, ["square"])).all()
    task = make_task(points=[(0.1, 0.5), (0.5, 0.5)])
    assert len(run(tmp_path, task, protocol=crop)[0].rows) == N  # one annotator is still seen
    rows = make_task(points=[(0.1, 0.5), (np.nan, np.nan)]).read("all")
    rows.points[:3, 0] = 0.5
    pre, _, report = run(tmp_path, replace(task, read=lambda split: rows), protocol=crop)
    assert report.left_out == {"Geometry short-crop cuts all annotated points away.": 1}
    absent = np.tile(BOX, (N, 1, 1))
    absent[2] = np.nan
    cut = Protocol(geometry=Geometry(crop="square"))
    pre, _, report = run(tmp_path, make_task(boxes=absent), protocol=cut)
    assert report.left_out == {"Expected a box 'square' to cut the picture to, found none.": 1}
    assert run(tmp_path, make_task(boxes=absent))[2].left_out == {}


def test_other_protocols_have_other_addresses_and_are_not_compared(tmp_path):
    protocols = [Protocol(), Protocol(pool="max"), Protocol(pool="grid:2x2")]
    protocols += [Protocol(geometry=geometry) for geometry in GEOMETRIES.values()][1:]
    sides = [run(tmp_path, protocol=protocol)[0] for protocol in protocols]
    assert len({side.address for side in sides}) == len(protocols)
    assert sides[0].key.protocol.name == "paired-native-grid"
    for side, protocol in zip(sides, protocols, strict=True):
        assert side.key.protocol.name == protocol.name
        check_paired(side, side)
    for side, knob in zip(sides[3:], ("geometry", "geometry", "crop"), strict=True):
        with pytest.raises(PairingError, match=rf"same pixels, but {knob} is "):
            check_paired(sides[0], side)
    with pytest.raises(PairingError, match=r"paired-native-grid v1 .* after paired\(pool=max\)"):
        check_paired(sides[0], sides[1])


def test_the_protocol_gives_what_is_not_asked_for_and_the_address_is_the_same(tmp_path):
    asked, *_ = run(tmp_path, size=16, blocks=[1], compute_dtype=torch.bfloat16)
    protocol = Protocol(geometry=Geometry(size=16), blocks=(1,), dtype="bfloat16")
    assert run(tmp_path, protocol=protocol)[0].address == asked.address
    assert json.loads((asked.folder / "key.json").read_text())["protocol"]["size"] == 16
    with pytest.raises(ConfigError, match="size 16, but size 32"):
        run(tmp_path, protocol=protocol, size=32)


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        (
            Protocol(geometry=Geometry("native")),
            "pictures of side 32 only, but under geometry native",
        ),
        (Protocol(geometry=Geometry(crop="head")), "cut to 'head': the rows have boxes square"),
        (Protocol(stage="native_norm"), "no effect: of fake:pre and fake:post neither has a norm"),
        (Protocol(pool="cls"), "probes of planted read image, square"),
        (Protocol(geometry=Geometry("pad"), token_blocks=(0,)), "the geometry is pad. Leave"),
        (Protocol(geometry=Geometry(crop="square"), token_blocks=(0,)), "squash, cut to 'square'"),
        (Protocol(normalisation="shared:clip"), "a way of its own"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_read(tmp_path, protocol, words):
    with pytest.raises(ConfigError, match=words):
        run(tmp_path, protocol=protocol)
    assert list(tmp_path.iterdir()) == []


def test_points_of_tracks_are_not_moved(tmp_path):
    rows = make_task(points=[(0.5, 0.5)]).read("all")
    rows = replace(rows, pictures=np.tile(rows.pictures, (1, 2)), boxes={})
    task = replace(make_task(regions=("image",)), read=lambda split: rows)
    with pytest.raises(ConfigError, match="of which picture"):
        run(tmp_path, task, protocol=Protocol(geometry=Geometry("pad")))
    assert len(run(tmp_path, task)[0].rows) == N


# --- pooling ----------------------------------------------------------------------------------


def test_class_tokens_stand_for_the_whole_image(tmp_path):
    task, cls = make_task(regions=("image",)), Protocol(pool="cls")
    pre, *_ = run(tmp_path, task, protocol=cls)
    assert pre.regions == ("image",)
    np.testing.assert_array_equal(pre.pooled(1, ["image"]), 7)
    with pytest.raises(ConfigError, match="bare has no class token"):
        run(tmp_path, task, post=MeanColour("bare", n_prefix=0), protocol=cls)


def test_fields_maxima_and_generalised_means_of_planted_pictures(tmp_path):
    squash = partial(run, tmp_path, size=64)
    pre, *_ = squash(protocol=Protocol(pool="grid:2x2"))
    fields = pre.pooled(0, ["image"]).reshape(N, 4, 3)
    # Each quarter of the picture holds a quarter of the square, an eighth of its area.
    grey = np.float32(40 / 255)
    for row in range(N):
        np.testing.assert_allclose(fields[row], np.tile(fields[row, 0], (4, 1)), atol=1e-3)
        np.testing.assert_allclose(fields[row, 0], grey + (colour_of(row) - grey) / 8, atol=2e-3)
    assert pre.pooled(0, ["image", "square"]).shape == (N, 24)
    ways = [Protocol(pool=how) for how in ("mean", "max", "gem")]
    mean, top, gem = (squash(protocol=way)[0].pooled(0, ["image"]) for way in ways)
    np.testing.assert_allclose(fields.mean(axis=1), mean, rtol=1e-4)
    np.testing.assert_allclose(top, [colour_of(row) for row in range(N)], atol=0.05)
    assert ((mean < gem) & (gem < top)).all()


# --- statistics -------------------------------------------------------------------------------


def test_shared_statistics_replace_those_of_both_encoders(tmp_path):
    own = EncoderInfo("a", "a", 1, 3, SIZE, PATCH, 0, (0.1,) * 3, (0.3,) * 3)
    encoders = [FrozenEncoder(MeanTower(), replace(own, name=n, digest=n)) for n in "ab"]
    task = make_task(see=lambda reference: Image.new("RGB", (WIDE, HIGH), (51, 102, 204)))
    colour = np.float64([51, 102, 204]) / 255
    for protocol, (mean, std) in (
        (Protocol(), (own.mean, own.std)),
        (Protocol(normalisation="shared:clip"), STATISTICS["clip"]),
    ):
        pre, post, _ = run(tmp_path, task, *encoders, protocol=protocol)
        for side in (pre, post):
            expected = (colour - mean) / std
            np.testing.assert_allclose(side.pooled(0, ["image"])[0], expected, rtol=1e-4)
            assert side.encoder.mean == mean
    assert encoders[0].info == replace(own, name="a", digest="a")
