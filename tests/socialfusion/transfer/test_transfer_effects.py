"""What another training does to a metric: the interval holds test rows and training seeds."""

from dataclasses import replace

import numpy as np
import pytest

from degradation.errors import DataError, PairingError
from degradation.tasks.registry import get_task
from probes.metrics import ClassOutcome, GazeOutcome, resolve
from probes.statistics.clusters import group_rows
from socialfusion.transfer.counted import COUNTED
from socialfusion.transfer.effects import Arms, change, count, effects, judged

ERROR = resolve("average_l2_error", ())


def arms(made, before, after, *, seeds=3, chance=33.3, task="moods"):
    rng = np.random.default_rng(1)
    one = made.question(task)
    return Arms(
        one,
        [made.classes(before, rng, name=one.label) for _ in range(seeds)],
        [made.classes(after, rng, name=one.label) for _ in range(seeds)],
        {"accuracy": chance},
    )


def test_by_hand_of_three_seeds_with_errors_flipped():
    rng = np.random.default_rng(0)
    rows = rng.normal(0.3, 0.05, 60)
    clusters = group_rows(np.arange(60) // 2)
    seeds = [
        (GazeOutcome({ERROR.name: rows}), GazeOutcome({ERROR.name: rows / 2 + shift}))
        for shift in (0.0, 0.01, 0.02)
    ]
    found = change(ERROR, seeds, clusters)
    halves = 100 * rows / 2
    assert found.by_seed == pytest.approx([halves.mean() - k for k in (0, 1, 2)])  # less error
    assert found.mean == pytest.approx(halves.mean() - 1)
    sampling = halves.reshape(30, 2).mean(axis=1).std(ddof=1) / 30**0.5
    assert found.sampling == pytest.approx(sampling)
    assert found.training == pytest.approx(1.0)
    assert found.spread.se == pytest.approx((sampling**2 + 1 / 3) ** 0.5)


@pytest.mark.parametrize("seeds", [1, 2])
def test_with_fewer_than_three_seeds_the_part_of_training_is_unknown(made, seeds):
    (found, other), undefined = effects([arms(made, 0.5, 0.9, seeds=seeds)])
    assert undefined == {}
    assert found.training is None
    assert found.se == found.sampling > 0
    assert f"{seeds} training seed" in found.warning
    assert "unknown" in found.warning
    (found, other) = judged([found, other], margin=2.0)
    assert (found.word, other.word) == ("not judged", "not judged")


def test_a_large_gain_is_improved_and_a_loss_degraded_and_nothing_is_equivalent(made):
    same = arms(made, 0.7, 0.7, task="b-moods")
    same = replace(same, after=same.before)
    found, _ = effects([arms(made, 0.5, 0.9), same])
    up, _, none, _ = judged(found, margin=2.0)
    assert up.word == "improved"
    assert up.change.low > 0
    assert up.change.value == pytest.approx(up.after - up.before)
    assert up.relative == pytest.approx(100 * up.change.value / (up.before - 33.3))
    assert (none.word, none.change.value, none.change.low, none.change.high) == (
        "equivalent", 0, 0, 0,
    )  # fmt: skip
    (down, _) = judged(effects([arms(made, 0.9, 0.5)])[0], margin=2.0)
    assert down.word == "degraded"
    assert up.p_adjusted >= up.p


def test_what_is_not_read_above_chance_has_no_relative_change(made):
    (found, _), _ = effects([arms(made, 1 / 3, 0.9)])
    assert found.relative is None
    (found, _), _ = effects([arms(made, 0.9, 0.9, chance=None)])
    assert found.relative is None


def test_an_undefined_metric_says_why_and_the_others_stand(made):
    one = arms(made, 0.5, 0.9)
    named = replace(one, question=one.question.model_copy(update={"metrics": ("recall:glad",)}))
    rare = [
        replace(each, outcome=ClassOutcome(np.zeros(90, np.int64), each.scores))
        for each in one.before
    ]
    found, undefined = effects([replace(named, before=rare, after=rare), one])
    assert len(found) == 2
    assert list(undefined) == ["moods/mood recall:glad"]
    assert "no row is of class glad" in undefined["moods/mood recall:glad"]


def test_predictions_of_other_rows_or_labels_are_refused(made):
    one = arms(made, 0.5, 0.9)
    other = [*one.after[:2], replace(one.after[2], ids=one.after[2].ids[::-1])]
    with pytest.raises(PairingError, match="same test rows of moods/mood"):
        effects([replace(one, after=other)])
    flipped = ClassOutcome((one.after[0].outcome.labels + 1) % 3, one.after[0].scores)
    other = [replace(one.after[0], outcome=flipped), *one.after[1:]]
    with pytest.raises(PairingError, match="same labels"):
        effects([replace(one, after=other)])
    with pytest.raises(DataError, match="at least two clusters"):
        effects([replace(one, before=[replace(x, clusters=np.full(90, "a")) for x in one.before])])


def test_positive_transfers_are_counted_over_the_ten_metrics_of_the_five_tasks(made):
    found, _ = effects([arms(made, 0.5, 0.9), arms(made, 0.9, 0.5, task="b-moods")])
    one = count(judged(found, margin=2.0))
    # Of tasks that are not known, declared metrics count.
    assert (one.of, one.positive, one.negative, one.surely_positive, one.surely_negative) == (
        2, 1, 1, 1, 1,
    )  # fmt: skip
    five = [f"scenes-{name}" for name in ("gesture", "gaze", "expression", "relation", "looking")]
    total = 0
    for name in five:
        declared = get_task(name).spec.metrics
        for question, metrics in COUNTED[name].items():
            assert set(metrics) <= set(declared[question])
            total += len(metrics)
    assert total == 10
    real = ("hagrid", "gazefollow", "affectnet", "pisc-relationship", "pisc-domain", "lam")
    assert sum(len(m) for name in real for m in COUNTED[name].values()) == 10


@pytest.mark.slow
@pytest.mark.parametrize(("clusters", "training"), [(60, 0.0), (60, 3.0), (200, 3.0)])
def test_the_interval_covers_the_change_over_rows_and_seeds(clusters, training):
    """Accuracy; the chance of being right, and its change, vary by cluster, and by seed too."""
    rng = np.random.default_rng(7)
    metric = resolve("accuracy", ("no", "yes"))
    rows, seeds, truth, hits = 3, 3, 6.0, []
    groups = group_rows(np.repeat(np.arange(clusters), rows))
    labels = np.zeros(clusters * rows, np.int64)
    for _ in range(400):
        ease, gain = (np.repeat(rng.normal(0, 0.15, clusters), rows) for _ in range(2))
        pairs = []
        for _ in range(seeds):
            sides = []
            for mean in (0.5 + ease, 0.5 + truth / 100 + ease + gain):
                p = mean + rng.normal(0, training / 100)
                right = rng.random(len(p)) < p
                sides.append(ClassOutcome(labels, np.stack([right, ~right], 1).astype(np.float32)))
            pairs.append(tuple(sides))
        found = change(metric, pairs, groups)
        half = found.spread.se * _quantile(found.spread.dof)
        hits.append(abs(found.mean - truth) <= half)
    assert 0.925 <= np.mean(hits) <= 0.985


def _quantile(dof):
    from scipy.stats import t

    return t.ppf(0.975, dof)
