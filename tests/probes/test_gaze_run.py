"""Gaze from cached features to a record: sizes of pictures, and what people reach."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from probes.gaze_metrics import human_outcome
from probes.predictions import read_predictions, recompute
from probes.run import probe_pair
from probes.runs import PREDICTIONS

SPLITS = {"train": 60, "val": 20, "test": 40}
METRICS = ("average_l2_error", "minimum_l2_error", "auc_score")


@pytest.fixture
def gaze(spec, rows, write_world, tmp_path):
    """Probes a made-up gaze task; `change` takes split and rows to other rows."""

    def run(change=lambda split, one: one, **options):
        rng = np.random.default_rng(0)
        task = spec(name="looks", kind="gaze", label_sets={}, roles=("head",),
                    metrics={"gaze": METRICS})  # fmt: skip
        splits = {}
        for split, n in SPLITS.items():
            truth = rng.uniform(0.1, 0.9, (n, 1, 2))
            annotators = 5 if split == "test" else 1
            points = np.clip(truth + rng.normal(0, 0.02, (n, annotators, 2)), 0, 1)
            one = change(split, rows(split, {}, rng=rng, roles=("head",), points=points))
            x = np.repeat(truth @ rng.normal(size=(2, 6)), 2, axis=1)
            features = {"head": x + 0.5 * rng.normal(size=x.shape)}
            splits[split] = (one, features, features, None)
        root = write_world(task, splits)
        record = probe_pair(root, "looks", "planted", results=tmp_path / "results", draws=50,
                            **options)  # fmt: skip
        return record, splits["test"][0]

    return run


def humans(record):
    return {b.metric: b.estimate.value for b in record.baselines if b.name == "human"}


def test_people_are_a_baseline_where_rows_have_two_annotators(gaze, tmp_path):
    def lonely(split, one):
        one.points[5:9, 1:] = np.nan
        return one

    record, test = gaze(lonely)
    kept = np.delete(np.arange(len(test)), slice(5, 9))
    values = human_outcome(test.points[kept], test.sizes[kept]).values
    for name, value in humans(record).items():
        assert value == pytest.approx(100 * values[name].mean())
    assert humans(record).keys() == set(METRICS)
    assert humans(record)["average_l2_error"] < record.comparisons[0].pre.value
    predictions = read_predictions(tmp_path / "results" / "planted" / "looks" / PREDICTIONS)
    assert recompute(record, predictions) == (record.baselines, record.comparisons)
    (human,) = [one for one in predictions if one.probe == "human"]
    np.testing.assert_allclose(human.points, np.nanmean(test.points, axis=1), atol=1e-6)
    np.testing.assert_allclose(human.scores.sum(axis=1), 1, rtol=1e-5)


def test_people_are_no_baseline_without_company(gaze):
    record, _ = gaze(lambda split, one: replace(one, points=one.points[:, :1]))
    assert not humans(record)
    shuffled = {"shuffled-pre", "shuffled-post"}
    assert {one.name for one in record.baselines} == {"centre", "head-position"} | shuffled


def test_without_sizes_the_grid_stands_beside_what_is_undefined(gaze):
    record, _ = gaze(lambda split, one: replace(one, sizes=np.zeros_like(one.sizes)))
    shown = {one.metric for one in record.comparisons}
    assert shown == {"average_l2_error", "minimum_l2_error", "auc_on_grid"}
    undefined = record.undefined[0]
    assert {one.metric for one in record.undefined} == {"auc_score"}
    assert "sizes of the pictures" in undefined.reason
    assert humans(record).keys() == shown


def test_all_gaze_metrics_can_be_asked_for(gaze):
    names = ["mean_distance", "peak_l2_error", "auc_on_grid", "auc_score"]
    record, _ = gaze(metrics=names)
    assert {one.metric for one in record.comparisons} == set(names)
    assert not record.undefined


def test_predictions_of_earlier_versions_are_read(gaze, tmp_path):
    gaze()
    path = tmp_path / "results" / "planted" / "looks" / PREDICTIONS
    table = pq.read_table(path)
    old = table.drop_columns(["mean_distance", "peak_l2_error", "auc_on_grid"])
    assert isinstance(old, pa.Table)
    pq.write_table(old, path)
    assert all(set(one.outcome.values) == set(METRICS) for one in read_predictions(path))
