"""The feature cache: what is written is read back, and nothing damaged is taken for sound."""

import errno
import json
import logging
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from degradation.cache import (
    Key,
    PairEntry,
    PixelProtocol,
    Shard,
    check_paired,
    is_complete,
    listing,
    open_features,
    open_store,
    pairs,
    prune,
    verify,
    write_pair,
)
from degradation.cache.narrow import narrow
from degradation.cache.schema import slug
from degradation.encoders.encoder import EncoderInfo
from degradation.errors import CacheError, ConfigError, DataError, PairingError
from degradation.tasks.task import LeftOut, Rows, TaskSpec

ROOT = Path(__file__).parents[2]
N, BLOCKS, WIDTH, SHARD_ROWS, TOKENS = 11, (0, 2), 5, 4, 6
LEFT_OUT = 6  # position of the row that could not be read
SPEC = TaskSpec(
    name="People: a/b",
    kind="classes",
    social=True,
    label_sets={"smile": ("no", "yes"), "age": ("young", "old")},
    roles=("face",),
    regions=("image", "face"),
    metrics={"smile": ("accuracy",), "age": ("accuracy",)},
    cluster="subject",
    source="drawn for the test",
)
INFO = EncoderInfo("hf:Some/Encoder", "ab" * 32, 3, WIDTH, 32, 16, 1, (0.5, 0.5, 0.5), (1.0,) * 3)


def rows(n=N):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 0.5, (n, 1, 4)).astype(np.float32)
    boxes[..., 2:] += 0.5
    boxes[1] = np.nan
    return Rows(
        ids=np.array([f"id é {i}" for i in range(n)], dtype=object),
        pictures=np.array([[f"picture {i}.png"] for i in range(n)], dtype=object),
        boxes={"face": boxes},
        labels={"smile": np.arange(n) % 2, "age": np.arange(n) % 3 - 1},
        points=rng.uniform(size=(n, 2, 2)).astype(np.float32),
        clusters=np.array([f"subject {i // 2}" for i in range(n)], dtype=object),
        left_out=(LeftOut("id x", "two labels"),),
    )


def key(encoder="hf:Some/Encoder", storage="float16", **changes):
    plan = Key(
        task=SPEC,
        split="train",
        rows_digest=rows().digest(),
        encoder=encoder,
        digest="ab" * 32,
        protocol=PixelProtocol(size=32),
        blocks=BLOCKS,
        regions=("image", "face"),
        token_blocks=(2,),
        storage=storage,
        compute="float32",
        shard_rows=SHARD_ROWS,
    )
    return replace(plan, **changes)


def arrays(n=N, scale=1.0):
    rng = np.random.default_rng(1)
    shapes = {
        "pooled/image": (n, len(BLOCKS), WIDTH),
        "pooled/face": (n, len(BLOCKS), WIDTH),
        "tokens/2": (n, TOKENS, WIDTH),
    }
    values = {
        name: (scale * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()
    }
    values["pooled/face"][1] = np.nan
    return values


def hashes(n=N):
    return np.random.default_rng(2).integers(0, 256, (n, 16), dtype=np.uint8)


def shard(number, values, pixel_hashes=None):
    span = np.arange(number * SHARD_ROWS, min((number + 1) * SHARD_ROWS, N))
    kept = span[span != LEFT_OUT]
    return Shard(
        number=number,
        rows=kept,
        pixel_hashes=(hashes() if pixel_hashes is None else pixel_hashes)[kept],
        arrays={name: array[kept] for name, array in values.items()},
        left_out=((LEFT_OUT, "cut off"),) if LEFT_OUT in span else (),
    )


def fill(root, plan, values=None, pixel_hashes=None, of=None):
    with open_store(root, plan) as store:
        for number in range(3):
            store.write(shard(number, values or arrays(), pixel_hashes))
        store.finish(rows() if of is None else of, replace(INFO, name=plan.encoder), (2, 3))
    return plan.address


def make_pair(root):
    pre, post = fill(root, key("pre")), fill(root, key("post"))
    entry = PairEntry(
        pair="tiny", task=SPEC.name, split="train", pre=pre, post=post, pictures=None,
        lineage="trained on", source="here", block=2, protocol="paired-native-grid v1",
    )  # fmt: skip
    write_pair(root, entry)
    return entry


def kept(array):
    return np.delete(array, LEFT_OUT, axis=0)


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def a_shard(root, address, number=1):
    return next((root / "features" / address).glob(f"shard-{number:05d}-*.h5"))


# --- round trip -------------------------------------------------------------------------------


def test_what_is_written_is_read_back(tmp_path):
    features = open_features(tmp_path, fill(tmp_path, key(storage="float32")))
    values, expected = arrays(), rows()
    np.testing.assert_array_equal(
        features.pooled(2, ["face", "image"]),
        kept(np.concatenate([values["pooled/face"][:, 1], values["pooled/image"][:, 1]], axis=1)),
    )
    np.testing.assert_array_equal(features.pooled(0, ["image"]), kept(values["pooled/image"][:, 0]))
    np.testing.assert_array_equal(features.tokens(2), kept(values["tokens/2"]))
    np.testing.assert_array_equal(features.pixel_hashes, kept(hashes()))
    assert features.rows.digest() == expected.take(np.delete(np.arange(N), LEFT_OUT)).digest()
    assert features.rows.left_out == (
        LeftOut("id x", "two labels"),
        LeftOut("id é 6", "cut off"),
    )
    assert features.spec == SPEC
    assert list(features.spec.label_sets) == list(features.rows.labels) == ["smile", "age"]
    assert features.encoder == INFO
    assert (features.split, features.blocks, features.regions) == ("train", (0, 2), SPEC.regions)
    assert (features.token_blocks, features.grid) == ((2,), (2, 3))
    assert features.key == key(storage="float32")


def test_sizes_travel_along_and_caches_without_them_are_read(tmp_path):
    sizes = np.arange(2 * N).reshape(N, 2)
    sized = replace(rows(), sizes=sizes)
    assert sized.digest() != rows().digest()
    assert replace(rows(), sizes=np.zeros((N, 2), np.int64)).digest() == rows().digest()
    address = fill(tmp_path, key(), of=sized)
    features = open_features(tmp_path, address)
    np.testing.assert_array_equal(features.rows.sizes, kept(sizes))
    with h5py.File(tmp_path / "features" / address / "index.h5", "a") as file:
        del file["sizes"]
    older = open_features(tmp_path, address).rows
    np.testing.assert_array_equal(older.sizes, np.zeros((N - 1, 2)))
    assert older.digest() == rows().take(np.delete(np.arange(N), LEFT_OUT)).digest()
    with pytest.raises(DataError, match="in sizes"):
        replace(rows(), sizes=sizes[:3])


def test_float16_is_close_and_says_how_close(tmp_path):
    address = fill(tmp_path, key())
    features, exact = open_features(tmp_path, address), kept(arrays()["tokens/2"])
    assert features.tokens(2).dtype == np.float32
    error = np.abs(features.tokens(2) - exact).max()
    assert 0 < error <= 2**-11 * np.abs(exact).max()
    with h5py.File(tmp_path / "features" / address / "index.h5") as file:
        assert file["tokens/2"].dtype == np.float16
        assert file["tokens/2"].attrs["max_abs_error"] == pytest.approx(error, rel=1e-6)


def test_plain_h5py_reads_the_index_and_the_folder_can_be_moved(tmp_path, monkeypatch):
    address = fill(tmp_path / "here", key(storage="float32"))
    shutil.move(tmp_path / "here" / "features" / address, tmp_path / "there")
    monkeypatch.chdir("/")
    with h5py.File(tmp_path / "there" / "index.h5") as file:
        np.testing.assert_array_equal(file["pooled/image"], kept(arrays()["pooled/image"]))
        np.testing.assert_array_equal(file["tokens/2"], kept(arrays()["tokens/2"]))
        assert file["ids"].asstr()[0] == "id é 0"
        assert json.loads(file.attrs["task"])["name"] == SPEC.name


def test_the_example_in_the_schema_page_runs(tmp_path, monkeypatch, capsys):
    page = ROOT / "docs" / "cache-schema.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    address = fill(tmp_path, key())
    monkeypatch.chdir(tmp_path / "features" / address)
    exec(compile(code, str(page), "exec"), {})
    assert capsys.readouterr().out.split("\n")[0] == f"{N - 1} rows, blocks [0, 2]"


def test_equal_content_gives_equal_files(tmp_path):
    one, two = (tmp_path / side / "features" / fill(tmp_path / side, key()) for side in "ab")
    files = sorted(path.name for path in one.iterdir() if path.name != "lock")
    assert files == sorted(path.name for path in two.iterdir() if path.name != "lock")
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


def test_opening_reads_no_numbers_and_one_block_reads_no_other(tmp_path, monkeypatch):
    address = fill(tmp_path, key(storage="float32"))
    reads = []
    original = h5py.Dataset.__getitem__

    def spy(self, args, **options):
        result = original(self, args, **options)
        if self.name.startswith(("/pooled", "/tokens")):
            reads.append((self.name, result.nbytes))
        return result

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    features = open_features(tmp_path, address)
    assert reads == []
    features.pooled(2, ["image"])
    assert {name for name, _ in reads} == {"/pooled/image"}
    assert sum(size for _, size in reads) == (N - 1) * WIDTH * 4
    assert max(size for _, size in reads) <= SHARD_ROWS * WIDTH * 4


def test_asking_for_what_is_not_there_names_what_is(tmp_path):
    features = open_features(tmp_path, fill(tmp_path, key()))
    with pytest.raises(ConfigError, match=r"blocks \[0, 2\], not 1"):
        features.pooled(1, ["image"])
    with pytest.raises(ConfigError, match="regions"):
        features.pooled(0, ["hand"])
    with pytest.raises(ConfigError, match="regions"):
        features.pooled(0, [])
    with pytest.raises(ConfigError, match="token maps"):
        features.tokens(0)


# --- addresses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"split": "test"},
        {"rows_digest": "0"},
        {"digest": "0"},
        {"protocol": PixelProtocol(size=64)},
        {"protocol": PixelProtocol(size=32, version=2)},
        {"blocks": (0,)},
        {"regions": ("image",)},
        {"token_blocks": ()},
        {"storage": "float32"},
        {"compute": "bfloat16"},
        {"shard_rows": 5},
        {"task": replace(SPEC, source="another seed")},
        {"schema_version": 2},
    ],
)
def test_whatever_decides_the_content_decides_the_address(change):
    assert key(**change).address != key().address
    assert key().address == key().address


def test_slugs_are_safe_and_stay_apart():
    names = [
        "a/b",
        "a:b",
        "a b",
        "a-b",
        "A-b",
        "é",
        "",
        ".",
        "..",
        "con",
        "nul",
        "x" * 300,
        "x" * 301,
    ]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(
        len(s) <= 60 and s and set(s) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
        for s in slugs
    )
    assert slug("scenes-gaze") == "scenes-gaze"
    assert slug("con") != "con"


# --- float16 ----------------------------------------------------------------------------------


def test_overflow_widens_that_shard_only_and_warns(tmp_path, caplog):
    values = arrays()
    values["pooled/image"][SHARD_ROWS, 0, 0] = 1e5  # in shard 1
    with caplog.at_level(logging.WARNING):
        address = fill(tmp_path, key(), values)
    assert "overflow float16" in caplog.text
    folder = tmp_path / "features" / address
    dtypes = [h5py.File(a_shard(tmp_path, address, k))["pooled/image"].dtype for k in range(3)]
    assert dtypes == [np.float16, np.float32, np.float16]
    with h5py.File(folder / "index.h5") as file:
        assert file["pooled/image"].dtype == np.float32
        assert file["pooled/face"].dtype == np.float16
        assert file["pooled/image"][SHARD_ROWS, 0, 0] == np.float32(1e5)
    assert open_features(tmp_path, address).pooled(0, ["image"])[SHARD_ROWS, 0] == np.float32(1e5)
    assert verify(tmp_path) == []


def test_narrow_refuses_what_float16_would_ruin():
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(64, 2, 8)).astype(np.float32)
    assert narrow(plain)[1] == ""
    assert "small" in narrow(plain * np.float32(1e-7))[1]
    shifted = plain.copy()
    shifted[:, 1, 3] = 2000 + shifted[:, 1, 3] * np.float32(0.1)  # spacing of float16 there: 1
    stored, why = narrow(shifted)
    assert "channel" in why
    assert stored is shifted
    constant = plain.copy()
    constant[:, 1, 3] = 2000.3  # rounding a constant loses nothing
    assert narrow(constant)[1] == ""
    absent = plain.copy()
    absent[5] = np.nan
    assert narrow(absent)[0].dtype == np.float16


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
