"""Trainings of a study: planned from names, trained once, told apart from other settings."""

import pytest
from fusion_runs import fake_trainer
from worded_caches import CLASSES, SIZES, fill

from degradation.encoders.pair import Pair
from degradation.errors import ConfigError
from degradation.protocol import Protocol
from probes.table import open_pair
from sdiag.study import costs, trainings
from sdiag.study.encoders import EncoderFacts, StudyPair
from sdiag.study.run import resolved
from sdiag.study.schema import PairChoice, Study
from sdiag.study.world import TaskRows, World
from socialfusion.language import load_language
from socialfusion.records import run_folder
from socialfusion.transfer.records import ablation_path, read_transfer, transfer_path

SMALL = {
    "language_model": "tiny", "connector_width": 8, "lora_rank": 2, "batch_size": 4,
    "dtype": "float32",
}  # fmt: skip
SIDES = {"sides": ("post",), "seeds": 1, "steps": 3, "settings": SMALL}


def study_of(**stages):
    return Study(
        name="small",
        pair=({"pre": "a", "post": "b", "name": "planted"},),
        task=tuple({"name": name} for name in CLASSES),
        **stages,
    )


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A function from a study to its world, whose trainer writes records of fair skill."""
    cache, results = tmp_path / "cache", tmp_path / "results"
    fill(cache)
    cards = {name: open_pair(cache, name, "planted")[0].cards() for name in CLASSES}
    train = fake_trainer(
        results, lambda task, settings: 0.8, digest="digest of planted:post", splits=cards
    )
    monkeypatch.setattr("sdiag.commands.trainings.trainer", lambda **options: train)
    facts = EncoderFacts("a", blocks=2, width=6, patch=8, size=32, parameters=1000)
    pair = StudyPair(
        Pair("planted", "a", "b", "made up", "a test"), Protocol(), facts, facts,
        PairChoice(pre="a", post="b", name="planted", size=32, blocks=(0, 1)),
    )  # fmt: skip

    def made(study):
        one = World(study, (pair,), cache, results)
        for name in CLASSES:
            one._rows[name] = TaskRows({}, SIZES, frames=1, regions=2, questions=1)
        return one

    made.calls = train.calls
    return made


def test_transfer_is_trained_once_and_its_record_made_anew_where_it_is_lost(world):
    one = world(study_of(transfer=SIDES))
    (step,) = trainings.training_steps(one)
    assert step.needs == tuple(f"extract planted on {name}" for name in CLASSES)
    assert step.differs() == "4 runs to train"  # two singles, shared by both budgets, two joint
    step.run()
    assert len(world.calls) == 4
    assert step.differs() == ""
    path = transfer_path(one.results, "planted-post")
    assert read_transfer(path).tasks == tuple(CLASSES)
    path.unlink()
    assert step.differs() == "the record is not there"
    step.run()
    assert len(world.calls) == 4
    assert step.differs() == ""


def test_ablations_and_plain_trainings_share_runs_with_transfer(world):
    one = world(
        study_of(
            train=SIDES,
            transfer=SIDES,
            ablate=({"setting": "lora-rank", "values": (2, 4), **SIDES},),
        )
    )
    train, transfer, ablate = trainings.training_steps(one)
    transfer.run()
    assert train.differs() == ""
    assert ablate.differs() == "1 run to train"
    ablate.run()
    assert ablate.differs() == ""
    assert ablation_path(one.results, "lora-rank-planted-post").exists()


def test_more_seeds_train_only_what_is_new(world):
    (step,) = trainings.training_steps(world(study_of(train=SIDES)))
    step.run()
    (step,) = trainings.training_steps(world(study_of(train=SIDES | {"seeds": 3})))
    assert step.differs() == "2 runs to train"


def test_costs_are_those_of_the_language_model_and_only_of_missing_runs(world):
    one = world(study_of(train=SIDES))
    (step,) = trainings.training_steps(one)
    weights = costs.language_parameters("tiny")
    assert weights == sum(one.numel() for one in load_language("tiny").model.parameters())
    sight, text = 4 * 4, 32
    seen, tested = 3 * 4 * 2, 2 * 16
    language = weights * (sight + text) * (4 * seen + 2 * tested)
    connector = 8 * (6 + 3 * 8) * sight * (6 * seen + 2 * tested)
    cost = step.cost()
    assert cost.work == {costs.Clock("language model", "tiny"): pytest.approx(language + connector)}
    assert cost.pictures == 0
    step.run()
    assert step.cost() == costs.Cost()


def test_an_encoder_that_is_trained_along_is_passed_forward_and_backward(world):
    frozen, online, trained = (
        next(trainings.training_steps(world(study_of(train=SIDES | {"settings": SMALL | more}))))
        for more in ({}, {"online": True}, {"train_encoder": True})
    )
    tower = costs.Clock("encoder", "a")
    seen, tested = 3 * 4 * 2, 2 * 16
    once = 2.0 * 1000 * 16 + 4.0 * 16 * 16 * 6 * 2
    assert tower not in frozen.cost().work
    assert online.cost().work[tower] == pytest.approx(once * (seen + tested))
    assert trained.cost().work[tower] == pytest.approx(once * (3 * seen + tested))
    assert trained.cost().pictures == seen + tested


def test_a_language_model_of_its_own_is_counted_by_its_name(world):
    (step,) = trainings.training_steps(
        world(study_of(train=SIDES | {"settings": SMALL | {"language_model": "Qwen/Some-2B"}}))
    )
    cost = step.cost()
    assert set(cost.work) == {costs.Clock("encoder", "a")}  # no weights to be timed with
    assert cost.flops > 2e9 * 48 * 4 * 24
    (step,) = trainings.training_steps(
        world(study_of(train=SIDES | {"settings": SMALL | {"language_model": "nameless"}}))
    )
    assert "nameless" in step.cost().unknown


def test_settings_that_there_are_not_are_refused_before_anything_runs(world):
    with pytest.raises(ConfigError, match="lora_rnk"):
        list(trainings.training_steps(world(study_of(train={"settings": {"lora_rnk": 3}}))))
    with pytest.raises(ConfigError, match="connector-dept"):
        list(trainings.training_steps(world(study_of(ablate=({"setting": "connector-dept"},)))))


def test_the_resolved_study_names_every_setting_and_the_same_runs(world):
    one = world(study_of(train=SIDES))
    whole = resolved(one)
    assert whole.train.settings["connector_depth"] == 3
    assert whole.train.tasks == tuple(CLASSES)
    (step,) = trainings.training_steps(world(whole))
    step.run()
    (name,) = world.calls if isinstance(world.calls[0], str) else [world.calls[0][0]]
    assert run_folder(one.results, name).exists()
    (again,) = trainings.training_steps(one)
    assert again.differs() == ""
