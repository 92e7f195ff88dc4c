"""One setting changed, against the reference: planned, trained once, judged together."""

import pytest

from degradation.errors import ConfigError
from socialfusion.transfer.ablations import ABLATIONS, ablation_record, plan_ablation
from socialfusion.transfer.plan import changed, over_seeds
from socialfusion.transfer.records import ablation_path, read_ablation, write_ablation
from socialfusion.transfer.run import Runs
from socialfusion.transfer.sweep import sweep

SEEDS = (0, 1, 2)


def labels(name, base, **options):
    return list(plan_ablation(name, base, seeds=SEEDS, **options).settings)


def test_the_values_leave_the_reference_out_and_follow_its_size(base):
    assert labels("connector-depth", base) == ["connector depth 1", "connector depth 5"]
    small = changed(base, {"connector_width": 192, "lora_rank": 2})
    assert labels("connector-width", small) == [f"connector width {w}" for w in (48, 96, 384)]
    assert labels("lora-rank", small) == ["lora rank 1", "lora rank 4"]
    assert labels("heatmap-weight", base) == [f"heatmap weight {w}" for w in (5, 25, 100, 200)]
    assert labels("box-masks", base) == ["without box masks"]
    assert labels("box-masks", changed(base, {"box_masks": False})) == ["box masks"]
    assert labels("aggregator", base) == [f"aggregator {n}" for n in ("UPGrad", "PCGrad", "MGDA")]
    assert labels("encoder", base, values=("tiny:pre", "tiny:post")) == ["encoder tiny:post"]
    assert labels("lora-rank", base, values=("4", "32")) == ["lora rank 4"]


def test_what_frozen_means_depends_on_the_model(base):
    assert labels("frozen", base) == ["encoder trained"]
    assert labels("frozen", changed(base, {"train_encoder": True})) == ["encoder frozen"]
    assert labels("frozen", changed(base, {"vlm": True})) == ["vision trained"]


def test_every_ablation_changes_a_setting_that_there_is(base):
    for name, one in ABLATIONS.items():
        values = one.values(base) or ["tiny:post"]
        plan = plan_ablation(name, base, seeds=(0,), values=values)
        for changes, runs in plan.settings.values():
            assert changes.keys() == {one.setting}
            assert runs[0].settings == changed(base, changes)


def test_what_cannot_be_ablated_is_said(base):
    with pytest.raises(ConfigError, match=r"among connector-depth, .* found 'colour'"):
        plan_ablation("colour", base, seeds=SEEDS)
    with pytest.raises(ConfigError, match=r"other than the reference's, 'tiny:pre'.* --value"):
        plan_ablation("encoder", base, seeds=SEEDS)
    with pytest.raises(ConfigError, match="lora_rank cannot be 'x'"):
        plan_ablation("lora-rank", base, seeds=SEEDS, values=("x",))


def test_the_record_finds_what_was_planted_and_shares_the_reference(base, trainer, tmp_path):
    train = trainer(lambda task, settings: 0.3 if task == "a-gaze" else
                    0.5 + 0.4 * (settings.connector_depth > 1))  # fmt: skip
    sweep(over_seeds(base, SEEDS), train, results=tmp_path, progress=False)
    plan = plan_ablation("connector-depth", base, seeds=SEEDS)
    records = sweep(plan.runs, train, results=tmp_path, progress=False)
    assert len(train.calls) == 9  # the reference was there
    record = ablation_record(plan, Runs(tmp_path, records), name="tiny", margin=2.0)
    shallow, deep = record.ablated
    assert (record.reference, shallow.label) == ("connector depth 3", "connector depth 1")
    words = {(one.question, one.metric): one.word for one in shallow.effects}
    assert words["moods/mood", "accuracy"] == "degraded"
    assert words["b-moods/mood", "accuracy"] == "degraded"
    assert len(shallow.effects) == 7
    assert {one.word for one in deep.effects} <= {"equivalent", "undecided"}
    assert (shallow.trained, record.trained, deep.trained) == (10, 30, 50)
    declared = [e for one in record.ablated for e in one.effects if e.declared]
    smallest = min(declared, key=lambda one: one.p)
    assert smallest.p_adjusted == pytest.approx(min(1, len(declared) * smallest.p))
    write_ablation(tmp_path, record)
    assert read_ablation(ablation_path(tmp_path, "tiny")) == record
