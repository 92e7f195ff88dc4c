"""`sdiag drift` on a planted cache: its table, its JSON, its record and its refusals."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from degradation.cache import Key, PairEntry, PixelProtocol, Shard, open_store, write_pair
from degradation.encoders.encoder import EncoderInfo
from degradation.errors import ConfigError
from degradation.tasks.task import Rows, TaskSpec
from probes.drift.records import DriftRecord
from probes.runs import read_analysis
from sdiag.cli import app

N, D = 40, 5
SPEC = TaskSpec(
    name="made-up", kind="classes", social=True, label_sets={"mood": ("sad", "glad")},
    roles=("face",), regions=("face",), metrics={"mood": ("accuracy",)}, cluster="picture",
    source="a test",
)  # fmt: skip


def write_side(root, rows, name, features):
    key = Key(
        task=SPEC, split="test", rows_digest=rows.digest(), encoder=name, digest=name,
        protocol=PixelProtocol(size=64), blocks=(0, 1), regions=("face",), token_blocks=(),
        storage="float32", compute="float32", shard_rows=N,
    )  # fmt: skip
    info = EncoderInfo(
        name=name, digest=name, n_blocks=2, width=D, size=64, patch=8, n_prefix=0, mean=(0.0,) * 3,
        std=(1.0,) * 3,
    )  # fmt: skip
    with open_store(root, key) as store:
        pooled = {"pooled/face": features.astype(np.float32)}
        store.write(Shard(0, np.arange(N), np.zeros((N, 16), np.uint8), pooled))
        store.finish(rows, info, (8, 8))
    return key.address


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    ids = np.array([f"row-{i}" for i in range(N)], dtype=object)
    labels = rng.integers(0, 2, N)
    rows = Rows(
        ids=ids, pictures=ids[:, None], clusters=ids, labels={"mood": labels},
        boxes={"face": np.tile(np.float32([0.1, 0.1, 0.5, 0.5]), (N, 1, 1))},
        points=np.zeros((N, 0, 2), np.float32),
    )  # fmt: skip
    x = rng.normal(size=(N, 2, D)) + 2 * labels[:, None, None]
    for pair, post in (("same", x), ("noisy", x + rng.normal(size=x.shape))):
        sides = [
            write_side(tmp_path / "cache", rows, f"{pair}:{side}", features)
            for side, features in (("pre", x), ("post", post))
        ]
        entry = PairEntry(
            pair=pair, task=SPEC.name, split="test", pre=sides[0], post=sides[1], pictures=None,
            lineage="made up", source="a test", block=None, protocol="paired-native-grid v1",
        )  # fmt: skip
        write_pair(tmp_path / "cache", entry)
    return tmp_path


def call(root, *arguments):
    options = ["--cache", str(root / "cache"), "--results", str(root / "results")]
    return CliRunner().invoke(app, ["drift", *options, "--shuffles", "2", *arguments])


def test_all_cached_pairs_are_measured_and_printed(root):
    done = call(root)
    assert done.exit_code == 0, done.output
    header, *lines = done.stdout.rstrip().splitlines()
    assert "Linear CKA" in header
    assert [line.split()[0] for line in lines] == ["noisy", "same"]
    assert "1.000 (" in lines[1]
    record = read_analysis(root / "results" / "noisy" / "made-up", "drift", DriftRecord)
    (cka,) = [one for one in record.similarities if one.measure == "linear_cka"]
    assert f"{cka.number.value:.3f}" in lines[0]
    assert 0.3 < cka.number.value < 0.95


def test_json_holds_the_numbers_and_options_reach_the_record(root):
    done = call(root, "-m", "same", "--block", "0", "--seed", "3", "--row-cap", "50", "--json")
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)
    values = {one["measure"]: one["number"]["value"] for one in found["similarities"]}
    assert (values["linear_cka"], values["procrustes_angle"], values["mutual_knn"]) == (1, 0, 1)
    assert {one["block"] for one in found["similarities"]} == {0} == set(found["identical"])
    assert (found["seed"], found["row_cap"], found["shuffles"]) == (3, 50, 2)
    assert not (root / "results" / "noisy").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "made-down"], "No cached features for task 'made-down'.*noisy on made-up"),
        (["--model", "other"], "'other'.*Run `sdiag extract`"),
        (["--block", "9"], r"Blocks \[9\] are not cached"),
        (["--split", "val"], "Split 'val' is not cached"),
        (["--rows", "clean"], "clean"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_named_with_what_there_is(root, arguments, words):
    done = call(root, *arguments)
    assert isinstance(done.exception, ConfigError)
    with pytest.raises(ConfigError, match=words):
        raise done.exception
    assert not (root / "results").exists()
