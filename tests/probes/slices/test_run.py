"""Slicing a run: a planted loss is found in its slice, and other rows are refused."""

from dataclasses import replace

import numpy as np
import pytest
from run_worlds import gaze_world
from slice_worlds import planted_world, write_tokens

from degradation.errors import ConfigError, PairingError
from probes.metrics import ClassOutcome, resolve
from probes.questions import Prediction
from probes.run import probe_pair
from probes.runs import read_analysis
from probes.slices.cuts import Cut
from probes.slices.deltas import measure
from probes.slices.family import adjusted
from probes.slices.records import SlicesRecord
from probes.slices.run import _heterogeneity, slice_run
from probes.slices.shrinkage import floored

FOLDER = ("results", "planted", "made-up")


def probed(folder, task, splits):
    """The folder of a run, the root of its cache, and its record."""
    write_tokens(folder / "cache", task, splits, token_block=None)
    record = probe_pair(
        folder / "cache",
        task.name,
        "planted",
        results=folder / "results",
        draws=200,
        curve=False,
        refits=0,
    )
    return folder.joinpath(*FOLDER), folder / "cache", record


@pytest.fixture(scope="module")
def world():
    return planted_world(sizes={"train": 120, "val": 50, "test": 240})


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    return probed(tmp_path_factory.mktemp("run"), *world)


def of(record, attribute, value=None):
    parts = record.slices if value else record.attributes
    (one,) = [
        one for one in parts if one.attribute == attribute and (value is None or one.value == value)
    ]
    return one


def test_a_loss_in_one_slice_is_found_there(run):
    folder, cache, whole_run = run
    record = slice_run(cache, folder)
    dim, warm = of(record, "light", "dim"), of(record, "light", "warm")
    assert dim.delta.high < -30
    assert (warm.delta.value, warm.p) == (0, 1)
    light = of(record, "light")
    assert (light.worst, light.slices) == ("dim", 3)
    assert light.p_worst > 0.99
    assert light.p < 0.01
    assert light.lowest.high < -25
    assert light.unknown == sum(1 for i in range(240) if i % 11 == 0)
    whole = whole_run.comparisons[0]
    assert record.overall == {"mood": whole.delta}
    assert whole.delta.value > dim.delta.value
    assert dim.delta.value < dim.shrunken.value < light.mean
    assert dim.shrunken.low <= dim.shrunken.value <= dim.shrunken.high
    by_class = [one for one in record.slices if one.attribute == "class"]
    assert {one.metric for one in by_class} == {"recall"}
    assert sum(one.n for one in by_class) == 240
    weighted = sum(one.n * one.delta.value for one in by_class) / 240
    assert weighted == pytest.approx(whole.delta.value)  # accuracy is the mean of recalls
    (hat,) = record.refused
    assert (hat.attribute, hat.value, hat.n, hat.clusters) == ("hat", "yes", 4, 2)
    assert hat.reason == "expected at least 10 clusters, found 2"
    assert of(record, "hat", "no").shrunken is None  # one slice is nothing to compare
    assert [one.value for one in record.slices if one.attribute == "face area"] == [
        "small", "middle", "large",
    ]  # fmt: skip
    assert read_analysis(folder, "slices", SlicesRecord) == record
    assert slice_run(cache, folder) == record
    assert record.blocks == {"mood": 0}
    q = adjusted([record])
    assert q["made-up", "mood", "light", "dim"] < 0.05
    assert len(q) == len(record.slices)


@pytest.mark.slow
def test_identical_sides_have_no_loss_in_any_slice(world, tmp_path):
    task, splits = world
    same = {name: (one, pre[:60], pre[:60]) for name, (one, pre, _) in splits.items()}
    same = {name: (one.take(np.arange(len(x))), x, y) for name, (one, x, y) in same.items()}
    folder, cache, _ = probed(tmp_path, task, same)
    record = slice_run(cache, folder)
    assert {one.delta.value for one in record.slices} == {0}
    assert {one.shrunken.value for one in record.slices if one.shrunken} == {0}
    assert {(one.cochran_q, one.p, one.spread) for one in record.attributes} == {(0, 1, 0)}


def test_other_blocks_and_metrics_on_request(run):
    folder, cache, _ = run
    record = slice_run(cache, folder, metric="macro_f1")
    assert of(record, "light", "dim").metric == "macro_f1"
    assert of(record, "class", "sad").metric == "recall"
    with pytest.raises(ConfigError, match=r"at block 5 .* found the blocks \[0\]"):
        slice_run(cache, folder, block=5)
    with pytest.raises(ConfigError, match="with the metric auc_score"):
        slice_run(cache, folder, metric="auc_score")


def test_a_cache_with_other_rows_is_refused_by_the_first_of_them(run, world, tmp_path):
    folder, _, _ = run
    task, splits = world
    one, pre, post = splits["test"]
    labels = one.labels["mood"].copy()
    labels[7] = (labels[7] + 1) % 3
    others = {
        r"predicted row 'test-0' of made-up in the cache": replace(
            one, ids=np.array([f"x{name}" for name in one.ids], dtype=object)
        ),
        r"label \d of the predicted row 'test-7'": replace(one, labels={"mood": labels}),
        r"split test of made-up, found .* attributes": replace(one, attributes={}),
    }
    for number, (said, other) in enumerate(others.items()):
        cache = tmp_path / str(number)
        write_tokens(cache, task, {**splits, "test": (other, pre, post)}, token_block=None)
        with pytest.raises(PairingError, match=said):
            slice_run(cache, folder)


@pytest.mark.slow
def test_gaze_is_sliced_without_classes(spec, rows, probe, tmp_path):
    task, splits = gaze_world(spec, rows, sizes={"train": 40, "val": 20, "test": 60})
    far = np.array(["near", "far"] * 30, dtype=object)
    one, pre, post, _ = splits["test"]
    splits["test"] = (replace(one, attributes={"distance": far}), pre, post, None)
    probe(task, splits, draws=100, blocks=[1])
    record = slice_run(tmp_path / "cache", tmp_path / "results" / "planted" / "made-up-gaze")
    assert {one.attribute for one in record.slices} == {"head area", "distance"}
    assert {one.metric for one in record.slices} == {"average_l2_error"}
    assert all(one.delta.value < 0 for one in record.slices)  # an error that rose is worse


def made_up(side, labels, right, member):
    scores = np.full((len(labels), 2), 0.3, np.float32)
    scores[np.arange(len(labels)), np.where(right, labels, 1 - labels)] = 0.7
    ids = np.array([f"r{i}" for i in range(len(labels))], dtype=object)
    clusters = np.array([f"c{i}" for i in member], dtype=object)
    return Prediction("x", 0, "p", side, ids, clusters, ClassOutcome(labels, scores), scores)


@pytest.mark.slow
@pytest.mark.parametrize("whole", [True, False])
def test_slices_that_do_not_differ_are_seldom_called_different(whole):
    rng, clusters, per, count = np.random.default_rng(0), 90, 4, 300
    metric, found = resolve("accuracy", ("a", "b")), []
    for _ in range(count):
        member = np.repeat(np.arange(clusters), per)
        worse = rng.normal(0.4, 0.5, clusters)[member]  # clusters differ, slices do not
        labels = rng.integers(0, 2, clusters * per)
        right = rng.random(len(labels)) < 0.85
        kept = np.where(
            right, rng.random(len(labels)) > np.clip(worse, 0, 1), rng.random(len(labels)) < 0.2
        )
        sides = [made_up(side, labels, ok, member) for side, ok in (("pre", right), ("post", kept))]
        value = rng.integers(0, 3, clusters)[member] if whole else rng.integers(0, 3, len(labels))
        asked = [(Cut("x", str(k), value == k), metric) for k in range(3)]
        members = measure(*sides, asked, rng=rng)
        deltas = np.array([one.found.delta.value for one in members])
        variances = floored(np.array([one.found.se for one in members]))
        found.append(
            _heterogeneity(tuple(sides), members, deltas, variances, draws=300, rng=rng)[1]
        )
    share = np.mean(np.array(found) <= 0.05)
    assert 0.01 <= share <= 0.085  # 0.05, within three standard errors
