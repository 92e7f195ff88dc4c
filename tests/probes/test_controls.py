"""Baselines that an honest probe is held against: shuffled labels, and an untrained tower."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_worlds import MOODS, D, baseline, class_world, gaze_world

from degradation.cache import PairEntry, open_features, pairs, write_pair
from degradation.errors import PairingError
from probes import controls
from probes.controls import SHUFFLES, label_donors, shuffled_scores, suspicious
from probes.metrics import resolve
from probes.predictions import read_predictions, recompute
from probes.records import Baseline, Estimate
from probes.runs import PREDICTIONS
from probes.selection import make_plan
from probes.table import open_pair

# --- shuffling --------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=30),
    kept=st.floats(0.5, 1),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_every_label_goes_to_another_cluster_once(sizes, kept, seed):
    rng = np.random.default_rng(seed)
    clusters = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = np.sort(rng.permutation(len(clusters))[: max(2, int(kept * len(clusters)))])
    donors = label_donors(clusters, rows, rng=rng)
    if len(set(clusters[rows])) < 2:
        assert donors is None
        return
    assert sorted(donors[rows]) == sorted(rows)
    others = np.setdiff1d(np.arange(len(clusters)), rows)
    assert (donors[others] == others).all()
    if 3 * np.bincount(clusters[rows]).max() <= len(rows):
        assert not (clusters[donors[rows]] == clusters[rows]).any()


@pytest.mark.parametrize("count", [6, 7])
def test_clusters_of_one_size_exchange_their_labels_as_a_whole(count):
    clusters = np.repeat(np.arange(count), 4)
    donors = label_donors(clusters, np.arange(4 * count), rng=np.random.default_rng(0))
    of = clusters[donors].reshape(count, 4)
    assert (of == of[:, :1]).all()
    assert sorted(of[:, 0]) == list(range(count))
    assert not (of[:, 0] == np.arange(count)).any()


def test_rows_that_are_clusters_are_permuted_without_favour():
    rng, n = np.random.default_rng(0), 9
    counts = np.zeros((n, n))
    for _ in range(4000):
        counts[np.arange(n), label_donors(np.arange(n), np.arange(n), rng=rng)] += 1
    assert not counts.diagonal().any()
    off = counts[~np.eye(n, dtype=bool)]
    assert abs(off / 4000 - 1 / (n - 1)).max() < 5 * np.sqrt(1 / (n - 1) / 4000)


def test_labels_that_every_cluster_has_in_one_order_are_shuffled_too():
    # Each person shows each of four expressions, in the same order.
    clusters, labels = np.repeat(np.arange(50), 4), np.tile(np.arange(4), 50)
    donors = label_donors(clusters, np.arange(200), rng=np.random.default_rng(0))
    assert (np.sort(labels[donors].reshape(50, 4)) == np.arange(4)).all()
    assert (labels[donors] == labels).mean() < 0.4


# --- scores -----------------------------------------------------------------------------------


class Recorder:
    """A problem that remembers what it was fitted on and scores each row by its number."""

    certificate = None

    def __init__(self, donors, log):
        self.donors, self.log = donors, log

    def fit(self, rows, strengths, counts=None):
        self.log.append((rows, self.donors, tuple(strengths)))
        return self

    def held_out(self, rows, trials, strengths):
        raise AssertionError("the strength is given")

    def scores(self, rows):
        return np.array(rows, dtype=np.float64)[None, :, None]


@pytest.mark.parametrize("splits", [("train", "val", "test"), ("all",)])
def test_shuffles_share_the_test_clusters_and_fit_the_rows_of_the_real_probe(splits):
    rng, n = np.random.default_rng(0), 240
    names = np.array(splits, dtype=object)[np.arange(n) * len(splits) // n]
    clusters, labels = np.arange(n) // 3, rng.integers(0, 2, n)
    plan = make_plan(names, np.arange(n) % 7 > 0, clusters, labels, seed=0, name="q")
    log = []
    scores, shuffles = shuffled_scores(
        lambda donors: Recorder(donors, log), plan, clusters, 0.1, seed=3, name="q"
    )
    assert (scores[:, 0] == plan.predicted).all()
    assert len(set(shuffles)) == SHUFFLES
    for cluster in set(clusters[plan.predicted]):
        assert len(set(shuffles[clusters[plan.predicted] == cluster])) == 1
    trains = {stage.train.tobytes() for stage in plan.stages}
    assert {rows.tobytes() for rows, _, _ in log} == trains
    for rows, donors, strengths in log:
        assert strengths == (0.1,)
        assert set(donors[rows]) == set(rows)
    assert len({donors.tobytes() for _, donors, _ in log}) == len(log) >= SHUFFLES


def test_one_cluster_cannot_be_shuffled():
    names = np.array(["train"] * 6 + ["test"] * 6, dtype=object)
    clusters = np.array([0] * 6 + [1, 1, 2, 2, 3, 3])
    plan = replace(
        make_plan(names, np.ones(12, bool), np.arange(12), np.arange(12) % 2, seed=0, name="q")
    )
    assert shuffled_scores(lambda _: None, plan, clusters, 0.1, seed=0, name="q") is None


# --- in a run ---------------------------------------------------------------------------------


SMALL = {"train": 80, "val": 30, "test": 60}


def untrained_world(spec, rows, **options):
    """The world of classes with a random tower that holds moods a little, and sizes not at all."""
    task, splits = class_world(spec, rows, **options)
    rng = np.random.default_rng(5)
    code = rng.normal(size=(len(MOODS), D))
    random = {}
    for split, (one, pre, _, _) in splits.items():
        noise = rng.normal(size=pre["face"].shape)
        random[split] = {"face": noise + 0.4 * code[one.labels["mood"]][:, None]}
    return task, splits, random


def test_shuffled_labels_are_at_chance_where_the_real_ones_are_read(spec, rows, probe, caplog):
    with caplog.at_level(logging.WARNING):
        record = probe(*class_world(spec, rows), blocks=[1])
    assert not caplog.records
    for question, classes in (("mood", 3), ("size", 2)):
        (real,) = [
            c for c in record.comparisons if (c.question, c.metric) == (question, "accuracy")
        ]
        for side in ("pre", "post"):
            (one,) = [
                b.estimate
                for b in record.baselines
                if (b.question, b.name, b.metric) == (question, f"shuffled-{side}", "accuracy")
            ]
            assert one.low < 100 / classes < one.high
            assert one.high < getattr(real, side).low


def test_shuffled_gaze_is_no_better_than_the_centre(spec, rows, probe):
    record = probe(*gaze_world(spec, rows, sizes=SMALL), blocks=[1])
    real = record.comparisons[0].pre.value
    for side in ("pre", "post"):
        shuffled = baseline(record, "gaze", f"shuffled-{side}", "average_l2_error")
        assert shuffled > baseline(record, "gaze", "centre", "average_l2_error") - 1
        assert shuffled > 1.5 * real


def test_the_untrained_tower_is_read_as_the_sides_are(spec, rows, probe, tmp_path):
    task, splits, random = untrained_world(spec, rows, sizes=SMALL | {"train": 160})
    record = probe(task, splits, random=random, blocks=[1])
    untrained = {q: baseline(record, q, "random-tower", "accuracy") for q in ("mood", "size")}
    assert 45 < untrained["mood"] < 75
    assert untrained["size"] < 65
    # The same features as a side give the same number: same rows, regions, block and selection.
    as_side = {s: (r, random[s], random[s], plain) for s, (r, _, _, plain) in splits.items()}
    again = probe(task, as_side, pair="side", blocks=[1])
    (same,) = [
        c for c in again.comparisons if (c.question, c.metric, c.block) == ("mood", "accuracy", 1)
    ]
    assert same.pre.value == untrained["mood"]
    folder = tmp_path / "results" / "planted" / task.name
    predictions = read_predictions(folder / PREDICTIONS)
    assert recompute(record, predictions) == (record.baselines, record.comparisons)
    controls = {one.probe for one in predictions if one.side == "none"}
    assert {"random-tower", "shuffled-pre", "shuffled-post"} <= controls


def test_controls_are_read_at_the_declared_block_only(spec, rows, probe):
    task, splits, random = untrained_world(spec, rows, sizes=SMALL)
    record = probe(task, splits, random=random, blocks=[0])  # 1 is declared
    names = {one.name for one in record.baselines}
    assert names == {"prior", "boxes", "pixels", "histogram"}


def test_other_baselines_and_the_sides_do_not_notice(spec, rows, probe):
    task, splits, random = untrained_world(spec, rows, sizes=SMALL)
    without = probe(task, splits, blocks=[1])
    with_tower = probe(task, splits, random=random, pair="tower", blocks=[1])
    kept = tuple(one for one in with_tower.baselines if one.name != "random-tower")
    assert kept == without.baselines
    numbers = [[c.model_dump(exclude={"signature"}) for c in one.comparisons]
               for one in (without, with_tower)]  # fmt: skip
    assert numbers[0] == numbers[1]


def test_a_tower_of_some_splits_is_none(spec, rows, write_world):
    task, splits, random = untrained_world(spec, rows, sizes=SMALL)
    root = write_world(task, splits, random=random)
    table, _ = open_pair(root, task.name, "planted")
    assert table.untrained(1, ["face"]).shape == (sum(SMALL.values()), D)
    assert table.untrained(2, ["face"]) is None
    entries = {one.split: one for one in pairs(root)}
    fields = {name: getattr(entries["val"], name) for name in PairEntry.__slots__}
    write_pair(root, PairEntry(**fields | {"random": None}))
    assert open_pair(root, task.name, "planted")[0].untrained(1, ["face"]) is None
    assert open_features(root, entries["val"].random).encoder.name == "planted:random"
    write_pair(root, PairEntry(**fields | {"random": entries["test"].random}))
    with pytest.raises(PairingError, match="hold other rows"):
        open_pair(root, task.name, "planted")


def test_a_fit_that_sees_true_labels_is_told(spec, rows, probe, monkeypatch, caplog):
    monkeypatch.setattr(
        controls, "label_donors", lambda clusters, rows, *, rng: np.arange(len(clusters))
    )
    with caplog.at_level(logging.WARNING):
        probe(*class_world(spec, rows, sizes=SMALL), blocks=[1])
    said = [one.getMessage() for one in caplog.records]
    assert any(line.startswith("mood: shuffled-pre reaches accuracy") for line in said)
    assert all("true labels reached it some other way" in line for line in said)


def test_only_metrics_in_which_chance_is_the_prior_raise_suspicion():
    def baselines(metric, chance, shuffled):
        return [
            Baseline(question="mood", name=name, metric=metric,
                     estimate=Estimate(value=value, low=value - 2, high=value + 2))
            for name, value in (("prior", chance), ("shuffled-post", shuffled))
        ]  # fmt: skip

    def said(metric, chance, shuffled):
        return suspicious(baselines(metric, chance, shuffled), [resolve(metric, MOODS)])

    assert not said("accuracy", 33, 36)
    assert not said("accuracy", 33, 20)
    (words,) = said("accuracy", 33, 38)
    assert words == "shuffled-post reaches accuracy 38.0 [36.0, 40.0] where 33.0 is chance"
    assert not said("macro_f1", 17, 33)
    assert not said("mean_average_precision", 33, 38)
    gaze = [one.model_copy(update={"question": "gaze"})
            for one in baselines("average_l2_error", 35, 28)]  # fmt: skip
    assert suspicious(gaze, [resolve("average_l2_error", ())])
    assert not suspicious(gaze[1:], [resolve("average_l2_error", ())])
