"""`sdiag gcd` on two small manifests: its table, its JSON, its record and its refusals."""

import json

import numpy as np
import pandas as pd
import pytest
from conflict_worlds import drawn, extracted, small_encoder
from typer.testing import CliRunner

from degradation.errors import ConfigError, DataError, PairingError
from degradation.tasks.registry import get_task
from probes.conflict import models
from probes.conflict.records import read_conflict
from sdiag.cli import app

N = 48


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Pictures, two manifests about them, and a cache of both."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    for i in range(N):
        drawn(f"picture/{i}").save(folder / f"p{i}.png")
    table = pd.DataFrame(
        {"path": [f"p{i}.png" for i in range(N)], "split": ["train"] * 24 + ["test"] * 24}
    )
    table.assign(label=[f"tone {i % 3}" for i in range(N)]).to_csv(folder / "tone.csv", index=False)
    coins = rng.permutation(["heads", "tails"] * (N // 2))
    table.assign(label=coins).to_csv(folder / "coin.csv", index=False)
    extracted(folder / "cache", [get_task(name) for name in names(folder)])
    return folder


@pytest.fixture(autouse=True)
def small_encoders(monkeypatch):
    monkeypatch.setattr(models, "load_encoder", small_encoder)


def names(folder):
    return [f"manifest:{folder}/{name}.csv" for name in ("tone", "coin")]


def call(world, *arguments, results="results"):
    options = ["--cache", str(world / "cache"), "--results", str(world / results)]
    small = ["--batch-size", "4", "--batches", "4"]
    return CliRunner().invoke(app, ["gcd", *options, *small, *arguments])


def test_prints_every_pair_with_noise_taken_out_and_writes_the_record(world):
    done = call(world, "--swapped-labels")
    assert done.exit_code == 0, done.output
    assert "2 questions, 4 batches of 4 rows of test, gradients of encoder" in done.stdout
    assert "With swapped labels, post: 1 " in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if " x " in line]
    record = read_conflict(world / "results" / "tiny")
    own = record.side("pre").pair(*(f"{name}/label" for name in names(world)))
    assert own.word in line
    assert f"{own.raw:.2f}" in line
    assert (world / "results" / "tiny" / "gcd-products-post.h5").exists()


def test_json_is_the_record_without_its_many_parts(world):
    one = call(world, "--json", "--sketch-only", "--precondition", "adam", results="json")
    assert one.exit_code == 0, one.output
    (data,) = json.loads(one.stdout)
    assert data["exact"] is False
    assert data["preconditioner"].startswith("Adam")
    assert {pair["part"] for side in data["sides"] for pair in side["pairs"]} == {"all"}
    assert data["changes"][0]["before"] == "pre"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (["--parameters", "lora"], ConfigError, "bare encoder"),
        (["--batch-size", "20"], DataError, "expected rows for two batches of 20"),
        (["--task", "scenes-gaze"], ConfigError, "No cached features for task 'scenes-gaze'"),
        (["--device", "abacus"], ConfigError, "Cannot compute on device 'abacus'"),
        (["--rows", "clean"], ConfigError, "clean"),
    ],
)
def test_what_cannot_be_measured_is_one_message(world, arguments, error, words):
    done = call(world, *arguments, results="refused")
    assert isinstance(done.exception, error)
    assert words in str(done.exception)


def test_one_task_alone_and_pictures_of_another_folder_are_refused(world, tmp_path):
    one, other = names(world)
    done = call(world, "--task", one, results="refused")
    assert isinstance(done.exception, ConfigError)
    assert "two questions or more" in str(done.exception)
    for i in range(N):
        drawn(f"another/{i + 1}").save(tmp_path / f"p{i}.png")
    done = call(world, "--task", one, "--task", f"{other}={tmp_path}", results="refused")
    assert isinstance(done.exception, PairingError)
    assert "are not those" in str(done.exception)
