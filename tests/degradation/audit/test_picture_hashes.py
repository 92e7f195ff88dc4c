"""Hashes are read once, and again when the picture or the version changes."""

import os

import numpy as np
import pytest

from degradation.audit import picture_hashes
from degradation.audit.picture_hashes import FOUND, UNREADABLE, hash_pictures


@pytest.fixture
def looked(monkeypatch) -> list[str]:
    """References of the pictures that were read."""
    read, real = [], picture_hashes._look

    def look(task, reference, root):
        read.append(reference)
        return real(task, reference, root)

    monkeypatch.setattr(picture_hashes, "_look", look)
    return read


def same(one, other) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("contents", "looks", "states")
    )


def test_a_second_run_reads_only_what_changed(album, row, tmp_path, looked):
    names = [album.picture(f"{i}.jpg", i) for i in range(4)]
    task = album.task("t", {"train": [row(name) for name in names]})
    first = hash_pictures(task, names, root=album.root, cache=tmp_path)
    assert sorted(looked) == names
    looked.clear()
    assert same(first, hash_pictures(task, names, root=album.root, cache=tmp_path))
    assert looked == []
    album.picture("2.jpg", 99)
    os.utime(album.root / "2.jpg", ns=(1, 1))  # the clock may be too coarse to tell
    second = hash_pictures(task, names, root=album.root, cache=tmp_path)
    assert looked == ["2.jpg"]
    assert (second.contents != first.contents).tolist() == [False, False, True, False]
    assert (second.looks != first.looks).tolist() == [False, False, True, False]


def test_what_cannot_be_read_is_tried_again(album, row, tmp_path, looked):
    names = [album.picture("0.jpg", 0), "1.jpg"]
    task = album.task("t", {"train": [row(name) for name in names]})
    first = hash_pictures(task, names, root=album.root, cache=tmp_path)
    assert first.states.tolist() == [FOUND, UNREADABLE]
    album.picture("1.jpg", 1)
    looked.clear()
    assert (
        hash_pictures(task, names, root=album.root, cache=tmp_path).states.tolist() == [FOUND] * 2
    )
    assert looked == ["1.jpg"]


@pytest.mark.parametrize("damage", ["bytes", "version"])
def test_a_damaged_or_outdated_cache_is_made_again(
    album, row, tmp_path, looked, damage, monkeypatch, caplog
):
    names = [album.picture("0.jpg", 0)]
    task = album.task("t", {"train": [row("0.jpg")]})
    first = hash_pictures(task, names, root=album.root, cache=tmp_path)
    (path,) = (tmp_path / "audit").iterdir()
    if damage == "bytes":
        path.write_bytes(path.read_bytes()[:100])
    else:
        monkeypatch.setattr(picture_hashes, "_VERSION", b"2")
    assert same(first, hash_pictures(task, names, root=album.root, cache=tmp_path))
    assert looked == ["0.jpg", "0.jpg"]
    assert ("made again" in caplog.text) == (damage == "bytes")


def test_a_picture_that_leaves_the_root_is_not_read(album, row, tmp_path):
    outside = tmp_path / "outside.jpg"
    album.picture("0.jpg", 0)
    outside.write_bytes((album.root / "0.jpg").read_bytes())
    (album.root / "link.jpg").symlink_to(outside)
    task = album.task("t", {"train": [row("link.jpg"), row("../outside.jpg")]})
    found = hash_pictures(
        task, ["link.jpg", "../outside.jpg", "0.jpg", "a\0b"], root=album.root, cache=tmp_path
    )
    assert found.states.tolist() == [UNREADABLE, UNREADABLE, FOUND, UNREADABLE]


def test_pictures_that_are_no_files_are_opened_by_their_task(tmp_path, looked):
    from degradation.tasks import get_task

    task = get_task("scenes-objects")
    names = [f"objects/val/{i}/0" for i in range(3)]
    first = hash_pictures(task, names, root=None, cache=tmp_path)
    assert first.states.tolist() == [FOUND] * 3
    assert len(set(first.contents.tolist())) == 3
    looked.clear()
    assert same(first, hash_pictures(task, names, root=None, cache=tmp_path))
    assert looked == []
