"""Slicing a run: a planted loss is found in its slice, and other rows are refused."""

from dataclasses import replace

import numpy as np
import pytest

from degradation.errors import ConfigError, PairingError
from probes.runs import read_analysis, read_run
from probes.slices.family import adjusted
from probes.slices.records import SlicesRecord
from probes.slices.run import slice_run

FOLDER = ("results", "planted", "made-up")


@pytest.fixture
def run(sliced_world, probe, tmp_path):
    """The folder of a probed run, the root of its cache, and what it was made from."""
    task, splits = sliced_world
    record = probe(task, splits, draws=300)
    return tmp_path.joinpath(*FOLDER), tmp_path / "cache", record


def of(record, attribute, value=None):
    parts = record.slices if value else record.attributes
    (one,) = [
        one for one in parts if one.attribute == attribute and (value is None or one.value == value)
    ]
    return one


def test_a_loss_in_one_slice_is_found_there(run):
    folder, cache, probed = run
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
    whole = probed.comparisons[0]
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


def test_identical_sides_have_no_loss_in_any_slice(sliced_world, probe, tmp_path):
    task, splits = sliced_world
    same = {name: (one, pre, pre, None) for name, (one, pre, _, _) in splits.items()}
    probe(task, same, draws=200)
    record = slice_run(tmp_path / "cache", tmp_path.joinpath(*FOLDER))
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


def test_a_cache_with_other_rows_is_refused_by_the_first_of_them(
    run, sliced_world, write_world, probe
):
    folder, cache, _ = run
    task, splits = sliced_world
    one, pre, post, _ = splits["test"]
    renamed = replace(one, ids=np.array([f"x{name}" for name in one.ids], dtype=object))
    write_world(task, {**splits, "test": (renamed, pre, post, None)})
    with pytest.raises(PairingError, match="predicted row 'test-0' of made-up in the cache"):
        slice_run(cache, folder)
    labels = one.labels["mood"].copy()
    labels[7] = (labels[7] + 1) % 3
    write_world(task, {**splits, "test": (replace(one, labels={"mood": labels}), pre, post, None)})
    with pytest.raises(PairingError, match=r"label \d of the predicted row 'test-7'"):
        slice_run(cache, folder)
    bare = replace(one, attributes={})
    write_world(task, {**splits, "test": (bare, pre, post, None)})
    with pytest.raises(PairingError, match=r"split test of made-up, found .* attributes"):
        slice_run(cache, folder)
    write_world(task, splits)
    assert slice_run(cache, folder).splits == read_run(folder).splits


def test_gaze_is_sliced_without_classes(spec, rows, probe, tmp_path):
    from run_worlds import gaze_world

    task, splits = gaze_world(spec, rows, sizes={"train": 40, "val": 20, "test": 60})
    far = np.array(["near", "far"] * 30, dtype=object)
    one, pre, post, _ = splits["test"]
    splits["test"] = (replace(one, attributes={"distance": far}), pre, post, None)
    probe(task, splits, draws=100, blocks=[1])
    record = slice_run(tmp_path / "cache", tmp_path / "results" / "planted" / "made-up-gaze")
    assert {one.attribute for one in record.slices} == {"head area", "distance"}
    assert {one.metric for one in record.slices} == {"average_l2_error"}
    assert all(one.delta.value < 0 for one in record.slices)  # an error that rose is worse
