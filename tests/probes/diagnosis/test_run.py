"""A diagnosis from a cache: what is written, what is recomputed from it, and what is refused."""

import hashlib

import numpy as np
import pytest
from run_worlds import class_world, gaze_world

from degradation.errors import ConfigError, DataError
from probes.diagnosis.capacity import Grid
from probes.diagnosis.records import DiagnosisRecord
from probes.diagnosis.run import ANALYSIS, PREDICTIONS, diagnose_pair
from probes.diagnosis.settings import Settings
from probes.metrics import evaluate, resolve
from probes.predictions import read_predictions
from probes.runs import read_analysis
from probes.summary import summarise

SMALL = Settings(Grid((1.0,), 1), Grid((0.0,), 1), (0.5, 1.0), 2, 1)


@pytest.fixture
def diagnose(write_world, tmp_path):
    def run(task, splits, *, settings=SMALL, **options):
        root = write_world(task, splits)
        return diagnose_pair(
            root, task.name, "planted", results=tmp_path / "results", draws=100,
            settings=settings, **options,
        )  # fmt: skip

    return run


def test_a_diagnosis_is_written_whole_and_its_numbers_follow_from_the_predictions(
    diagnose, spec, rows, tmp_path
):
    record = diagnose(*class_world(spec, rows, erased=1.0))
    folder = tmp_path / "results" / "planted" / record.task.label
    assert read_analysis(folder, ANALYSIS, DiagnosisRecord) == record
    data = (folder / PREDICTIONS).read_bytes()
    assert hashlib.sha256(data).hexdigest() == record.predictions_sha256
    predictions = read_predictions(folder / PREDICTIONS)
    mood, size = record.questions
    assert (mood.word, size.word) == ("gone", "rotated")
    assert mood.absent.keys() == {"attentive"}
    assert "--token-block 1" in mood.absent["attentive"]

    own = [one for one in predictions if one.question == "mood"]
    metric = resolve("accuracy", record.task.label_sets["mood"])
    compared = [one for one in own if one.probe in ("logistic-l2", "mlp")]
    again = summarise(compared, [metric], draws=record.draws, seed=record.seed).numbers
    for point in mood.capacity:
        assert again[1, point.probe, "accuracy"] == point.numbers

    scores = {(one.probe, one.side): one for one in own}
    halves = [
        100 * float(evaluate(metric, scores[f"logistic-l2/portion-0.5-{k}", "post"].outcome)[0])
        for k in (0, 1)
    ]
    assert mood.curve[0].post.value == pytest.approx(np.mean(halves))
    assert mood.curve[0].subsets == 2
    raw = scores["pre-probe/raw", "post"].outcome
    step = next(one for one in mood.transfer if one.map == "raw")
    assert step.numbers.post.value == pytest.approx(100 * float(evaluate(metric, raw)[0]))
    parts = mood.parts
    total = parts.rotation.value + parts.linear_map.value + parts.remaining.value
    assert total == pytest.approx(step.numbers.delta.value)
    for side, length in (("pre", mood.code.pre), ("post", mood.code.post)):
        coded = scores["online-code/0", side]
        own_scores = np.take_along_axis(coded.scores, coded.outcome.labels[:, None], axis=1)
        assert length.value == pytest.approx(-np.log2(own_scores).mean(), rel=1e-5)
    assert mood.code.delta.value == pytest.approx(mood.code.pre.value - mood.code.post.value)
    assert mood.code.delta.high < 0
    assert mood.code.compression_pre > mood.code.compression_post


@pytest.mark.slow
def test_the_same_features_are_unchanged_to_the_last_digit(diagnose, spec, rows):
    task, splits = class_world(spec, rows)
    splits = {split: (one, pre, pre, None) for split, (one, pre, _, _) in splits.items()}
    record = diagnose(task, splits)
    for found in record.questions:
        assert found.word == "unchanged"
        for numbers in [*found.capacity, *found.transfer]:
            if getattr(numbers, "map", "raw") == "raw":
                assert numbers.numbers.delta.value == 0
        assert all((one.delta.value, one.delta.low) == (0, 0) for one in found.curve)
        assert (found.code.delta.low, found.code.delta.high) == (0, 0)
        assert found.signal.signal.value == pytest.approx(1)


@pytest.mark.slow
def test_gaze_has_a_linear_readout_an_mlp_and_no_code(diagnose, spec, rows):
    (found,) = diagnose(*gaze_world(spec, rows)).questions
    assert [one.probe for one in found.capacity] == ["gaze-logit-l2", "mlp"]
    assert found.code is None
    assert found.absent.keys() == {"attentive", "code"}
    assert found.word == "buried in noise"
    assert all(one.pre.value > 0 for one in found.curve)  # errors are shown as errors
    assert found.capacity[0].numbers.delta.high < 0


@pytest.mark.slow
def test_the_side_after_may_be_wider_and_a_nested_plan_is_diagnosed(diagnose, spec, rows):
    rng = np.random.default_rng(0)
    task, splits = class_world(spec, rows, sizes={"all": 200})
    one, pre, post, _ = splits["all"]
    more = rng.normal(size=(*post["face"].shape[:2], 3))
    post = {"face": np.concatenate([post["face"], more], axis=2)}
    found = diagnose(task, {"all": (one, pre, post, None)}).questions[0]
    assert {step.map for step in found.transfer} == {"orthogonal", "affine"}
    assert "widths differ" in found.absent["pre-probe/raw"]
    assert found.parts.rotation is None
    assert found.parts.linear_map is not None


def test_features_that_are_not_finite_are_refused_with_the_first_id(diagnose, spec, rows):
    task, splits = class_world(spec, rows)
    splits["test"][2]["face"][7, 1, 3] = np.nan
    with pytest.raises(DataError, match=r"side post at block 1.*1 of .*'test-7'"):
        diagnose(task, splits)


def test_a_question_with_one_class_in_train_is_refused_and_the_rest_is_diagnosed(
    diagnose, spec, rows
):
    task, splits = class_world(spec, rows)
    for split in ("train", "val"):
        splits[split][0].labels["mood"][:] = 1
    record = diagnose(task, splits, settings=Settings(Grid((1.0,), 1), None, (1.0,), 1, 0))
    assert [one.question for one in record.questions] == ["size"]
    assert "at least two classes" in record.refused["mood at block 1"]
    assert record.questions[0].absent["code"].startswith("Left out")


@pytest.mark.slow
def test_a_class_that_is_absent_from_test_takes_no_part_in_the_scatter(diagnose, spec, rows):
    task, splits = class_world(spec, rows)
    splits["test"][0].labels["mood"][:] = splits["test"][0].labels["mood"] % 2
    record = diagnose(task, splits, settings=Settings(Grid((1.0,), 1), None, (1.0,), 1, 0))
    assert record.questions[0].signal is not None
    assert record.questions[0].gain_post is None


def test_a_block_that_is_not_cached_is_refused(diagnose, spec, rows):
    task, splits = class_world(spec, rows)
    with pytest.raises(ConfigError, match=r"Blocks \[7\] are not cached; choose among \[0, 1\]"):
        diagnose(task, splits, blocks=[7])
