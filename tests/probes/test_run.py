import errno
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from run_worlds import MOODS, SPLITS, baseline, cell, class_world, gaze_world

from degradation.cache import PairEntry, pairs, write_pair
from degradation.errors import CacheError, ConfigError, DataError, PairingError
from probes import selection
from probes.predictions import read_predictions, recompute
from probes.run import probe_pair
from probes.runs import PREDICTIONS, RECORD, read_run
from probes.statistics.verdict import judge
from probes.table import box_features, open_table


def test_an_erased_concept_is_degraded_and_the_other_is_not(spec, rows, probe):
    record = probe(*class_world(spec, rows, erased=1.0))
    mood, size = cell(record, "mood", "accuracy"), cell(record, "size", "mean_average_precision")
    assert mood.delta.value < -20
    assert mood.delta.high < 0
    assert mood.pre.value > 80
    assert mood.broken > mood.fixed
    assert mood.p_mcnemar < 1e-6
    assert abs(size.delta.value) < 3
    words = {
        (v.comparison.question, v.comparison.metric): v.word
        for v in judge([record], margin=5.0)
        if v.comparison.confirmatory
    }
    assert words == {
        ("mood", "accuracy"): "degraded",
        ("size", "mean_average_precision"): "equivalent",
    }


def test_equal_sides_differ_by_exactly_nothing(spec, rows, probe):
    task, splits = class_world(spec, rows)
    splits = {s: (r, pre, pre, plain) for s, (r, pre, _, plain) in splits.items()}
    record = probe(task, splits)
    # Both blocks, and each side at its best one.
    assert len(record.comparisons) == 3 * (2 + 2)
    for one in record.comparisons:
        assert (one.delta.value, one.delta.low, one.delta.high) == (0, 0, 0)
        assert (one.delta_low_90, one.delta_high_90, one.p) == (0, 0, 1)
        assert one.pre == one.post
        assert one.broken == one.fixed == 0
        assert one.strength_pre == one.strength_post


def test_a_rotation_is_equivalent(spec, rows, probe):
    record = probe(*class_world(spec, rows))
    words = {v.word for v in judge([record], margin=5.0) if v.comparison.confirmatory}
    assert words == {"equivalent"}
    assert cell(record, "mood", "accuracy").pre.value > 80


def test_sides_of_different_width_are_compared(spec, rows, probe):
    task, splits = class_world(spec, rows)
    splits = {
        s: (r, pre, {"face": np.concatenate([post["face"]] * 2, axis=2)}, plain)
        for s, (r, pre, post, plain) in splits.items()
    }
    assert abs(cell(probe(task, splits), "mood", "accuracy").delta.value) < 5


def test_every_number_can_be_recomputed_from_the_files(spec, rows, probe, tmp_path):
    for task, splits in (class_world(spec, rows, erased=0.7), gaze_world(spec, rows)):
        record = probe(task, splits)
        folder = tmp_path / "results" / "planted" / task.name
        assert read_run(folder) == record
        baselines, comparisons = recompute(record, read_predictions(folder / PREDICTIONS))
        assert baselines == record.baselines
        assert comparisons == record.comparisons


def test_the_predictions_file_holds_a_row_for_each_thing_predicted(spec, rows, probe, tmp_path):
    record = probe(*class_world(spec, rows), beside=True)
    frame = pq.read_table(tmp_path / "results" / "planted" / "made-up" / PREDICTIONS).to_pandas()
    sides = frame.groupby(["question", "block", "probe", "side"]).size()
    # Per question two sides at two blocks, at the best one, at ten strengths and on five draws;
    # and prior, boxes, pixels, histogram and the shuffled labels of both.
    assert len(sides) == 2 * (2 * (2 + 1 + 10 + 5) + 4 + 2)
    assert (sides == SPLITS["test"]).all()
    one = frame.query(
        "question == 'mood' and block == 1 and side == 'pre' and probe == 'logistic-l2'"
    )
    accuracy = 100 * (one.label == one.predicted).mean()
    assert accuracy == pytest.approx(cell(record, "mood", "accuracy").pre.value)
    np.testing.assert_allclose([sum(scores) for scores in one.scores], 1, rtol=1e-5)
    assert set(one.id) == {f"test-{i}" for i in range(SPLITS["test"])}


def test_baselines_stay_at_chance_where_nothing_is_to_be_read(spec, rows, probe):
    record = probe(*class_world(spec, rows))
    names = {(one.question, one.name) for one in record.baselines}
    assert names == {
        (question, name)
        for question in ("mood", "size")
        for name in ("prior", "boxes", "pixels", "histogram", "shuffled-pre", "shuffled-post")
    }
    for _, name in names:
        assert baseline(record, "mood", name, "accuracy") < 50


def test_boxes_are_read_where_they_tell(spec, rows, probe):
    task, splits = class_world(spec, rows)
    for one, *_ in splits.values():
        one.boxes["face"][:, 0, 2] = one.boxes["face"][:, 0, 0] + 0.1 + 0.1 * one.labels["mood"]
    assert baseline(probe(task, splits), "mood", "boxes", "accuracy") > 95


def test_without_pictures_their_baselines_are_skipped(spec, rows, probe):
    task, splits = class_world(spec, rows)
    splits = {s: (r, pre, post, None) for s, (r, pre, post, _) in splits.items()}
    names = {one.name for one in probe(task, splits).baselines}
    assert names == {"prior", "boxes", "shuffled-pre", "shuffled-post"}


def test_gaze_is_read_better_before_than_after_and_than_without_features(spec, rows, probe):
    record = probe(*gaze_world(spec, rows))
    one = cell(record, "gaze", "average_l2_error")
    assert one.confirmatory
    assert not one.higher_is_better
    assert one.delta.value < 0
    assert one.delta.value == pytest.approx(one.pre.value - one.post.value)
    assert one.broken is None
    assert one.p_mcnemar is None
    assert cell(record, "gaze", "auc_score").delta.value < 0
    for name in ("centre", "head-position"):
        assert one.pre.value < 0.6 * baseline(record, "gaze", name, "average_l2_error")


def test_confirmatory_is_the_declared_block_and_the_first_metric(spec, rows, probe):
    world = class_world(spec, rows)
    for block, declared in ((None, 1), (0, 0)):
        record = probe(*world, block=block, pair=f"pair{block}")
        marked = {(c.question, c.metric, c.block) for c in record.comparisons if c.confirmatory}
        assert marked == {
            ("mood", "accuracy", declared),
            ("size", "mean_average_precision", declared),
        }


def test_narrowing_blocks_and_naming_metrics(spec, rows, probe):
    record = probe(*class_world(spec, rows), blocks=[0], metrics=["macro_f1", "recall:glad"])
    found = {(one.question, one.metric, one.block) for one in record.comparisons}
    assert found == {
        ("mood", "macro_f1", 0), ("mood", "recall:glad", 0), ("mood", "accuracy", 0),
        ("size", "macro_f1", 0), ("size", "accuracy", 0),
    }  # fmt: skip
    assert not any(one.confirmatory for one in record.comparisons)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"blocks": [7]}, "not cached"), ({"metrics": ["accurcy"]}, "Expected a metric among")],
)
def test_options_that_do_not_fit_are_refused(spec, rows, probe, options, message):
    with pytest.raises(ConfigError, match=message):
        probe(*class_world(spec, rows), **options)


def test_rows_that_cannot_be_asked_are_left_out_and_counted(spec, rows, probe):
    task, splits = class_world(spec, rows)
    for one, pre, post, _ in splits.values():
        one.labels["mood"][:7] = -1
        one.boxes["face"][5:10] = np.nan
        pre["face"][5:10] = post["face"][5:10] = np.nan
    record = probe(task, splits)
    left_out = record.splits["test"].left_out
    assert left_out["mood: label unknown"] == 7
    assert left_out["mood: no face box"] == 3
    assert left_out["size: no face box"] == 5
    assert cell(record, "mood", "accuracy").n == SPLITS["test"] - 10
    assert record.splits["test"].n == SPLITS["test"]


def test_people_who_look_out_of_the_picture_are_left_out_and_counted(spec, rows, probe):
    task, splits = gaze_world(spec, rows)
    for one, *_ in splits.values():
        one.points[3:9] = np.nan
    record = probe(task, splits)
    assert record.splits["test"].left_out == {"gaze: no target in the picture": 6}
    assert cell(record, "gaze", "auc_score").n == SPLITS["test"] - 6


@pytest.mark.parametrize(
    ("world", "sizes", "folds", "rule"),
    [
        (class_world, {"all": 40}, 5, "nested clustered 5-fold, log-loss"),
        (gaze_world, {"all": 30}, 2, "nested clustered 2-fold, log-loss"),
        (class_world, {"train": 60, "test": 40}, 5, "clustered 5-fold, log-loss"),
    ],
)
def test_splits_decide_how_strengths_are_chosen(
    spec, rows, probe, monkeypatch, world, sizes, folds, rule
):
    monkeypatch.setattr(selection, "FOLDS", folds)
    task, splits = world(spec, rows, sizes=sizes)
    splits = {s: (r, pre, post, None) for s, (r, pre, post, _) in splits.items()}
    one = probe(task, splits, blocks=[1]).comparisons[0]
    assert one.selection == rule
    assert one.n == sizes.get("test", sizes.get("all"))
    assert one.clusters == one.n // 2


def test_a_class_absent_from_training_is_never_predicted(spec, rows, probe, tmp_path):
    task, splits = class_world(spec, rows)
    for split in ("train", "val"):
        labels = splits[split][0].labels["mood"]
        labels[labels == 2] = 0
    probe(task, splits)
    frame = pq.read_table(tmp_path / "results" / "planted" / "made-up" / PREDICTIONS).to_pandas()
    one = frame.query("question == 'mood' and side == 'pre'")
    assert (one.label == 2).any()
    assert not (one.predicted == 2).any()
    assert all(scores[2] == 0 for scores in one.scores)


def test_a_question_with_one_class_in_training_is_left_out_with_the_reason(spec, rows, probe):
    task, splits = class_world(spec, rows)
    for split in ("train", "val"):
        splits[split][0].labels["mood"][:] = 1
    record = probe(task, splits)
    assert {one.question for one in record.comparisons} == {"size"}
    assert {one.question for one in record.baselines} == {"size"}
    reasons = {(one.question, one.metric): one.reason for one in record.undefined}
    assert reasons.keys() == {("mood", "accuracy"), ("mood", "macro_f1")}
    assert all("at least two classes to fit, found 1" in reason for reason in reasons.values())
    for split in ("train", "val"):
        splits[split][0].labels["size"][:] = 1
    with pytest.raises(DataError, match="at least two classes"):
        probe(task, splits, pair="none-left")


def test_a_question_with_one_test_cluster_or_none_is_left_out_with_the_reason(spec, rows, probe):
    task, splits = class_world(spec, rows)
    splits["test"][0].labels["mood"][2:] = -1
    assert "at least two clusters" in probe(task, splits).undefined[0].reason
    splits["test"][0].labels["mood"][:] = -1
    record = probe(task, splits, pair="empty")
    assert "no row of the test split" in record.undefined[0].reason
    assert {one.question for one in record.comparisons} == {"size"}


def test_a_metric_without_its_class_is_undefined_and_the_rest_stands(spec, rows, probe, tmp_path):
    task, splits = class_world(spec, rows)
    labels = splits["test"][0].labels
    labels["mood"][labels["mood"] == 2] = 0
    labels["size"][:] = 1
    metrics = ["recall:mad", "recall:sad", "mean_average_precision", "average_precision:large"]
    record = probe(task, splits, metrics=metrics)
    undefined = {(one.question, one.metric): one.reason for one in record.undefined}
    assert undefined == {
        ("mood", "recall:mad"): "undefined on the 140 rows predicted: no row is of class mad",
        ("size", "mean_average_precision"): "undefined on the 140 rows predicted: fewer than two "
        "classes occur among the rows",
    }
    found = {(one.question, one.metric) for one in record.comparisons}
    assert found == {
        ("mood", "recall:sad"), ("mood", "mean_average_precision"), ("mood", "accuracy"),
        ("size", "average_precision:large"), ("size", "accuracy"),
    }  # fmt: skip
    assert {(one.question, one.metric) for one in record.baselines} == found
    absent = {(one.question, one.name) for one in record.classes if not one.predicted}
    assert absent == {("mood", "mad"), ("size", "small")}
    folder = tmp_path / "results" / "planted" / "made-up"
    assert "NaN" not in (folder / RECORD).read_text()
    again = recompute(read_run(folder), read_predictions(folder / PREDICTIONS))
    assert again == (record.baselines, record.comparisons)


def test_rows_of_each_class_are_counted(spec, rows, probe):
    task, splits = class_world(spec, rows)
    record = probe(task, splits)
    labels = {split: one.labels["mood"] for split, (one, *_) in splits.items()}
    fitted = np.bincount(np.concatenate([labels["train"], labels["val"]]), minlength=3)
    predicted = np.bincount(labels["test"], minlength=3)
    cards = [one for one in record.classes if one.question == "mood"]
    assert [(one.name, one.fitted, one.predicted) for one in cards] == [
        (name, fitted[k], predicted[k]) for k, name in enumerate(MOODS)
    ]


def test_a_pair_that_is_not_cached_is_refused(tmp_path):
    with pytest.raises(CacheError, match="sdiag extract"):
        probe_pair(tmp_path, "task", "pair", results=tmp_path / "results")


def test_sides_with_other_rows_are_refused(spec, rows, write_world):
    task, splits = class_world(spec, rows)
    root = write_world(task, splits)
    entries = {one.split: one for one in pairs(root)}
    broken = entries["test"]
    fields = {name: getattr(broken, name) for name in PairEntry.__slots__}
    write_pair(root, PairEntry(**fields | {"post": entries["val"].post}))
    with pytest.raises(PairingError, match="Cache rows differ"):
        open_table(root, {one.split: one for one in pairs(root)})


def test_runs_are_reproducible_and_depend_on_the_seed(spec, rows, probe, tmp_path):
    world = class_world(spec, rows, erased=0.6)
    folder = tmp_path / "results" / "planted" / "made-up"
    first = probe(*world)
    files = [(folder / name).read_bytes() for name in (RECORD, PREDICTIONS)]
    assert probe(*world) == first
    assert [(folder / name).read_bytes() for name in (RECORD, PREDICTIONS)] == files
    other = probe(*world, seed=1)
    assert other.comparisons[0].pre.value == first.comparisons[0].pre.value
    drawn = [[one.bca_low for one in record.comparisons] for record in (first, other)]
    assert drawn[0] != drawn[1]


def test_swapping_sides_flips_every_sign(spec, rows, probe):
    task, splits = class_world(spec, rows, erased=0.6)
    swapped = {s: (r, post, pre, plain) for s, (r, pre, post, plain) in splits.items()}
    forth, back = probe(task, splits), probe(task, swapped, pair="swapped")
    for one, two in zip(forth.comparisons, back.comparisons, strict=True):
        assert one.delta.value == pytest.approx(-two.delta.value, abs=1e-9)
        assert one.delta.low == pytest.approx(-two.delta.high, abs=1e-9)
        assert one.p == two.p
        assert (one.broken, one.fixed) == (two.fixed, two.broken)


def test_signatures_pin_the_definitions(spec, rows, probe):
    record = probe(*class_world(spec, rows), seed=3)
    signature = cell(record, "mood", "macro_f1").signature
    for part in (
        "task=made-up|", "block=1|", "pool=face|", "probe=logistic-l2|", "metric=macro_f1|",
        "select=validation split, log-loss|", "pixels=paired-native-grid v1|", "seed=3|",
        "ci=cluster jackknife, t, by picture|",
    ):  # fmt: skip
        assert part in signature
    assert "\n" not in signature
    assert len({one.signature for one in record.comparisons}) == len(record.comparisons)


def test_a_changed_predictions_file_is_noticed(spec, rows, probe, tmp_path):
    probe(*class_world(spec, rows))
    folder = tmp_path / "results" / "planted" / "made-up"
    data = bytearray((folder / PREDICTIONS).read_bytes())
    data[100] ^= 1
    (folder / PREDICTIONS).write_bytes(data)
    with pytest.raises(DataError, match="changed after the run"):
        read_run(folder)


def test_a_full_disk_leaves_the_earlier_result(write_world, spec, rows, tmp_path, monkeypatch):
    task, splits = class_world(spec, rows)
    root = write_world(task, splits, pair="planted", block=None)

    def run(seed):
        return probe_pair(
            root, task.name, "planted", results=tmp_path / "results", draws=200, seed=seed
        )

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    record = run(seed=0)
    folder = tmp_path / "results" / "planted" / task.name
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CacheError, match="No space left on device"):
        run(seed=5)
    monkeypatch.undo()
    assert read_run(folder) == record
    assert sorted(path.name for path in folder.iterdir()) == [PREDICTIONS, RECORD]


def test_files_that_are_no_results_are_refused(tmp_path):
    with pytest.raises(DataError, match="Run `sdiag probe` again"):
        read_run(tmp_path)
    (tmp_path / PREDICTIONS).write_bytes(b"not parquet")
    (tmp_path / RECORD).write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(DataError, match=r"schema version 1 in .* found 99"):
        read_run(tmp_path)
    with pytest.raises(DataError, match="not a predictions file"):
        read_predictions(tmp_path / PREDICTIONS)


def test_box_features_by_hand():
    boxes = {"a": np.array([[0.1, 0.2, 0.5, 0.4], [np.nan] * 4], np.float32)}
    found = box_features(boxes)
    w, h = 0.4, 0.2
    plain = [0.1, 0.2, 0.5, 0.4, w, h, w * h, w / h]
    np.testing.assert_allclose(found[0], [*plain, *np.square(plain), 1], rtol=1e-5)
    np.testing.assert_array_equal(found[1], 0)


def test_features_larger_than_memory_are_read_from_disk_to_the_same_numbers(spec, rows, probe):
    task, splits = class_world(spec, rows, erased=0.5)
    held, read = (probe(task, splits, memory=memory) for memory in (1e9, 1.0))
    assert read.comparisons == held.comparisons
    assert read.predictions_sha256 == held.predictions_sha256
    task, splits = gaze_world(spec, rows)
    assert probe(task, splits, memory=1.0).comparisons  # gaze is held all the same
