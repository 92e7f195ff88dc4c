"""The feature cache: what is written is read back, under an address that tells all."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from cache_fixtures import (
    INFO,
    LEFT_OUT,
    SHARD_ROWS,
    SPEC,
    WIDTH,
    N,
    a_shard,
    arrays,
    fill,
    hashes,
    kept,
    key,
    rows,
)

from degradation.cache import (
    PixelProtocol,
    open_features,
    verify,
)
from degradation.cache.narrow import narrow
from degradation.cache.schema import slug
from degradation.errors import ConfigError, DataError
from degradation.tasks.task import LeftOut

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


def test_attributes_travel_along_and_caches_without_them_are_read(tmp_path):
    light = np.array(["dim", "", "hell é"] * N, dtype=object)[:N]
    lit = replace(rows(), attributes={"light": light, "age": np.full(N, "", dtype=object)})
    assert lit.digest() != rows().digest()
    assert replace(rows(), attributes={"age": lit.attributes["age"]}).digest() == rows().digest()
    assert replace(lit, attributes={"tint": light}).digest() != lit.digest()
    address = fill(tmp_path, key(), of=lit)
    found = open_features(tmp_path, address).rows
    assert list(found.attributes) == ["light", "age"]
    assert found.attributes["light"].tolist() == kept(light).tolist()
    assert found.digest() == lit.take(np.delete(np.arange(N), LEFT_OUT)).digest()
    with h5py.File(tmp_path / "features" / address / "index.h5", "a") as file:
        del file["attributes"]
    older = open_features(tmp_path, address).rows
    assert older.attributes == {}
    with h5py.File(
        tmp_path / "features" / fill(tmp_path, key("hf:Other/Encoder")) / "index.h5"
    ) as file:
        assert "attributes" not in file
    with pytest.raises(DataError, match=r"attributes\[light\]"):
        replace(rows(), attributes={"light": light[:3]})


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
    page = Path(__file__).parents[2] / "docs" / "cache-schema.md"
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
