"""Arms, class weights, baselines by boxes and row lists, beside the declared way to probe."""

from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from run_worlds import BLOCKS, MOODS, SPLITS, D, baseline, class_world
from sklearn.linear_model import LogisticRegression

from degradation.errors import ConfigError, DataError
from degradation.row_lists import row_list_path, write_row_list
from degradation.tasks.task import Arm
from probes.predictions import read_predictions, recompute
from probes.runs import PREDICTIONS, read_run
from probes.statistics.verdict import judge
from probes.variants import is_variant


def skewed_world(spec, rows, *, seed=0):
    """One mood is rare in training but not in test; hands hold the moods, the image only noise."""
    rng = np.random.default_rng(seed)
    task = spec(
        label_sets={"mood": MOODS}, metrics={"mood": ("macro_recall", "accuracy")},
        roles=("hand",), regions=("hand",), balanced=True,
        arms=(Arm("unweighted", ("hand",)), Arm("image", ("image",), balanced=True)),
    )  # fmt: skip
    codes = rng.normal(size=(3, D))
    splits = {}
    for split, n in SPLITS.items():
        shares = [1 / 3] * 3 if split == "test" else [0.62, 0.33, 0.05]
        labels = {"mood": rng.choice(3, n, p=shares)}
        hand = codes[labels["mood"]][:, None] + 2.5 * rng.normal(size=(n, BLOCKS, D))
        image = rng.normal(size=(n, BLOCKS, D))
        sides = [{"hand": part, "image": image} for part in (hand, hand + rng.normal(size=D))]
        one = rows(split, labels, rng=rng, roles=("hand",))
        splits[split] = (one, *sides, None)
    return task, splits


def test_arms_are_probed_beside_the_declared_one(spec, rows, probe, tmp_path):
    record = probe(*skewed_world(spec, rows))
    found = {(one.probe, one.block, one.confirmatory) for one in record.comparisons
             if one.metric == "macro_recall"}  # fmt: skip
    assert found == {
        ("logistic-l2", 0, False), ("logistic-l2", 1, True),
        ("logistic-l2/unweighted", 1, False), ("logistic-l2/image", 1, False),
        ("logistic-l2/best-block", -1, False),
    }  # fmt: skip
    assert not any(one.confirmatory for one in record.comparisons if one.arm)
    assert [(one.name, one.regions, one.balanced) for one in record.task.arms] == [
        ("unweighted", ("hand",), False), ("image", ("image",), True),
        ("best-block", ("hand",), True),
    ]  # fmt: skip
    value = {
        one.probe: one.pre.value
        for one in record.comparisons
        if one.metric == "macro_recall" and one.block == 1
    }
    # Skewed training without weights misses the rare mood; the image holds nothing at all.
    assert value["logistic-l2"] > value["logistic-l2/unweighted"] + 3
    assert value["logistic-l2/image"] < 45
    (one,) = [c for c in record.comparisons if c.arm == "image" and c.metric == "macro_recall"]
    for part in ("|probe=logistic-l2/image|", "|pool=image|", "|weights=balanced|"):
        assert part in one.signature
    (two,) = [c for c in record.comparisons if c.arm == "unweighted" and c.metric == "accuracy"]
    assert "|pool=hand|" in two.signature
    assert "|weights=none|" in two.signature
    assert len({c.signature for c in record.comparisons}) == len(record.comparisons)
    folder = tmp_path / "results" / "planted" / "made-up"
    frame = pq.read_table(folder / PREDICTIONS).to_pandas()
    assert {name for name in frame.probe if not is_variant(name)} == {
        "prior", "boxes", "logistic-l2", "logistic-l2/unweighted", "logistic-l2/image",
        "logistic-l2/best-block", "shuffled-pre", "shuffled-post",
    }  # fmt: skip
    again = recompute(record, read_predictions(folder / PREDICTIONS))
    assert again == (record.baselines, record.comparisons)


def test_arms_change_nothing_else(spec, rows, probe):
    world = skewed_world(spec, rows)
    with_arms, without = probe(*world), probe(*world, arms=False)
    assert without.task.arms == ()
    assert not any(one.arm for one in without.comparisons)
    assert tuple(one for one in with_arms.comparisons if not one.arm) == without.comparisons
    assert with_arms.baselines == without.baselines

    def words(record):
        found = judge([record], margin=2.0)
        return [(v.word, v.p_adjusted, v.family) for v in found if not v.comparison.arm]

    assert words(with_arms) == words(without)


def test_arms_are_probed_at_the_blocks_that_are_named(spec, rows, probe):
    record = probe(*skewed_world(spec, rows), blocks=[0])
    assert {(one.arm, one.block) for one in record.comparisons} == {
        ("", 0), ("unweighted", 0), ("image", 0),
    }  # fmt: skip


def test_an_arm_whose_boxes_are_missing_takes_the_rows_that_have_them(spec, rows, probe):
    task, splits = skewed_world(spec, rows)
    task = replace(task, regions=("image",), arms=(Arm("hand", ("hand",)),))
    for one, pre, post, _ in splits.values():
        one.boxes["hand"][:20] = np.nan
        pre["hand"][:20] = post["hand"][:20] = np.nan
    record = probe(task, splits)
    n = {one.arm: one.n for one in record.comparisons}
    assert n == {"": SPLITS["test"], "hand": SPLITS["test"] - 20, "best-block": SPLITS["test"]}


def test_the_weights_are_those_of_scikit_learn(spec, rows, probe, tmp_path):
    task, splits = skewed_world(spec, rows)
    record = probe(task, splits)
    frame = pq.read_table(tmp_path / "results" / "planted" / "made-up" / PREDICTIONS).to_pandas()
    both = [splits["train"], splits["val"]]
    x = np.concatenate([pre["hand"][:, 1] for _, pre, _, _ in both]).astype(np.float32)
    labels = np.concatenate([one.labels["mood"] for one, *_ in both])
    mean, deviation = x.mean(axis=0, dtype=float), x.std(axis=0, dtype=float)
    test = (splits["test"][1]["hand"][:, 1].astype(np.float32) - mean) / deviation
    for arm, weight in (("", "balanced"), ("unweighted", None)):
        (one,) = [c for c in record.comparisons if c.arm == arm and c.block == 1
                  and c.metric == "accuracy"]  # fmt: skip
        model = LogisticRegression(
            C=1 / (len(x) * one.strength_pre), class_weight=weight, tol=1e-8, max_iter=10_000
        ).fit((x - mean) / deviation, labels)
        own = frame[(frame.probe == one.probe) & (frame.block == 1) & (frame.side == "pre")]
        np.testing.assert_allclose(np.stack(own.scores), model.predict_proba(test), atol=5e-3)


@pytest.mark.parametrize("kind", ["classes", "pair-classes", "track"])
def test_boxes_alone_are_a_baseline_of_every_kind(spec, rows, probe, kind):
    task, splits = class_world(spec, rows)
    roles = ("person_a", "person_b", "union") if kind == "pair-classes" else ("face",)
    frames = 3 if kind == "track" else 1
    rng = np.random.default_rng(1)
    task = replace(task, kind=kind, roles=roles, regions=("image",))
    new = {}
    for split, (one, pre, post, plain) in splits.items():
        again = rows(split, one.labels, rng=rng, roles=roles, frames=frames)
        box = again.boxes[roles[-1]]
        box[:, :, 2] = box[:, :, 0] + 0.1 + 0.1 * one.labels["mood"][:, None]
        new[split] = (again, {"image": pre["face"]}, {"image": post["face"]}, plain)
    record = probe(task, new)
    assert baseline(record, "mood", "boxes", "accuracy") > 95
    assert baseline(record, "mood", "prior", "accuracy") < 50


def listed(root, task, splits, keep, name="clean"):
    for split, (one, *_) in splits.items():
        path = row_list_path(root, name, task.name, split)
        write_row_list(path, one.ids[keep(one)], rows_digest=one.digest(), header={"made": "here"})


def test_a_row_list_probes_its_rows_beside_the_whole(spec, rows, probe, tmp_path):
    task, splits = class_world(spec, rows)
    whole = probe(task, splits)
    listed(tmp_path / "cache", task, splits, lambda one: np.arange(len(one)) % 4 != 1)
    record = probe(task, splits, row_list="clean")
    assert record.task.label == "made-up@clean"
    assert {one.n for one in record.comparisons} == {105}
    assert record.splits["train"].left_out == {"not in the row list clean": 40}
    assert record.splits["train"].n == 120
    root = tmp_path / "results" / "planted"
    assert read_run(root / "made-up") == whole
    assert read_run(root / "made-up@clean") == record
    frame = pq.read_table(root / "made-up@clean" / PREDICTIONS).to_pandas()
    assert set(frame.id) == {f"test-{i}" for i in range(140) if i % 4 != 1}
    signature = record.comparisons[0].signature
    assert "|rows=clean:" in signature
    assert signature.split("rows=clean:")[1][:12] != whole.comparisons[0].signature.split("rows=")[
        1][:12]  # fmt: skip
    # The same rows taken out of the data beforehand give the same numbers.
    cut = {
        split: (
            one.take(np.arange(len(one)) % 4 != 1),
            *({k: v[np.arange(len(one)) % 4 != 1] for k, v in part.items()} for part in parts),
        )
        for split, (one, *parts) in splits.items()
    }
    direct = probe(task, cut, pair="cut")
    assert [(c.pre, c.post, c.delta, c.p) for c in direct.comparisons] == [
        (c.pre, c.post, c.delta, c.p) for c in record.comparisons
    ]


def test_row_lists_that_do_not_fit_are_refused(spec, rows, probe, tmp_path):
    task, splits = class_world(spec, rows)
    probe(task, splits)
    with pytest.raises(ConfigError, match="found none at all"):
        probe(task, splits, row_list="clean")
    some = {split: parts for split, parts in splits.items() if split != "test"}
    listed(tmp_path / "cache", task, some, lambda one: np.arange(len(one)) < 50)
    with pytest.raises(ConfigError, match="split test"):
        probe(task, splits, row_list="clean")
    listed(tmp_path / "cache", task, splits, lambda one: np.zeros(len(one), bool), name="nothing")
    with pytest.raises(DataError, match="found none of its 0"):
        probe(task, splits, row_list="nothing")
    assert not (tmp_path / "results" / "planted" / "made-up@clean").exists()
