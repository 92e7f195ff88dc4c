"""The random side of a pair: extracted in the same pass, entered, resumed, kept and tidied."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from degradation.cache import listing, open_features, pairs, prune, verify
from degradation.cache.pairs import pair_path
from degradation.encoders.registry import get_pair, load_encoder
from degradation.errors import ConfigError
from degradation.extract import extract
from degradation.tasks.task import Rows, Task, TaskSpec
from sdiag.cli import app

N, SIZE = 7, 64


def picture(reference):
    rng = np.random.default_rng(int(reference))
    fields = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(fields).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def make_task(opened=None):
    names = np.array([str(i) for i in range(N)], dtype=object)
    spec = TaskSpec(
        "made-up", "classes", True, {"odd": ("no", "yes")}, (), ("image",), {"odd": ("accuracy",)},
        "picture", "this test",
    )  # fmt: skip
    rows = Rows(
        ids=names,
        pictures=names[:, None],
        boxes={},
        labels={"odd": np.arange(N) % 2},
        points=np.zeros((N, 0, 2), dtype=np.float32),
        clusters=names,
    )

    def see(reference):
        if opened is not None:
            opened.append(reference)
        return picture(reference)

    return Task(spec, ("all",), lambda split: rows, see)


def run(root, opened=None, *, random=True, **options):
    pre, post = load_encoder("tiny:pre"), load_encoder("identity:post")
    tower = load_encoder("random:tiny:pre") if random else None
    return extract(
        make_task(opened), "all", get_pair("identity"), pre, post, root=root, random=tower,
        shard_rows=3, batch_size=2, progress=False, storage="float32", **options,
    )  # fmt: skip


def test_its_features_are_those_of_the_same_pixels_opened_once(tmp_path):
    opened = []
    report = run(tmp_path, opened, token_blocks=[2])
    assert Counter(opened) == {str(i): 1 for i in range(N)}
    entry = report.entry
    assert pairs(tmp_path) == [entry]
    random, pre = open_features(tmp_path, entry.random), open_features(tmp_path, entry.pre)
    assert random.encoder.name == "random:tiny:pre"
    assert (random.blocks, random.token_blocks, pre.token_blocks) == ((0, 1, 2), (), (2,))
    np.testing.assert_array_equal(random.pixel_hashes, pre.pixel_hashes)
    pixels = torch.stack(
        [torch.from_numpy(np.array(picture(str(i)))).permute(2, 0, 1) for i in range(N)]
    )
    tokens = load_encoder("random:tiny:pre")(pixels, [1])[1].patches
    expected = tokens.double().mean(dim=1).numpy()
    np.testing.assert_allclose(random.pooled(1, ["image"]), expected, rtol=1e-4, atol=1e-5)
    assert verify(tmp_path) == []


def test_it_can_come_later_and_is_then_kept(tmp_path):
    opened = []
    first = run(tmp_path, opened, random=False).entry
    assert first.random is None
    second = run(tmp_path, opened)
    assert len(opened) == 2 * N  # the pictures again, for the new side alone
    assert second.skipped_shards == 9
    assert (second.entry.pre, second.entry.post) == (first.pre, first.post)
    again = run(tmp_path, opened, random=False)
    assert again.entry == second.entry
    assert len(opened) == 2 * N
    shutil.rmtree(tmp_path / "features" / second.entry.random)
    assert [p.address for p in verify(tmp_path)] == [second.entry.random]
    assert run(tmp_path, random=False).entry == first


def test_what_was_interrupted_is_resumed(tmp_path):
    whole = run(tmp_path / "whole").entry
    entry = run(tmp_path / "cut").entry
    folder = tmp_path / "cut" / "features" / entry.random
    (folder / "index.h5").unlink()
    next(folder.glob("shard-00001-*")).unlink()
    opened = []
    report = run(tmp_path / "cut", opened)
    assert sorted(opened) == ["3", "4", "5"]  # the rows of that shard
    assert report.skipped_shards == 9 + 2
    assert report.entry == whole
    for name in ("index.h5", *(path.name for path in folder.glob("shard-*"))):
        there = tmp_path / "whole" / "features" / entry.random / name
        assert (folder / name).read_bytes() == there.read_bytes()


def test_housekeeping_knows_it(tmp_path):
    entry = run(tmp_path).entry
    lines = {line.encoder: line for line in listing(tmp_path)}
    assert lines["random:tiny:pre"].pairs == ("identity",)
    assert prune(tmp_path, apply=True) == []
    path = pair_path(tmp_path, entry)
    record = json.loads(path.read_text())
    del record["random"]  # as an older version wrote it
    path.write_text(json.dumps(record))
    (old,) = pairs(tmp_path)
    assert (old.random, old.pictures) == (None, entry.pictures)
    (removed,) = prune(tmp_path, apply=True)
    assert removed.path.name == entry.random
    assert verify(tmp_path) == []


def test_an_entry_that_cannot_be_read_is_replaced(tmp_path):
    entry = run(tmp_path).entry
    pair_path(tmp_path, entry).write_text("{")
    assert run(tmp_path, random=False).entry.random is None


def test_a_tower_without_the_blocks_is_refused(tmp_path):
    deep, shallow = load_encoder("tiny:pre"), load_encoder("random:tiny:pre")
    shallow.info = replace(shallow.info, n_blocks=2)
    with pytest.raises(ConfigError, match="random:tiny:pre has blocks 0 to 1, but block 2"):
        extract(
            make_task(), "all", get_pair("identity"), deep, deep, root=tmp_path, random=shallow,
            progress=False,
        )  # fmt: skip


def test_the_command_adds_it_on_request(tmp_path):
    for name in "abcd":
        picture(ord(name)).save(tmp_path / f"{name}.png")
    (tmp_path / "table.csv").write_text("path,label\na.png,x\nb.png,y\nc.png,x\nd.png,y\n")
    command = [
        *("extract", "--model", "identity", "--task", f"manifest:{tmp_path / 'table.csv'}"),
        *("--data-root", str(tmp_path), "--cache", str(tmp_path / "cache"), "--workers", "1"),
    ]
    for options, there in (([], False), (["--random-init"], True), ([], True)):
        done = CliRunner().invoke(app, [*command, *options], catch_exceptions=False)
        assert done.exit_code == 0
        (entry,) = pairs(tmp_path / "cache")
        assert (entry.random is not None) == there
    assert open_features(tmp_path / "cache", entry.random).encoder.name == "random:tiny:pre"
