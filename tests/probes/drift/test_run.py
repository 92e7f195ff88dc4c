"""From a cache to `drift.json`: which rows, which blocks, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from run_worlds import BLOCKS, class_world, gaze_world

from degradation.errors import CacheError, ConfigError, DataError
from degradation.row_lists import row_list_path, write_row_list
from probes.drift.block import Settings
from probes.drift.cka import linear_cka
from probes.drift.records import DriftRecord
from probes.drift.run import drift_pair
from probes.runs import read_analysis

QUICK = Settings(shuffles=1, neighbours=3, groups=5)
SMALL = {"test": 60}


@pytest.fixture
def drift(write_world, tmp_path):
    def run(task, splits, *, settings=QUICK, **options):
        plain = {split: (*one, None) for split, (*one, _) in splits.items()}
        root = write_world(task, plain)
        return drift_pair(
            root, task.name, "planted", results=tmp_path / "results", settings=settings, **options
        )

    return run


def numbers(record, measure="linear_cka"):
    return {one.block: one.number.value for one in record.similarities if one.measure == measure}


def test_the_record_holds_the_declared_block_and_maps_of_all(drift, spec, rows, tmp_path):
    task, splits = class_world(spec, rows, sizes=SMALL)
    record = drift(task, splits)
    _, pre, post, _ = splits["test"]
    last = BLOCKS - 1
    expected = [
        [linear_cka(pre["face"][:, i], post["face"][:, j]) for j in range(BLOCKS)]
        for i in range(BLOCKS)
    ]
    assert numbers(record) == {last: pytest.approx(expected[last][last], abs=1e-6)}
    (crossed,) = [
        one for one in record.maps if (one.measure, one.sides) == ("linear_cka", "pre-post")
    ]
    np.testing.assert_allclose(crossed.values, expected, atol=1e-6)
    assert {(one.measure, one.sides) for one in record.maps} == {
        (measure, sides)
        for measure in ("linear_cka", "mutual_knn")
        for sides in ("pre-pre", "pre-post", "post-post")
    }
    assert (record.measured, record.n, record.n_capped, record.block) == (("test",), 60, 60, last)
    assert {one.question for one in record.shapes} == {"", "mood", "size"}
    assert read_analysis(tmp_path / "results/planted/made-up", "drift", DriftRecord) == record
    for part in ("pair=planted", "splits=test", "ci=jackknife by picture x5", "seed=0", "k=3"):
        assert part in record.signature.split("|")


def test_blocks_and_splits_can_be_chosen(drift, spec, rows):
    task, splits = class_world(spec, rows, sizes={"train": 40, "val": 20, "test": 60})
    record = drift(task, splits, blocks=(0, 1), split="all")
    assert set(numbers(record)) == {0, 1}
    assert (record.measured, record.n) == (("train", "val", "test"), 120)
    with pytest.raises(ConfigError, match=r"Blocks \[7\].*choose among \[0, 1\]"):
        drift(task, splits, blocks=(7,))
    with pytest.raises(ConfigError, match="Split 'tset' is not cached"):
        drift(task, splits, split="tset")


def test_rows_without_a_box_are_left_out_and_counted(drift, spec, rows):
    task, splits = class_world(spec, rows, sizes=SMALL)
    one, pre, post, pictures = splits["test"]
    for side in (pre, post):
        side["face"][:7] = np.nan
    boxes = one.boxes["face"].copy()
    boxes[:7] = np.nan
    splits["test"] = (replace(one, boxes={"face": boxes}), pre, post, pictures)
    record = drift(task, splits)
    assert (record.n, record.left_out) == (53, {"no face box": 7})
    expected = linear_cka(pre["face"][7:, -1], post["face"][7:, -1])
    assert numbers(record)[BLOCKS - 1] == pytest.approx(expected, abs=1e-6)


def test_a_feature_that_is_not_finite_is_refused_with_its_row(drift, spec, rows):
    task, splits = class_world(spec, rows, sizes=SMALL)
    splits["test"][2]["face"][11, 1, 3] = np.nan
    with pytest.raises(DataError, match=r"1 of 60 rows of post at block 1, first in row 'test-11'"):
        drift(task, splits)


def test_no_rows_too_few_clusters_and_no_cache_are_refused(drift, spec, rows, tmp_path):
    task, splits = class_world(spec, rows, sizes=SMALL | {"test": 8})
    with pytest.raises(DataError, match="at least 5 clusters for an interval, found 4"):
        drift(task, splits)
    one, *rest = splits["test"]
    bare = replace(one, boxes={"face": np.full_like(one.boxes["face"], np.nan)})
    with pytest.raises(DataError, match=r"test that have all boxes of the regions \['face'\]"):
        drift(task, splits | {"test": (bare, *rest)})
    with pytest.raises(CacheError, match="holds no features of the pair other"):
        drift_pair(tmp_path / "cache", task.name, "other", results=tmp_path)


def test_many_rows_are_capped_where_all_are_compared_with_all(drift, spec, rows):
    task, splits = class_world(spec, rows, sizes=SMALL)
    record = drift(task, splits, settings=replace(QUICK, row_cap=41))
    n = {one.measure: one.n for one in record.similarities}
    assert (n["linear_cka"], n["kernel_cka"], n["mutual_knn"]) == (60, 41, 41)
    assert {one.n for one in record.maps} == {41} == {record.n_capped}


def test_a_task_without_classes_has_all_other_measures(drift, spec, rows):
    task, splits = gaze_world(spec, rows, sizes=SMALL)
    record = drift(task, splits)
    assert {one.measure for one in record.curves} == {"variance_top"}
    assert {one.question for one in record.similarities} == {""}
    assert not record.missing


def test_identical_sides_are_named_and_exact(drift, spec, rows):
    task, splits = class_world(spec, rows, sizes=SMALL)
    same = {split: (one, pre, pre, pictures) for split, (one, pre, _, pictures) in splits.items()}
    record = drift(task, same)
    assert record.identical == (BLOCKS - 1,)
    assert numbers(record) == {1: 1.0}
    assert numbers(record, "procrustes_angle") == {1: 0.0}
    assert numbers(record, "mutual_knn") == {1: 1.0}
    (crossed,) = [
        one for one in record.maps if (one.measure, one.sides) == ("linear_cka", "pre-post")
    ]
    assert np.diag(crossed.values).tolist() == pytest.approx([1, 1], abs=1e-12)


def test_a_row_list_chooses_the_rows(write_world, spec, rows, tmp_path):
    task, splits = class_world(spec, rows, sizes=SMALL)
    root = write_world(task, splits)
    for split, (one, *_) in splits.items():
        path = row_list_path(root, "clean", task.name, split)
        write_row_list(path, one.ids[10:], rows_digest=one.digest(), header={})
    record = drift_pair(
        root, task.name, "planted", results=tmp_path, settings=QUICK, row_list="clean"
    )
    assert record.n == 50
    assert (tmp_path / "planted" / "made-up@clean" / "drift.json").exists()


def test_a_concept_erased_from_post_is_seen_in_its_class_variance_only(drift, spec, rows):
    task, splits = class_world(spec, rows, sizes={"test": 160}, erased=1.0)
    record = drift(task, splits)
    found = {one.question: one for one in record.shapes if one.measure == "class_variance"}
    assert found["mood"].pre.low > 0.1
    assert found["mood"].post.value < 0.05
    assert found["size"].post.value > 0.8 * found["size"].pre.value


def test_a_constant_block_has_no_values_and_the_record_can_be_read(drift, spec, rows, tmp_path):
    task, splits = class_world(spec, rows, sizes=SMALL)
    splits["test"][2]["face"][:, 0] = 0.5
    record = drift(task, splits, blocks=(0, 1))
    assert set(numbers(record)) == {1}
    assert {one.block for one in record.missing} == {0}
    (crossed,) = [
        one for one in record.maps if (one.measure, one.sides) == ("linear_cka", "pre-post")
    ]
    assert [row[0] for row in crossed.values] == [None, None]
    assert None not in [row[1] for row in crossed.values]
    assert read_analysis(tmp_path / "results/planted/made-up", "drift", DriftRecord) == record
