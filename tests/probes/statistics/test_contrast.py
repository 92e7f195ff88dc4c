import hashlib

import numpy as np
import pytest

from degradation.errors import DataError
from probes.metrics import ClassOutcome, GazeOutcome, evaluate, resolve
from probes.predictions import encode
from probes.questions import Prediction
from probes.records import Comparison, PairCard, RunRecord, TaskCard
from probes.runs import PREDICTIONS, write_run
from probes.statistics import jackknife
from probes.statistics.contrast import Measured, contrast, social_contrast
from probes.summary import summarise

N = 60
ACCURACY, ERROR = resolve("accuracy", ("a", "b")), resolve("average_l2_error", ())


def right(flags, *, chance=0.5):
    """An outcome with these rows right; class a is the truth throughout."""
    wide = np.stack([flags, np.full(len(flags), chance)], axis=1).astype(np.float32)
    return ClassOutcome(np.zeros(len(flags), dtype=np.int64), wide)


def measured(name, *, social, before=0.9, after=0.7, names=None, seed=0, chance=0.3):
    rng = np.random.default_rng(seed)
    luck, again = rng.random((2, N))
    return Measured(
        task=name, question="q", social=social, metric=ACCURACY,
        clusters=np.array([f"{names or name}-{i // 2}" for i in range(N)], dtype=object),
        pre=right(luck < before), post=right(np.where(again < 0.3, rng.random(N), luck) < after),
        chance=None if chance is None else right(np.arange(N) < chance * N),
    )  # fmt: skip


def points(one):
    before, after = (evaluate(one.metric, side)[0] for side in (one.pre, one.post))
    return (1 if one.metric.higher_is_better else -1) * 100 * (after - before)


def test_the_difference_is_that_of_the_mean_deltas():
    members = [measured("a", social=True), measured("b", social=True, after=0.6, seed=1),
               measured("c", social=False, after=0.9, seed=2)]  # fmt: skip
    found = contrast(members, pair="p", seed=0)
    one, two, control = map(points, members)
    assert found.social == pytest.approx((one + two) / 2)
    assert found.control == pytest.approx(control)
    assert found.difference.value == pytest.approx((one + two) / 2 - control)
    assert found.difference.low < found.difference.value < found.difference.high
    skills = [100 * evaluate(ACCURACY, m.pre)[0] - 30 for m in members]
    parts = [100 * points(m) / skill for m, skill in zip(members, skills, strict=True)]
    assert [part.relative for part in found.parts] == pytest.approx(parts)
    assert found.relative.value == pytest.approx((parts[0] + parts[1]) / 2 - parts[2])
    assert (found.clusters, found.shared, found.warning) == (90, 0, "")
    assert found.p < 0.05


def test_tasks_on_other_clusters_add_their_variances_and_shared_ones_what_they_share():
    social, control = measured("a", social=True), measured("b", social=False, seed=1)
    apart = contrast([social, control], pair="p", seed=0)
    alone = [contrast([one, still(one, not one.social)], pair="p", seed=0).se
             for one in (social, control)]  # fmt: skip
    assert apart.se**2 == pytest.approx(alone[0] ** 2 + alone[1] ** 2, rel=1e-6)
    # The same rows asked twice: what one loses, the other does.
    twin = measured("a", social=False)
    same = contrast([social, twin], pair="p", seed=0)
    assert same.difference.value == 0
    assert same.shared == 30
    assert same.se < 0.5 * apart.se


def still(one, social):
    """A question that nothing happened to, on clusters of its own."""
    return Measured("still", "q", social, ACCURACY, np.arange(N), one.pre, one.pre, one.chance)


def test_equal_sides_differ_by_exactly_nothing():
    members = [still(measured("a", social=True), social) for social in (True, False)]
    found = contrast(members, pair="p", seed=0)
    for one in (found.difference, found.relative):
        assert (one.value, one.low, one.high) == (0, 0, 0)
    assert (found.p, found.p_relative) == (1, 1)


def test_errors_are_flipped_and_measured_against_their_chance():
    rows = np.random.default_rng(0).uniform(0.1, 0.2, N)
    gaze = Measured(
        "g", "gaze", True, ERROR, np.arange(N),
        *(GazeOutcome({ERROR.name: each}) for each in (rows, 1.2 * rows, 2 * rows)),
    )  # fmt: skip
    found = contrast([gaze, measured("c", social=False)], pair="p", seed=0)
    assert found.parts[0].delta == pytest.approx(-20 * rows.mean())
    assert found.parts[0].relative == pytest.approx(-20.0)


@pytest.mark.parametrize(
    ("chance", "reason"), [(None, "not read by chance alone"), (0.9, "better than by chance")]
)
def test_without_skill_before_there_is_no_relative_form(chance, reason):
    members = [measured("a", social=True, chance=chance), measured("b", social=False, seed=1)]
    found = contrast(members, pair="p", seed=0)
    assert found.relative is None
    assert found.p_relative is None
    assert reason in found.not_relative
    assert found.parts[0].relative is None
    assert found.parts[1].relative is not None


def test_one_kind_of_question_and_undefined_metrics_are_refused():
    with pytest.raises(DataError, match="found 2 and 0"):
        contrast([measured("a", social=True)] * 2, pair="p", seed=0)
    empty = Measured("r", "q", False, resolve("recall:b", ("a", "b")), np.arange(N),
                     right(np.ones(N)), right(np.zeros(N)))  # fmt: skip
    with pytest.raises(DataError, match="no row is of class b"):
        contrast([measured("a", social=True), empty], pair="p", seed=0)


def test_rankings_with_many_clusters_are_grouped_alike_in_all_tasks(monkeypatch):
    mean = resolve("mean_average_precision", ("a", "b"))
    rng, labels = np.random.default_rng(0), np.arange(N) % 2
    scores = np.eye(2)[labels] + rng.normal(size=(2, N, 2))
    pre, post = (ClassOutcome(labels, one.astype(np.float32)) for one in scores)
    members = [Measured(str(social), "q", social, mean, np.arange(N) // 2, pre, post)
               for social in (True, False)]  # fmt: skip
    monkeypatch.setattr(jackknife, "GROUPS", 10)
    found = contrast(members, pair="p", seed=0)
    assert found.shared == 30
    assert found.difference.low <= 0 <= found.difference.high
    assert found.dof <= 10


def test_few_clusters_are_warned_of():
    few = Measured("f", "q", False, ACCURACY, np.arange(N) % 12, *(right(np.ones(N)),) * 2)
    assert (
        "only 12 clusters" in contrast([measured("a", social=True), few], pair="p", seed=0).warning
    )


def write_run_of(results, one):
    """The run of one question, as a probe leaves it."""
    sides = (("none", -1, "prior", one.chance), ("pre", 0, "linear", one.pre),
             ("post", 0, "linear", one.post))  # fmt: skip
    predictions = [
        Prediction(one.question, block, probe, side, np.arange(N).astype(str), one.clusters,
                   outcome, outcome.scores)
        for side, block, probe, outcome in sides
    ]  # fmt: skip
    found = summarise(predictions, [one.metric], draws=100, seed=0)
    data = encode(predictions)
    record = RunRecord(
        tool_version="0", seed=0, draws=100, splits={}, baselines=found.baselines,
        predictions_sha256=hashlib.sha256(data).hexdigest(),
        task=TaskCard(
            name=one.task, kind="classes", social=one.social, label_sets={"q": ("a", "b")},
            regions=("face",), metrics={"q": ("accuracy",)}, cluster="picture", source="",
        ),
        pair=PairCard(
            name="planted", pre="", post="", pre_digest="", post_digest="", lineage="", source="",
            protocol="", imported=False,
        ),
        comparisons=(Comparison(
            question="q", block=0, probe="linear", metric="accuracy", higher_is_better=True,
            confirmatory=True, strength_pre=1, strength_post=1, selection="", signature="",
            **dict(found.numbers[0, "linear", "accuracy"]),
        ),),
    )  # fmt: skip
    write_run(results / "planted" / one.task, record, data)
    return record


def test_the_contrast_of_a_pair_is_read_from_its_runs(tmp_path):
    members = [measured("control", social=False), measured("lost", social=True, seed=1)]
    records = [write_run_of(tmp_path, members[0])]
    assert social_contrast(tmp_path, records) == []
    records.append(write_run_of(tmp_path, members[1]))
    assert social_contrast(tmp_path, records) == [contrast(members, pair="planted", seed=0)]
    (tmp_path / "planted" / "lost" / PREDICTIONS).unlink()
    with pytest.raises(DataError, match="not a predictions file"):
        social_contrast(tmp_path, records)


@pytest.mark.slow
def test_the_interval_covers_with_clusters_shared_by_some_tasks():
    rng, covered = np.random.default_rng(0), 0
    labels = np.zeros(80, dtype=np.int64)
    for _ in range(500):
        common = rng.normal(size=40)[np.arange(80) // 2]
        members = []
        for task, social, shared in (
            ("a", True, 1),
            ("b", True, 1),
            ("c", False, 1),
            ("d", False, 0),
        ):
            score = (common if shared else 0) + rng.normal(size=(2, 80))
            sides = [ClassOutcome(labels, np.stack([one > -0.5, np.full(80, 0.5)], 1).astype("f4"))
                     for one in score]  # fmt: skip
            names = np.array([f"{'' if shared else task}{i // 2}" for i in range(80)], dtype=object)
            members.append(Measured(task, "q", social, ACCURACY, names, *sides))
        found = contrast(members, pair="p", seed=0)
        covered += found.difference.low <= 0 <= found.difference.high
    assert 92 <= covered / 5 <= 98
