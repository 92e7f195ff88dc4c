"""Other strengths, other training rows, other blocks: beside the declared reading, never in it."""

import numpy as np
import pytest
from run_worlds import class_world, gaze_world

from degradation.errors import DataError
from probes.metrics import resolve
from probes.predictions import read_predictions
from probes.records import Estimate, Robustness, TuningPoint
from probes.robustness import robustness
from probes.runs import PREDICTIONS
from probes.selection import STRENGTHS
from probes.statistics.verdict import judge
from probes.variants import is_refit, is_variant, refit_probe, strength_of, strength_probe


def test_names_of_variants():
    assert strength_of(strength_probe("logistic-l2", 1 / 3)) == 0.333333
    assert strength_of("logistic-l2/image") is None
    assert is_refit(refit_probe("logistic-l2", 3))
    assert not is_variant("logistic-l2/best-block")


@pytest.mark.parametrize("world", [class_world, gaze_world])
def test_the_curve_holds_every_strength_and_can_be_recomputed(spec, rows, probe, tmp_path, world):
    task, splits = world(spec, rows)
    record = probe(task, splits, beside=True, refits=3)
    folder = tmp_path / "results" / "planted" / task.name
    predictions = read_predictions(folder / PREDICTIONS)
    assert [one.question for one in record.robustness] == list(task.metrics)
    for one in record.robustness:
        (declared,) = [
            c for c in record.comparisons if c.confirmatory and c.question == one.question
        ]
        assert (one.block, one.metric) == (declared.block, declared.metric)
        np.testing.assert_allclose([p.strength for p in one.tuning], STRENGTHS, rtol=1e-5)
        if declared.strength_pre == declared.strength_post:
            (same,) = [
                p for p in one.tuning if np.isclose(p.strength, declared.strength_pre, rtol=1e-5)
            ]
            assert same.delta.value == pytest.approx(declared.delta.value, abs=0.8)
        metric = resolve(one.metric, task.label_sets.get(one.question, ()))
        own = [p for p in predictions if p.question == one.question and is_variant(p.probe)]
        assert robustness(own, metric, draws=record.draws, seed=record.seed) == one
        assert one.training.refits == 3
        assert one.training.low <= one.training.mean <= one.training.high


def test_variants_change_nothing_else(spec, rows, probe):
    world = class_world(spec, rows)
    plain = probe(*world)
    assert plain.robustness == ()
    both = probe(*world, beside=True, refits=3)
    assert both.comparisons == plain.comparisons
    only = {one.question: one for one in probe(*world, refits=3).robustness}
    assert all(one.tuning == () for one in only.values())
    assert [one.training for one in only.values()] == [one.training for one in both.robustness]


def test_equal_sides_are_equal_under_every_strength_and_on_all_draws(spec, rows, probe):
    task, splits = class_world(spec, rows)
    splits = {s: (r, pre, pre, plain) for s, (r, pre, _, plain) in splits.items()}
    for one in probe(task, splits, beside=True, refits=3).robustness:
        assert {(p.delta.low, p.delta.value, p.delta.high) for p in one.tuning} == {(0, 0, 0)}
        assert (one.training.mean, one.training.training_sd) == (0, 0)


def test_a_sign_counts_against_the_declared_one_only_if_it_is_certain():
    def point(strength, value, half):
        delta = Estimate(value=value, low=value - half, high=value + half)
        return TuningPoint(strength=strength, pre=50, post=50 + value, delta=delta)

    found = Robustness(
        question="mood", block=1, metric="accuracy", training=None,
        tuning=(point(0.1, -3, 1), point(1, 0.5, 1), point(10, 2, 1)),
    )  # fmt: skip
    assert [p.strength for p in found.against(-3.0)] == [10]
    assert [p.strength for p in found.against(2.0)] == [0.1]
    assert found.against(0.0) == ()


def test_each_side_may_be_read_at_the_block_with_its_lowest_held_out_loss(spec, rows, probe):
    task, splits = class_world(spec, rows)
    rng = np.random.default_rng(5)
    for _, pre, post, _ in splits.values():
        # Pre is spoilt at the last block, post at the first.
        pre["face"][:, 1] += 4 * rng.normal(size=pre["face"][:, 1].shape)
        post["face"][:, 0] += 4 * rng.normal(size=post["face"][:, 0].shape)
    record = probe(task, splits)
    best = [one for one in record.comparisons if one.arm == "best-block"]
    assert {one.blocks_chosen for one in best} == {(0, 1)}
    assert not any(one.confirmatory for one in best)
    assert all("|block=lowest held-out loss: 0 and 1|" in one.signature for one in best)
    by_block = {
        (one.question, one.metric, one.block): one for one in record.comparisons if not one.arm
    }
    for one in best:
        assert one.pre.value == by_block[one.question, one.metric, 0].pre.value
        assert one.post.value == by_block[one.question, one.metric, 1].post.value
    words = {v.comparison.question: v.word for v in judge([record]) if v.comparison.confirmatory}
    assert words["mood"] == "improved"  # the declared block says so, and the chosen ones do not
    assert abs(best[0].delta.value) < 6


def test_nothing_is_chosen_of_one_block(spec, rows, probe):
    record = probe(*class_world(spec, rows), blocks=[1])
    assert not any(one.blocks_chosen for one in record.comparisons)


def test_features_that_are_not_finite_are_refused_with_the_first_row(spec, rows, probe):
    task, splits = class_world(spec, rows)
    splits["train"][2]["face"][17, 1, 3] = np.nan
    with pytest.raises(
        DataError, match="post at block 1, found NaN or infinity in 1 rows, first 'train-17'"
    ):
        probe(task, splits)
