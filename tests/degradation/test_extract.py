"""Extraction: same pixels to both sides, each picture opened once, and features that add up."""

import threading
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from extract_fixtures import (
    PAIR,
    PATCH,
    SIZE,
    WIDTH,
    FakeEncoder,
    N,
    make_rows,
    make_task,
    picture,
    run,
    sides,
)

from degradation.cache import Store, check_paired, open_features, pairs, verify
from degradation.errors import CacheError
from degradation.pipeline import read_ahead
from degradation.pixels import pixel_hash


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


def test_progress_goes_to_stderr(tmp_path, capsys):
    run(tmp_path, make_task(), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"{N}/{N}" in err
    assert "img/s" in err
