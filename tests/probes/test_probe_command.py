"""`sdiag probe` on a planted cache: arms, row lists and what is printed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from degradation.errors import ConfigError
from degradation.row_lists import row_list_path, write_row_list
from degradation.tasks.task import Arm
from sdiag.cli import app


@pytest.fixture
def world(spec, rows, write_world):
    rng = np.random.default_rng(0)
    task = spec(
        label_sets={"mood": ("sad", "glad")}, metrics={"mood": ("accuracy",)},
        arms=(Arm("image", ("image",)),),
    )  # fmt: skip
    splits = {}
    for split, n in (("train", 80), ("val", 40), ("test", 60)):
        labels = {"mood": rng.integers(0, 2, n)}
        features = rng.normal(size=(n, 2, 6)) + labels["mood"][:, None, None]
        one = {"face": features, "image": rng.normal(size=(n, 2, 6))}
        splits[split] = (rows(split, labels, rng=rng), one, one, None)
    root = write_world(task, splits)
    for split, (one, *_) in splits.items():
        path = row_list_path(root, "clean", task.name, split)
        write_row_list(path, one.ids[10:], rows_digest=one.digest(), header={})
    return root


def call(root, tmp_path, *arguments, **how):
    options = ["--cache", str(root), "--results", str(tmp_path / "results"), "--draws", "100"]
    return CliRunner().invoke(app, ["probe", *options, *arguments], **how)


def test_arms_and_row_lists_from_the_command_line(world, tmp_path):
    folder = tmp_path / "results" / "planted"
    plain = call(world, tmp_path, "--json")
    assert plain.exit_code == 0, plain.output
    record = json.loads((folder / "made-up" / "record.json").read_text())
    assert {one["probe"] for one in record["comparisons"]} == {
        "logistic-l2", "logistic-l2/image", "logistic-l2/best-block",
    }  # fmt: skip
    assert [row["task"] for row in json.loads(plain.stdout)] == ["made-up"]
    clean = call(world, tmp_path, "--rows", "clean", "--no-arms", "--task", "made-up", "--json")
    assert clean.exit_code == 0, clean.output
    (row,) = json.loads(clean.stdout)
    assert (row["task"], row["question"], row["n"]) == ("made-up@clean", "mood (made-up@clean)", 50)
    listed = json.loads((folder / "made-up@clean" / "record.json").read_text())
    assert {one["probe"] for one in listed["comparisons"]} == {"logistic-l2"}
    assert json.loads((folder / "made-up" / "record.json").read_text()) == record
    out = tmp_path / "report"
    report = CliRunner().invoke(
        app, ["report", "--results", str(tmp_path / "results"), "--out", str(out)]
    )
    assert report.exit_code == 0, report.output
    text = (out / "report.md").read_text(encoding="utf-8")
    assert "mood (made-up@clean)" in text
    assert "Other ways to read the same features" in text


def test_an_unknown_row_list_is_an_error_that_says_so(world, tmp_path):
    done = call(world, tmp_path, "--rows", "cleen")
    assert done.exit_code != 0
    assert "clean" in str(done.exception or done.output)
    assert not (tmp_path / "results").exists()


def test_checks_beside_the_declared_reading_are_options(world, tmp_path):
    record = tmp_path / "results" / "planted" / "made-up" / "record.json"
    options = ("--no-arms", "--task", "made-up", "--block", "1")
    bare = call(world, tmp_path, *options, "--no-curve", "--refits", "0", "--memory", "0")
    assert bare.exit_code == 0, bare.output
    assert json.loads(record.read_text())["robustness"] == []
    full = call(world, tmp_path, *options, "--refits", "3")
    assert full.exit_code == 0, full.output
    (found,) = json.loads(record.read_text())["robustness"]
    assert (len(found["tuning"]), found["training"]["refits"]) == (10, 3)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (("--refits", "2"), "3 to 20"),
        (("--device", "abacus"), "Cannot compute on device 'abacus'"),
        (("--device", "meta"), "Cannot compute on device 'meta'"),
    ],
)
def test_options_that_mean_nothing_are_refused(world, tmp_path, options, match):
    with pytest.raises(ConfigError, match=match):
        call(world, tmp_path, *options, catch_exceptions=False)
