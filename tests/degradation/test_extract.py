"""Extraction: same pixels to both sides, each picture opened once, and features that add up."""

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from degradation.cache import Store, check_paired, open_features, pairs, verify
from degradation.encoders.encoder import BlockTokens, EncoderInfo
from degradation.encoders.pair import Pair
from degradation.errors import CacheError, ConfigError, DataError, PairingError
from degradation.extract import extract
from degradation.pipeline import read_ahead
from degradation.pixels import pixel_hash
from degradation.tasks.task import LeftOut, Rows, Task, TaskSpec

SIZE, PATCH, WIDTH, N = 32, 8, 6, 13
PAIR = Pair("fake", "fake:pre", "fake:post", "none", "this test", block=1)


class FakeEncoder(torch.nn.Module):
    """Block i: a fixed random map of each patch's pixels to the power i + 1."""

    def __init__(self, name, seed, *, blocks=3, patch=PATCH, size=SIZE):
        super().__init__()
        self.map = torch.randn(3 * patch**2, WIDTH, generator=torch.Generator().manual_seed(seed))
        mean = (0.0, 0.0, 0.0)
        self.info = EncoderInfo(name, f"d{seed}", blocks, WIDTH, size, patch, 0, mean, (1.0,) * 3)
        self.pictures = 0

    def forward(self, pixels, blocks):
        self.pictures += len(pixels)
        patches = torch.nn.functional.unfold(
            pixels.float() / 255, self.info.patch, stride=self.info.patch
        )
        tokens = patches.transpose(1, 2)
        return {
            i: BlockTokens((tokens ** (i + 1)) @ self.map, tokens[:, :0, :WIDTH]) for i in blocks
        }


def picture(reference):
    rng = np.random.default_rng(sum(reference.encode()))
    return Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


def make_rows(n, frames):
    rng = np.random.default_rng(3)
    boxes = rng.uniform(0, 0.5, (n, frames, 4)).astype(np.float32)
    boxes[..., 2:] += 0.5
    boxes[2] = np.nan  # sample 2 has no face
    boxes[3, 1:] = np.nan  # sample 3 has one in the first frame only
    return Rows(
        ids=np.array([f"s{i}" for i in range(n)], dtype=object),
        pictures=np.array([[f"{i}/{j}" for j in range(frames)] for i in range(n)], dtype=object),
        boxes={"face": boxes},
        labels={"smile": np.arange(n) % 2},
        points=np.zeros((n, 0, 2), dtype=np.float32),
        clusters=np.array([f"c{i // 2}" for i in range(n)], dtype=object),
        left_out=(LeftOut("s99", "no label"),),
    )


def make_task(*, n=N, frames=1, kind="classes", broken=(), opened=None, see=picture):
    spec = TaskSpec(
        name="fake-task",
        kind=kind,
        social=True,
        label_sets={"smile": ("no", "yes")},
        roles=("face",),
        regions=("image", "face"),
        metrics={"smile": ("accuracy",)},
        cluster="subject",
        source="this test",
    )

    def open_counted(reference):
        if opened is not None:
            opened.append(reference)
        if reference in broken:
            raise DataError(f"Expected a picture at {reference}, found nothing.")
        return see(reference)

    return Task(spec, ("all",), lambda split: make_rows(n, frames), open_counted)


def run(root, task, pre=None, post=None, *, pair=PAIR, **options):
    pre = pre or FakeEncoder("fake:pre", 1)
    post = post or FakeEncoder("fake:post", 2)
    options = {"batch_size": 3, "shard_rows": 5, "progress": False, "workers": 2} | options
    return extract(task, "all", pair, pre, post, root=root, **options)


def sides(root, report):
    entry = report.entry
    return [open_features(root, address) for address in (entry.pre, entry.post, entry.pictures)]


def direct_mean(encoder, reference, block, box=None):
    """Mean of the patches by a plain loop over cells, each split into 20 x 20 points."""
    pixels = torch.from_numpy(np.array(picture(reference))).permute(2, 0, 1)[None]
    tokens = encoder(pixels, [block])[block].patches[0].double().numpy()
    side = SIZE // PATCH
    if box is None:
        return tokens.mean(axis=0)
    points = (np.arange(side * 200) + 0.5) / (side * 200)
    inside_x = (points > box[0]) & (points < box[2])
    inside_y = (points > box[1]) & (points < box[3])
    shares = np.outer(inside_y.reshape(side, -1).sum(1), inside_x.reshape(side, -1).sum(1)).ravel()
    return shares @ tokens / shares.sum()


# --- features ---------------------------------------------------------------------------------


def test_features_equal_a_direct_computation(tmp_path):
    encoder = FakeEncoder("fake:pre", 1)
    report = run(tmp_path, make_task(), encoder, storage="float32")
    pre, post, pictures = sides(tmp_path, report)
    rows = make_rows(N, 1)
    assert pre.blocks == post.blocks == (0, 1, 2)
    assert pre.regions == ("image", "face")
    for block in (0, 2):
        image, face = pre.pooled(block, ["image"]), pre.pooled(block, ["face"])
        for i in (0, 4, 12):
            reference, box = f"{i}/0", rows.boxes["face"][i, 0]
            np.testing.assert_allclose(image[i], direct_mean(encoder, reference, block), rtol=1e-5)
            np.testing.assert_allclose(
                face[i], direct_mean(encoder, reference, block, box), rtol=0.02, atol=0.02
            )
    assert np.flatnonzero(np.isnan(pre.pooled(0, ["face"])).any(axis=1)).tolist() == [2]
    assert pre.pixel_hashes[4].tobytes() == pixel_hash(np.array(picture("4/0")))
    assert pictures.regions == ("pixels", "histogram")
    assert pictures.encoder.name == "pictures"
    assert (report.rows, report.images) == (N, N)
    assert report.left_out == {"no label": 1}
    assert pairs(tmp_path) == [report.entry]
    assert verify(tmp_path) == []


def test_tracks_average_the_frames_that_have_the_box(tmp_path):
    encoder = FakeEncoder("fake:pre", 1)
    report = run(tmp_path, make_task(frames=3, kind="track"), encoder, storage="float32")
    pre, *_ = sides(tmp_path, report)
    boxes = make_rows(N, 3).boxes["face"]
    means = [direct_mean(encoder, f"5/{j}", 1) for j in range(3)]
    np.testing.assert_allclose(pre.pooled(1, ["image"])[5], np.mean(means, axis=0), rtol=1e-5)
    inside = [direct_mean(encoder, f"5/{j}", 1, boxes[5, j]) for j in range(3)]
    face = pre.pooled(1, ["face"])
    np.testing.assert_allclose(face[5], np.mean(inside, axis=0), rtol=0.02, atol=0.02)
    first = direct_mean(encoder, "3/0", 1, boxes[3, 0])
    np.testing.assert_allclose(face[3], first, rtol=0.02, atol=0.02)
    assert np.isnan(face[2]).all()
    assert report.images == 3 * N


def test_token_maps_are_stored_on_request(tmp_path):
    report = run(tmp_path, make_task(kind="gaze"), storage="float32", token_blocks=[1])
    pre, post, pictures = sides(tmp_path, report)
    assert pre.token_blocks == post.token_blocks == (1,)
    assert pictures.token_blocks == ()
    assert pre.tokens(1).shape == (N, 16, WIDTH)
    np.testing.assert_allclose(pre.tokens(1).mean(axis=1), pre.pooled(1, ["image"]), rtol=1e-5)


def test_the_token_maps_of_a_track_are_those_of_its_frames_one_after_the_other(tmp_path):
    encoder = FakeEncoder("fake:pre", 1)
    options = {"storage": "float32", "token_blocks": [1]}
    report = run(tmp_path, make_task(frames=3, kind="track"), encoder, **options)
    pre, *_ = sides(tmp_path, report)
    maps = pre.tokens(1)
    assert maps.shape == (N, 3 * 16, WIDTH)
    for j in range(3):
        pixels = torch.from_numpy(np.array(picture(f"5/{j}"))).permute(2, 0, 1)[None]
        expected = encoder(pixels, [1])[1].patches[0].numpy()
        np.testing.assert_allclose(maps[5, 16 * j : 16 * (j + 1)], expected, rtol=1e-5)
    np.testing.assert_allclose(maps.mean(axis=1), pre.pooled(1, ["image"]), rtol=1e-5)
    assert verify(tmp_path) == []
    without = sides(tmp_path, run(tmp_path, make_task(frames=3, kind="track"), storage="float32"))
    assert without[0].address != pre.address


def test_bfloat16_is_close_and_has_its_own_address(tmp_path):
    exact = sides(tmp_path, run(tmp_path, make_task()))[0]
    report = run(tmp_path, make_task(), compute_dtype=torch.bfloat16)
    rounded = open_features(tmp_path, report.entry.pre)
    assert rounded.address != exact.address
    one, two = exact.pooled(2, ["image"]), rounded.pooled(2, ["image"])
    assert 0 < np.linalg.norm(one - two) < 0.02 * np.linalg.norm(one)
    assert report.entry.pictures == pairs(tmp_path)[0].pictures


# --- one pass ---------------------------------------------------------------------------------


def test_each_picture_is_opened_exactly_once(tmp_path):
    opened, pre, post = [], FakeEncoder("fake:pre", 1), FakeEncoder("fake:post", 2)
    report = run(tmp_path, make_task(opened=opened), pre, post)
    assert Counter(opened) == {f"{i}/0": 1 for i in range(N)}
    assert (pre.pictures, post.pictures) == (N, N)
    assert (report.skipped_shards, report.images) == (0, N)
    check_paired(*sides(tmp_path, report)[:2])
    again = run(tmp_path, make_task(opened=opened), pre, post)
    assert len(opened) == N
    assert (again.images, again.images_per_second, again.skipped_shards) == (0, 0, 9)
    assert again.entry == report.entry


def test_the_same_encoder_on_both_sides_is_computed_once(tmp_path):
    one, two = FakeEncoder("fake:pre", 1), FakeEncoder("fake:pre", 1)
    report = run(tmp_path, make_task(), one, two)
    assert report.entry.pre == report.entry.post
    assert (one.pictures + two.pictures) == N


def test_a_new_partner_computes_only_its_own_side(tmp_path):
    first = run(tmp_path, make_task())
    opened, pre, third = [], FakeEncoder("fake:pre", 1), FakeEncoder("fake:third", 3)
    report = run(tmp_path, make_task(opened=opened), pre, third, pair=replace(PAIR, name="other"))
    assert (pre.pictures, third.pictures, len(opened)) == (0, N, N)
    assert (report.entry.pre, report.entry.pictures) == (first.entry.pre, first.entry.pictures)
    assert [entry.pair for entry in pairs(tmp_path)] == ["fake", "other"]


def test_resuming_encodes_only_what_is_missing(tmp_path):
    report = run(tmp_path / "whole", make_task())
    run(tmp_path, make_task())
    folder = tmp_path / "features" / report.entry.post
    (folder / "index.h5").unlink()
    next(folder.glob("shard-00001-*")).unlink()
    pre, post, opened = FakeEncoder("fake:pre", 1), FakeEncoder("fake:post", 2), []
    again = run(tmp_path, make_task(opened=opened), pre, post)
    assert (pre.pictures, post.pictures) == (0, 5)
    assert sorted(opened) == sorted(f"{i}/0" for i in range(5, 10))
    assert again.skipped_shards == 8
    for path in (tmp_path / "whole" / "features" / report.entry.post).glob("*.*"):
        assert path.read_bytes() == (folder / path.name).read_bytes()


@pytest.mark.parametrize("ahead", [False, True])
def test_reading_ahead_is_bounded(tmp_path, monkeypatch, ahead):
    opened, seen = [], []
    if ahead:  # as on a GPU

        def both_batches(read, items, workers, size):
            return read_ahead(read, items, workers, 2 * size)

        monkeypatch.setattr("degradation.extract.in_bursts", both_batches)

    class Watching(FakeEncoder):
        def forward(self, pixels, blocks):
            seen.append(len(opened) - self.pictures - len(pixels))
            return super().forward(pixels, blocks)

    run(tmp_path, make_task(n=60, opened=opened), Watching("fake:pre", 1), batch_size=4, workers=4)
    assert max(seen) <= (2 * 4 if ahead else 3)  # of a burst of 4, one is used at once
    assert verify(tmp_path) == []


def test_a_failure_while_writing_surfaces_and_keeps_what_was_finished(tmp_path, monkeypatch):
    write = Store.write

    def full(store, shard):
        if shard.number == 2:
            raise CacheError("The disk is full.")
        write(store, shard)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(CacheError, match="disk is full"):
        run(tmp_path, make_task(n=60))
    assert len(list(tmp_path.rglob("shard-*"))) == 2 * 3
    monkeypatch.undo()
    again = run(tmp_path, make_task(n=60))
    assert (again.skipped_shards, again.images) == (2 * 3, 50)


def test_an_interrupted_run_keeps_its_shards_and_ends_its_threads(tmp_path):
    class Interrupted(FakeEncoder):
        def forward(self, pixels, blocks):
            if self.pictures >= 20:
                raise KeyboardInterrupt
            return super().forward(pixels, blocks)

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, make_task(n=60), Interrupted("fake:pre", 1))
    assert threading.active_count() == before
    assert len(list(tmp_path.rglob("shard-*"))) == 4 * 3
    assert run(tmp_path, make_task(n=60)).images == 40


def test_compiled_forward_passes_see_batches_of_one_size(tmp_path, monkeypatch):
    seen = []

    def compiled(function, **options):
        def counted(encoder, pixels, weights, *others):
            seen.append((pixels.shape[0], weights.shape[0], options["dynamic"]))
            return function(encoder, pixels, weights, *others)

        return counted

    monkeypatch.setattr(torch, "compile", compiled)
    broken = {"1/0", "7/0", "8/0"}
    eager = sides(tmp_path, run(tmp_path, make_task(broken=broken)))
    report = run(tmp_path, make_task(broken=broken), compile=True)
    padded = sides(tmp_path, report)
    assert set(seen) == {(3, 3, False)}
    for one, two in zip(eager[:2], padded[:2], strict=True):
        assert one.address != two.address  # compiled code rounds otherwise
        for region in ("image", "face"):
            np.testing.assert_array_equal(one.pooled(1, [region]), two.pooled(1, [region]))
    assert eager[2].address == padded[2].address
    assert report.rows == N - 3


# --- pictures that cannot be read ---------------------------------------------------------------


def test_broken_pictures_are_left_out_on_both_sides_and_counted(tmp_path):
    broken = {"1/0", *(f"{i}/0" for i in range(5, 9))}
    report = run(tmp_path, make_task(broken=broken))
    reason = "Expected a picture at <picture>, found nothing."
    assert report.left_out == {"no label": 1, reason: 5}
    assert report.rows == N - 5
    pre, post, pictures = sides(tmp_path, report)
    for side in (pre, post, pictures):
        assert side.rows.ids.tolist() == ["s0", "s2", "s3", "s4", "s9", "s10", "s11", "s12"]
        assert [row.id for row in side.rows.left_out] == ["s99", "s1", "s5", "s6", "s7", "s8"]
    whole = sides(tmp_path / "b", run(tmp_path / "b", make_task()))[0]
    kept = [0, 2, 3, 4, 9, 10, 11, 12]
    np.testing.assert_allclose(
        pre.pooled(0, ["image"]), whole.pooled(0, ["image"])[kept], rtol=2e-3
    )
    assert verify(tmp_path) == []


def test_a_shard_without_a_readable_picture(tmp_path):
    report = run(tmp_path, make_task(broken={f"{i}/0" for i in range(5)}))
    assert report.rows == N - 5
    assert sides(tmp_path, report)[1].pooled(0, ["image"]).shape == (N - 5, WIDTH)
    assert verify(tmp_path) == []


def test_mostly_broken_stops_with_the_commonest_reason_and_leaves_nothing(tmp_path):
    broken = {f"{i}/0" for i in range(N)}
    with pytest.raises(DataError, match=r"7 times|8 times|9 times|10 times") as caught:
        run(tmp_path, make_task(broken=broken))
    assert "found nothing" in str(caught.value)
    assert list(tmp_path.rglob("shard-*")) == []
    assert pairs(tmp_path) == []
    assert run(tmp_path, make_task()).rows == N


# --- refusals ---------------------------------------------------------------------------------


def test_changed_pixels_are_refused(tmp_path):
    run(tmp_path, make_task())
    changed = make_task(see=lambda reference: picture("x" if reference == "7/0" else reference))
    with pytest.raises(PairingError, match=r"same pixels, but 1 of 13 rows differ, first 's7'"):
        run(tmp_path, changed, post=FakeEncoder("fake:third", 3), pair=replace(PAIR, name="b"))
    assert [entry.pair for entry in pairs(tmp_path)] == ["fake"]


def test_other_grids_compare_pooled_features_but_no_token_maps(tmp_path):
    coarse = FakeEncoder("fake:coarse", 4, patch=16)
    with pytest.raises(PairingError, match="4 x 4 tokens and fake:coarse 2 x 2"):
        run(tmp_path, make_task(), post=coarse, token_blocks=[1])
    report = run(tmp_path, make_task(), post=coarse)
    pre, post, _ = sides(tmp_path, report)
    assert (pre.grid, post.grid) == ((4, 4), (2, 2))


def test_blocks_that_only_one_side_has(tmp_path):
    shallow = FakeEncoder("fake:shallow", 5, blocks=2)
    with pytest.raises(ConfigError, match="has blocks 0 to 1, but block 2"):
        run(tmp_path, make_task(), post=shallow, blocks=[0, 2])
    with pytest.raises(ConfigError, match="different blocks"):
        run(tmp_path, make_task(), blocks=[0, 0])
    assert sides(tmp_path, run(tmp_path, make_task(), post=shallow))[0].blocks == (0, 1)


def test_features_that_are_not_finite_are_never_stored(tmp_path):
    bad = FakeEncoder("fake:bad", 6)
    bad.map[0, 0] = torch.inf
    with pytest.raises(DataError, match=r"fake:bad gives features that are not finite"):
        run(tmp_path, make_task(), post=bad)


def test_an_encoder_with_another_grid_than_it_says(tmp_path):
    class Liar(FakeEncoder):
        def forward(self, pixels, blocks):
            outputs = super().forward(pixels, blocks)
            return {i: BlockTokens(out.patches[:, 1:], out.prefix) for i, out in outputs.items()}

    message = "should return 16 patch tokens, block 0 returned 15"
    with pytest.raises(PairingError, match=message):
        run(tmp_path, make_task(), post=Liar("fake:liar", 7))


def test_an_empty_split_and_useless_options(tmp_path):
    task = make_task()
    empty = replace(task, read=lambda split: make_rows(N, 1).take(np.array([], dtype=int)))
    with pytest.raises(DataError, match="no rows"):
        run(tmp_path, empty)
    with pytest.raises(ConfigError, match="at least 1"):
        run(tmp_path, task, batch_size=0)


def test_defects_are_not_taken_for_broken_pictures(tmp_path):
    def defect(reference):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(tmp_path, make_task(see=defect))


def test_a_second_extraction_at_the_same_time_is_refused(tmp_path):
    class Nested(FakeEncoder):
        def forward(self, pixels, blocks):
            run(tmp_path, make_task())
            return super().forward(pixels, blocks)

    with pytest.raises(CacheError, match="process id"):
        run(tmp_path, make_task(), Nested("fake:pre", 1))


def test_progress_goes_to_stderr(tmp_path, capsys):
    run(tmp_path, make_task(), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{N}/{N}" in err
    assert "img/s" in err
