"""Pairs of caches, and housekeeping: what is listed, found wrong, and removed."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from cache_fixtures import SPEC, a_shard, arrays, fill, flip_bit, hashes, key, make_pair, shard

from degradation.cache import (
    KeptPictures,
    check_paired,
    kept_pictures,
    listing,
    open_features,
    open_store,
    pairs,
    prune,
    verify,
)
from degradation.cache.schema import pictures_folder
from degradation.errors import CacheError, PairingError

# --- pairs ------------------------------------------------------------------------------------


def test_pair_entries_round_trip(tmp_path):
    assert pairs(tmp_path) == []
    entry = make_pair(tmp_path)
    assert pairs(tmp_path) == [entry]
    (tmp_path / "pairs" / "x" / "y").mkdir(parents=True)
    (tmp_path / "pairs" / "x" / "y" / "z.json").write_text("{}")
    with pytest.raises(CacheError, match="not a pair entry"):
        pairs(tmp_path)


def test_pairing_names_the_first_row_that_differs(tmp_path):
    pre = open_features(tmp_path, fill(tmp_path, key("pre")))
    post = open_features(tmp_path, fill(tmp_path, key("post")))
    check_paired(pre, post)
    changed = hashes()
    changed[3] ^= 1
    other = open_features(tmp_path, fill(tmp_path, key("post", digest="1"), None, changed))
    with pytest.raises(PairingError, match=r"same pixels, but 1 of 10 rows differ, first 'id é 3'"):
        check_paired(pre, other)
    fewer = replace(post, rows=post.rows.take(np.arange(9)))
    with pytest.raises(
        PairingError, match=r"pre has 10, post has 9; 'id é 10' is on one side only"
    ):
        check_paired(pre, fewer)
    turned = replace(post, rows=post.rows.take(np.arange(10)[::-1]))
    with pytest.raises(PairingError, match="another order"):
        check_paired(pre, turned)
    labels = {name: column.copy() for name, column in post.rows.labels.items()}
    labels["age"][4] += 1
    with pytest.raises(PairingError, match=r"label 'age', but 1 of 10 rows differ, first 'id é 4'"):
        check_paired(pre, replace(post, rows=replace(post.rows, labels=labels)))
    blind = replace(post, pixel_hashes=post.pixel_hashes[:, :0])
    with pytest.raises(PairingError, match="Only one side has pixels"):
        check_paired(pre, blind)


# --- housekeeping -----------------------------------------------------------------------------


def test_listing(tmp_path):
    assert listing(tmp_path) == []
    entry = make_pair(tmp_path)
    with open_store(tmp_path, key("third")) as store:
        store.write(shard(0, arrays()))
    lines = {line.encoder: line for line in listing(tmp_path)}
    assert sorted(lines) == ["post", "pre", "third"]
    assert (lines["pre"].address, lines["pre"].task, lines["pre"].split) == (
        entry.pre,
        SPEC.name,
        "train",
    )
    assert (lines["pre"].rows, lines["pre"].complete, lines["pre"].pairs) == (10, True, ("tiny",))
    assert (lines["third"].rows, lines["third"].complete, lines["third"].pairs) == (4, False, ())
    on_disk = sum(f.stat().st_size for f in (tmp_path / "features" / entry.pre).iterdir())
    assert lines["pre"].bytes == on_disk


def test_a_flipped_bit_anywhere_in_a_shard_is_found(tmp_path):
    entry = make_pair(tmp_path)
    assert verify(tmp_path) == []
    assert prune(tmp_path, apply=True) == []
    path = a_shard(tmp_path, entry.post)
    flip_bit(path)
    (problem,) = verify(tmp_path)
    assert problem.address == entry.post
    assert path.name in problem.what
    plan = prune(tmp_path, apply=False)
    assert [removal.path.name for removal in plan] == [entry.post, "tiny.json"]
    assert path.exists()
    assert prune(tmp_path, apply=True) == plan
    assert not path.exists()
    assert pairs(tmp_path) == []
    assert open_features(tmp_path, entry.pre).address == entry.pre


def test_verify_finds_shards_that_do_not_belong(tmp_path):
    entry = make_pair(tmp_path)
    pre, post = (tmp_path / "features" / address for address in (entry.pre, entry.post))
    alien = a_shard(tmp_path, entry.post, 0)
    shutil.copy(alien, pre / alien.name.replace("00000", "00003"))
    assert "disagree" in verify(tmp_path)[0].what
    shutil.rmtree(post)
    assert [p.what for p in verify(tmp_path) if p.address == entry.post] == [
        "missing or incomplete, but pair tiny refers to it"
    ]


def test_verify_finds_numbers_that_are_not_finite(tmp_path):
    values = arrays()
    values["tokens/2"][9, 0, 0] = np.nan
    values["pooled/image"][1] = np.nan  # an absent box of another region is no excuse
    fill(tmp_path, key(), values)
    assert sorted(problem.what.split(" in ")[0] for problem in verify(tmp_path)) == [
        "pooled/image",
        "tokens/2",
    ]
    assert "'id é 9'" in verify(tmp_path)[1].what


@pytest.mark.parametrize("damage", ["key", "index", "truncated"])
def test_verify_and_prune_survive_any_damage(tmp_path, damage):
    entry = make_pair(tmp_path)
    folder = tmp_path / "features" / entry.pre
    match damage:
        case "key":
            (folder / "key.json").write_text("{")
        case "index":
            (folder / "index.h5").write_bytes(b"not HDF5")
        case "truncated":
            path = a_shard(tmp_path, entry.pre)
            path.write_bytes(path.read_bytes()[:100])
    assert [problem.address for problem in verify(tmp_path)] == [entry.pre]
    assert len(listing(tmp_path)) == 2
    prune(tmp_path, apply=True)
    assert [line.address for line in listing(tmp_path)] == [entry.post]


def keep_pictures(root, sizes=(100, 300)):
    for number, size in enumerate(sizes):
        path = pictures_folder(root) / f"{number:016}" / "ab" / f"{number:030}"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * size)
    return pictures_folder(root)


def test_kept_pictures_are_counted_and_go_only_when_asked_for(tmp_path):
    assert kept_pictures(tmp_path) == KeptPictures(0, 0)
    assert prune(tmp_path, apply=True, pictures=True) == []
    entry, folder = make_pair(tmp_path), keep_pictures(tmp_path)
    torn = folder / "0000000000000000" / "ab" / "c.12-3.part"
    torn.write_bytes(b"x")
    assert [one.path for one in prune(tmp_path, apply=True)] == [torn]
    assert kept_pictures(tmp_path) == KeptPictures(2, 400)
    (plan,) = prune(tmp_path, apply=False, pictures=True)
    assert (plan.path, plan.bytes) == (folder, 400)
    assert kept_pictures(tmp_path).count == 2
    assert prune(tmp_path, apply=True, pictures=True) == [plan]
    assert not folder.exists()
    assert [line.address for line in listing(tmp_path)] == sorted((entry.pre, entry.post))


def test_pictures_stay_while_an_extraction_may_need_them(tmp_path):
    make_pair(tmp_path)
    folder = keep_pictures(tmp_path)
    torn = folder / "mine.part"
    torn.write_bytes(b"x")
    with open_store(tmp_path, key("third")):
        with pytest.raises(CacheError, match=r"may need the pictures.*third.*is being written"):
            prune(tmp_path, apply=True, pictures=True)
        assert prune(tmp_path, apply=True) == []
    assert torn.exists()
    assert kept_pictures(tmp_path).count == 3


def test_prune_removes_the_unreferenced_and_the_stray(tmp_path):
    entry = make_pair(tmp_path)
    lonely = fill(tmp_path, key("lonely"))
    stray = tmp_path / "features" / entry.pre / "shard-00000-0.h5.part"
    stray.write_bytes(b"x")
    plan = prune(tmp_path, apply=True)
    assert {(removal.path.name, removal.reason) for removal in plan} == {
        (lonely, "no pair refers to it"),
        (stray.name, "stray temporary file"),
    }
    assert [line.encoder for line in listing(tmp_path)] == ["post", "pre"]
    assert not stray.exists()
    assert verify(tmp_path) == []
