"""`sdiag slices` and `sdiag where` on a made-up cache: what they print, and what they refuse."""

import json
from dataclasses import replace

import numpy as np
import pytest
from slice_worlds import token_world, write_tokens
from typer.testing import CliRunner

from degradation.errors import SdiagError
from probes.run import probe_pair
from sdiag.cli import app


def probed(folder, task):
    places = (folder / "cache", task.name, "planted")
    probe_pair(*places, results=folder / "results", draws=100, curve=False, refits=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A cache with token maps, probed once: the folder above `cache` and `results`."""
    folder = tmp_path_factory.mktemp("world")
    task, splits = token_world(sizes={"train": 80, "val": 30, "test": 60})
    lit = {}
    for split, (one, *tokens) in splits.items():
        light = np.array(["dim", "warm"] * len(one), dtype=object)[: len(one)]
        hat = np.array(["yes"] * 4 + ["no"] * (len(one) - 4), dtype=object)
        lit[split] = (replace(one, attributes={"light": light, "hat": hat}), *tokens)
    write_tokens(folder / "cache", task, lit)
    probed(folder, task)
    return folder


def call(world, *arguments):
    options = ["--cache", str(world / "cache"), "--results", str(world / "results")]
    return CliRunner().invoke(app, [arguments[0], *options, *arguments[1:]])


def test_slices_prints_the_worst_of_each_kind_and_every_slice_on_request(world):
    done = call(world, "slices")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "BH p (differ)" in lines[0]
    assert "hat = yes, 4 rows: expected at least 10 clusters, found 2." in done.stderr
    assert [line.split()[2] for line in lines[1:]] == ["class", "face", "light"]
    every = call(world, "slices", "--all", "--json")
    (record,) = json.loads(every.stdout)
    assert {one["value"] for one in record["slices"] if one["attribute"] == "light"} == {
        "dim", "warm",
    }  # fmt: skip
    text = call(world, "slices", "--all", "--metric", "accuracy").stdout
    assert len(text.splitlines()) == 1 + len(record["slices"])
    stored = json.loads((world / "results/planted/made-up/slices.json").read_text())
    assert stored["slices"] == record["slices"]


def test_where_prints_the_regions(world):
    done = call(world, "where", "--tokens", "4")
    assert done.exit_code == 0, done.output
    assert [line.split()[3] for line in done.stdout.splitlines()[1:]] == [
        "face", "face", "background", "background",
    ]  # fmt: skip
    (record,) = json.loads(call(world, "where", "--json", "--tokens", "4").stdout)
    assert record["tokens_a_picture"] == 4
    assert (world / "results/planted/made-up/where.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("slices", "--task", "gone"), "run of the task 'gone'"),
        (("slices", "--model", "gone"), "found planted on made-up"),
        (("slices", "--rows", "clean"), "row list 'clean'"),
        (("slices", "--block", "9"), r"found the blocks \[0\]"),
        (("slices", "--metric", "auc_score"), "metric auc_score"),
        (("where", "--task", "gone"), "gone"),
        (("where", "--block", "3"), "--token-block 3"),
        (("where", "--question", "age"), "among mood; found 'age'"),
    ],
)
def test_what_is_not_there_is_refused_by_name(world, arguments, said):
    done = call(world, *arguments)
    assert done.exit_code != 0
    assert isinstance(done.exception, SdiagError)
    with pytest.raises(SdiagError, match=said):
        raise done.exception
