"""Extraction of what cannot be read, does not fit together, or is asked for in vain."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from extract_fixtures import PAIR, WIDTH, FakeEncoder, N, make_rows, make_task, picture, run, sides

from degradation.cache import pairs, verify
from degradation.encoders.encoder import BlockTokens
from degradation.errors import CacheError, ConfigError, DataError, PairingError

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
