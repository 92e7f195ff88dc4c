"""`sdiag diagnose` on a planted cache: what it writes, prints and refuses."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from degradation.cache import Key, PairEntry, PixelProtocol, Shard, open_store, write_pair
from degradation.encoders.encoder import EncoderInfo
from degradation.errors import ConfigError
from degradation.tasks.task import Rows, TaskSpec
from probes.diagnosis import networks
from probes.diagnosis.records import DiagnosisRecord
from probes.runs import read_analysis
from sdiag.cli import app


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The pair `turned` on one task: moods, with the features after in another basis."""
    root = tmp_path_factory.mktemp("world") / "cache"
    rng = np.random.default_rng(0)
    spec = TaskSpec(
        name="moods", kind="classes", social=True, label_sets={"mood": ("sad", "glad")},
        roles=(), regions=("image",), metrics={"mood": ("accuracy",)}, cluster="picture",
        source="a test",
    )  # fmt: skip
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    for split, n in (("train", 80), ("val", 40), ("test", 200)):
        labels = rng.integers(0, 2, n)
        pre = rng.normal(size=(n, 1, 4)) + 3 * labels[:, None, None] * np.eye(4)[0]
        names = np.array([f"{split}-{i}" for i in range(n)], dtype=object)
        rows = Rows(
            ids=names, pictures=names[:, None], boxes={}, labels={"mood": labels},
            points=np.zeros((n, 0, 2), np.float32), clusters=names,
        )  # fmt: skip
        addresses = [write(root, spec, split, rows, s, x)
                     for s, x in (("pre", pre), ("post", pre @ turn))]  # fmt: skip
        write_pair(
            root,
            PairEntry(
                pair="turned", task="moods", split=split, pre=addresses[0], post=addresses[1],
                pictures=None, lineage="made up", source="a test", block=None,
                protocol="paired-native-grid v1",
            ),
        )  # fmt: skip
    return root


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    monkeypatch.setattr(networks, "FEWEST", 16)
    monkeypatch.setattr(networks, "MOST", 16)


def write(root, spec, split, rows, side, features):
    key = Key(
        task=spec, split=split, rows_digest=rows.digest(), encoder=side, digest=f"digest {side}",
        protocol=PixelProtocol(size=64), blocks=(0,), regions=("image",), token_blocks=(),
        storage="float32", compute="float32", shard_rows=256,
    )  # fmt: skip
    info = EncoderInfo(
        name=side, digest=key.digest, n_blocks=1, width=4, size=64, patch=8, n_prefix=0,
        mean=(0.0,) * 3, std=(1.0,) * 3,
    )  # fmt: skip
    with open_store(root, key) as store:
        pooled = {"pooled/image": features.astype(np.float32)}
        hashes = np.zeros((len(rows), 16), np.uint8)
        store.write(Shard(0, np.arange(len(rows)), hashes, pooled))
        store.finish(rows, info, (8, 8))
    return key.address


def call(cache, tmp_path, *arguments):
    options = ["--cache", str(cache), "--results", str(tmp_path / "results"), "--draws", "100"]
    return CliRunner().invoke(app, ["diagnose", *options, *arguments])


def test_both_files_are_written_and_json_holds_the_whole_record(cache, tmp_path):
    done = call(cache, tmp_path, "--quick", "--json", "--task", "moods", "--model", "turned",
                "--block", "0", "--margin", "2.5")  # fmt: skip
    assert done.exit_code == 0, done.output
    (printed,) = json.loads(done.stdout)
    folder = tmp_path / "results" / "turned" / "moods"
    assert [one["word"] for one in printed["questions"]] == ["rotated"]
    assert printed["margin"] == 2.5
    record = read_analysis(folder, "diagnose", DiagnosisRecord)
    assert printed == record.model_dump(mode="json")
    assert (folder / "diagnosis.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "mods"], "task 'mods'.*turned on moods.*sdiag extract"),
        (["--model", "moods"], "pair 'moods'"),
        (["--block", "3"], r"Blocks \[3\] are not cached; choose among \[0\]"),
        (["--rows", "clean"], "clean"),
    ],
)
def test_a_mistake_is_an_error_that_says_so(cache, tmp_path, arguments, said):
    done = call(cache, tmp_path, "--quick", *arguments)
    assert done.exit_code != 0
    assert isinstance(done.exception, ConfigError)
    with pytest.raises(ConfigError, match=said):
        raise done.exception
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_the_word_is_printed(cache, tmp_path):
    done = call(cache, tmp_path)
    assert done.exit_code == 0, done.output
    assert "rotated" in done.stdout


def test_help_has_examples():
    done = CliRunner().invoke(app, ["diagnose", "--help"])
    assert done.exit_code == 0
    assert "sdiag diagnose --quick" in done.stdout
