"""Runs that a comparison needs: planned once, trained once, resumed after an interruption."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from degradation.errors import ConfigError, DataError, PairingError
from probes.record_files import write_record
from probes.records import Estimate
from socialfusion.records import FusionSettings, read_fusion, run_folder
from socialfusion.transfer.plan import changed, over_seeds, plan_transfer, planned
from socialfusion.transfer.records import (
    TransferRecord,
    read_transfer,
    transfer_path,
    write_transfer,
)
from socialfusion.transfer.run import Runs, transfer_record
from socialfusion.transfer.sweep import sweep

QUESTIONS = {"moods": 1, "b-moods": 1, "a-gaze": 1}
BOTH = ("per-task", "total")


def plan(base, *, seeds=(0, 1, 2), budgets=("per-task",), rows=("",), pairwise=False, **questions):
    return plan_transfer(
        base, questions=QUESTIONS | questions, seeds=seeds, budgets=budgets, row_lists=rows,
        pairwise=pairwise,
    )  # fmt: skip


def joint_helps(task, settings):
    """Alone 0.6 of the moods are right; with others 0.9, but 0.25 of b-moods with a-gaze."""
    if task == "a-gaze":
        return 0.3 - 0.05 * (len(settings.tasks) > 1)
    if task == "b-moods" and "a-gaze" in settings.tasks:
        return 0.25
    return 0.6 + 0.3 * (len(settings.tasks) > 1)


def test_a_task_of_one_question_is_trained_alone_only_once_for_both_budgets(base):
    samples, steps = plan(base, budgets=BOTH)
    assert (samples.name, steps.name) == ("equal-samples", "equal-steps")
    assert samples.singles == steps.singles
    assert samples.joint != steps.joint
    assert len({run.name for one in (samples, steps) for run in one.runs}) == 3 * 3 + 2 * 3
    samples, steps = plan(base, budgets=BOTH, moods=2)
    assert samples.singles["moods"] != steps.singles["moods"]
    assert samples.singles["b-moods"] == steps.singles["b-moods"]


def test_rows_and_pairs_have_runs_of_their_own(base):
    official, clean = plan(base, rows=("", "clean"), pairwise=True)
    assert (official.name, clean.name) == ("equal-samples", "equal-samples@clean")
    assert set(official.pairs) == {("moods", "b-moods"), ("moods", "a-gaze"), ("b-moods", "a-gaze")}
    names = {run.name for one in (official, clean) for run in one.runs}
    assert len(names) == 2 * 3 * (3 + 1 + 3)
    assert {run.settings.row_list for run in clean.runs} == {"clean"}
    two = changed(base, {"tasks": ("moods", "a-gaze")})
    (only,) = plan(two, pairwise=True)
    assert only.joint == only.pairs["moods", "a-gaze"]  # the same runs


@given(st.integers(0, 99), st.integers(1, 99), st.sampled_from(["", "clean"]))
def test_names_follow_the_settings(seed, steps, rows):
    settings = FusionSettings(
        encoder="tiny:pre", tasks=("manifest:a b.csv",), language_model="lm", steps=steps,
        seed=seed, row_list=rows,
    )  # fmt: skip
    name = planned(settings).name
    assert name == planned(settings.model_copy()).name
    assert f"-seed-{seed}-" in name
    assert not set(name) & set(" :/\\")
    for field, value in (("seed", seed + 1), ("steps", steps + 1), ("box_masks", False)):
        assert planned(changed(settings, {field: value})).name != name


def test_settings_that_cannot_be_are_refused(base):
    with pytest.raises(ConfigError, match=r"among encoder, .* found 'lora'"):
        changed(base, {"lora": 3})
    with pytest.raises(ConfigError, match="lora_rank cannot be 'many'"):
        changed(base, {"lora_rank": "many"})
    assert changed(base, {"box_masks": "false", "steps": "7"}).steps == 7
    with pytest.raises(ConfigError, match="two or more different tasks"):
        plan(changed(base, {"tasks": ("moods",)}))
    with pytest.raises(ConfigError, match="two or more different tasks"):
        plan(changed(base, {"tasks": ("moods", "moods")}))
    with pytest.raises(ConfigError, match="at least one seed"):
        plan(base, seeds=())


def test_an_interrupted_sweep_goes_on_and_trains_nothing_twice(base, trainer, tmp_path):
    (one,) = plan(base)
    train = trainer(joint_helps)

    def dies(name, settings):
        if len(train.calls) == 5:
            raise KeyboardInterrupt
        train(name, settings)

    with pytest.raises(KeyboardInterrupt):
        sweep(one.runs, dies, results=tmp_path, progress=False)
    assert len(train.calls) == 5
    records = sweep(one.runs, train, results=tmp_path, progress=False)
    assert len(records) == len(train.calls) == len(set(train.calls)) == 12
    sweep(one.runs, train, results=tmp_path, progress=False)
    assert len(train.calls) == 12
    seeds = [records[name].settings.seed for name in train.calls]
    assert seeds == sorted(seeds)  # whole comparisons first


def test_other_settings_are_other_runs_and_a_run_that_was_stopped_is_said(base, trainer, tmp_path):
    train = trainer(joint_helps)
    runs = over_seeds(base, (0,))
    sweep(runs, train, results=tmp_path, progress=False)
    sweep(over_seeds(changed(base, {"steps": 11}), (0,)), train, results=tmp_path, progress=False)
    assert len(train.calls) == 2
    folder = run_folder(tmp_path, runs[0].name)
    record = read_fusion(folder)
    settings = record.settings.model_copy(update={"lora_rank": 1})
    write_record(folder / "fusion.json", record.model_copy(update={"settings": settings}))
    with pytest.raises(DataError, match="found one with other lora_rank"):
        sweep(runs, train, results=tmp_path, progress=False)
    with pytest.raises(DataError, match=r"it was stopped. Run the same command again"):
        sweep(over_seeds(base, (5,)), lambda *_: None, results=tmp_path, progress=False)


@pytest.fixture
def transferred(base, trainer, tmp_path):
    plans = plan(base, budgets=BOTH, pairwise=True)
    runs = [run for one in plans for run in one.runs]
    records = sweep(runs, trainer(joint_helps), results=tmp_path, progress=False)
    return plans, Runs(tmp_path, records)


def test_the_record_finds_what_was_planted_and_comes_back_from_its_file(transferred, tmp_path):
    plans, runs = transferred
    record = transfer_record("tiny", plans, runs, margin=2.0)
    one = record.variant("equal-samples")
    by = {(each.question, each.metric): each for each in one.joint}
    assert len(by) == 2 + 2 + 3
    assert by["moods/mood", "accuracy"].word == "improved"
    assert by["b-moods/mood", "accuracy"].word == "degraded"
    gaze = by["a-gaze/gaze", "average_l2_error"]
    assert gaze.change.value > 0  # less of an error
    assert gaze.word == "improved"
    assert 10 < gaze.relative < 25
    # Of tasks without a list of their own the declared metrics count.
    assert (one.count.of, one.count.positive, one.count.negative) == (3, 2, 1)
    beside = {
        (task, each.question): each.change.value
        for task, found in one.pairwise.items()
        for each in found
        if each.declared
    }
    assert len(beside) == 6
    assert beside["a-gaze", "b-moods/mood"] < -5
    assert beside["moods", "b-moods/mood"] > 20
    assert beside["b-moods", "a-gaze/gaze"] > 0
    assert record.variant("equal-steps").joint != one.joint
    write_transfer(tmp_path, record)
    again = read_transfer(transfer_path(tmp_path, "tiny"))
    assert isinstance(again, TransferRecord)
    assert again == record
    assert isinstance(again.variants[0].joint[0].change, Estimate)
    with pytest.raises(KeyError):
        record.variant("equal-anything")
    assert len(one.runs) == 3 * (3 + 1 + 3)
    assert "compared=equal-samples+equal-steps" in record.signature


def test_pairs_are_corrected_for_all_pairs_together(transferred):
    plans, runs = transferred
    one = transfer_record("tiny", plans, runs, margin=2.0).variants[0]
    declared = [each for found in one.pairwise.values() for each in found if each.declared]
    smallest = min(declared, key=lambda each: each.p)
    assert smallest.p_adjusted == pytest.approx(min(1, len(declared) * smallest.p))


def test_runs_of_another_encoder_or_changed_predictions_are_refused(base, trainer, tmp_path):
    (one,) = plan(base)
    records = dict(sweep(one.runs, trainer(joint_helps), results=tmp_path, progress=False))
    name = one.joint[0].name
    encoder = records[name].encoder.model_copy(update={"digest": "0" * 64})
    other = records | {name: records[name].model_copy(update={"encoder": encoder})}
    with pytest.raises(PairingError, match="runs of one encoder"):
        transfer_record("tiny", [one], Runs(tmp_path, other), margin=2.0)
    file = run_folder(tmp_path, name) / "fusion-predictions.parquet"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(DataError, match="not the file that"):
        transfer_record("tiny", [one], Runs(tmp_path, records), margin=2.0)
