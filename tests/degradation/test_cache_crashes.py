"""A cache that is incomplete, damaged, locked, or on a full disk: never taken for sound."""

import errno
import os
import resource
import subprocess
import sys

import h5py
import pytest
from cache_fixtures import INFO, a_shard, arrays, fill, flip_bit, key, make_pair, rows, shard

from degradation.cache import (
    is_complete,
    listing,
    open_features,
    open_store,
    prune,
    verify,
    write_pair,
)
from degradation.cache.pairs import pair_path
from degradation.errors import CacheError

# --- incomplete, damaged, of another version ----------------------------------------------------


def test_incomplete_is_never_read(tmp_path):
    with open_store(tmp_path, key()) as store:
        store.write(shard(0, arrays()))
        with pytest.raises(CacheError, match="lacks 2 of 3 shards, first number 1"):
            store.finish(rows(), INFO, (2, 3))
    assert not is_complete(tmp_path, key())
    with pytest.raises(CacheError, match="incomplete"):
        open_features(tmp_path, key().address)
    with pytest.raises(CacheError, match="no cache"):
        open_features(tmp_path, "nothing")


def test_a_missing_shard_is_an_error_not_a_fill_value(tmp_path):
    address = fill(tmp_path, key())
    features = open_features(tmp_path, address)
    a_shard(tmp_path, address).unlink()
    with pytest.raises(CacheError, match="missing"):
        features.pooled(0, ["image"])
    with pytest.raises(CacheError, match="lacks 1 of 3 shards, first shard-00001"):
        open_features(tmp_path, address)


def test_another_schema_version_is_refused(tmp_path):
    address = fill(tmp_path, key())
    with h5py.File(tmp_path / "features" / address / "index.h5", "r+") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(CacheError, match=r"Expected schema version 1 .* found 99"):
        open_features(tmp_path, address)


def test_a_store_takes_up_sound_shards_and_deletes_damaged_ones(tmp_path, caplog):
    with open_store(tmp_path, key()) as store:
        for number in range(3):
            store.write(shard(number, arrays()))
    flip_bit(a_shard(tmp_path, key().address))
    (tmp_path / "features" / key().address / "shard-00007-0123456789abcdef.h5.part").write_bytes(
        b"x"
    )
    with open_store(tmp_path, key()) as store:
        assert sorted(store.cards) == [0, 2]
    assert "damaged" in caplog.text
    names = [path.name for path in (tmp_path / "features" / key().address).iterdir()]
    assert len(names) == 4  # two shards, key.json, lock


# --- locking ----------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path):
    with (
        open_store(tmp_path, key()),
        pytest.raises(CacheError, match=f"process id {os.getpid()}"),
        open_store(tmp_path, key()),
    ):
        pass
    with open_store(tmp_path, key()):
        pass


def test_the_lock_of_a_dead_process_is_free(tmp_path):
    folder = tmp_path / "features" / key().address
    folder.mkdir(parents=True)
    code = (
        "import fcntl, os, sys, time; file = open(sys.argv[1], 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX); print(os.getpid(), file=file, flush=True)\n"
        "print('locked', flush=True); time.sleep(600)"
    )
    arguments = [sys.executable, "-c", code, str(folder / "lock")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"locked\n"
        with (
            pytest.raises(CacheError, match=f"process id {writer.pid}"),
            open_store(tmp_path, key()),
        ):
            pass
        writer.kill()
    with open_store(tmp_path, key()):
        pass


def test_writing_a_pair_removes_what_dead_writers_left_of_it_and_nothing_else(tmp_path):
    entry = make_pair(tmp_path)
    path = pair_path(tmp_path, entry)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left, alive = (path.with_name(f"{path.name}.{n}.part") for n in (dead.pid, os.getppid()))
    other = path.with_name(f"other.json.{dead.pid}.part")
    for part in (left, alive, other):
        part.touch()
    write_pair(tmp_path, entry)
    assert [part.exists() for part in (path, left, alive, other)] == [True, False, True, True]


def test_prune_and_verify_pass_over_what_is_being_written(tmp_path):
    make_pair(tmp_path)
    with open_store(tmp_path, key("third")) as store:
        store.write(shard(0, arrays()))
        assert verify(tmp_path) == []
        assert prune(tmp_path, apply=True) == []
    assert [removal.reason for removal in prune(tmp_path, apply=True)] == ["incomplete"]
    assert len(listing(tmp_path)) == 2


# --- full disk --------------------------------------------------------------------------------


def test_a_full_disk_is_one_error_and_keeps_what_was_committed(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_store(tmp_path, key()) as store:
        store.write(shard(0, arrays()))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
            with pytest.raises(CacheError, match=r"Could not write .*kept"):
                store.write(shard(1, arrays()))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert sorted(store.cards) == [0]
    folder = tmp_path / "features" / key().address
    assert list(folder.glob("*.part")) == []
    assert len(list(folder.glob("shard-*"))) == 1
    assert fill(tmp_path, key())
    assert verify(tmp_path) == []


def test_a_disk_that_fills_while_syncing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_store(tmp_path, key()) as store:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(CacheError, match="No space left on device"):
            store.write(shard(0, arrays()))
    assert list((tmp_path / "features" / key().address).glob("*.part")) == []
