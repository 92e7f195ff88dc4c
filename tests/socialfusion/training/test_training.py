"""Training: what is learned, what is recorded, and what stops it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from degradation.errors import ConfigError, DataError
from socialfusion.model import SocialFusion
from socialfusion.records import read_fusion, run_folder
from socialfusion.stepping import aggregator_of

LOOKING, GAZE = "scenes-looking/looking", "scenes-gaze/gaze"


def weights(folder) -> dict[str, torch.Tensor]:
    own = load_file(folder / "final" / "model.safetensors")
    return own | load_file(folder / "final" / "adapter" / "adapter_model.safetensors")


def scores(record) -> dict[tuple[str, str], float]:
    return {(one.question, one.metric): one.estimate.value for one in record.scores}


def test_what_tokens_say_is_learned_and_recorded(train, tmp_path) -> None:
    record = train(steps=24, tasks=("scenes-looking",), batch_size=8, generate=True)
    assert scores(record)[LOOKING, "accuracy"] == 100
    assert record.losses[-1].losses[LOOKING] < 0.1 < record.losses[0].losses[LOOKING]
    assert record.samples_seen == {LOOKING: 192}
    assert (record.steps_run, record.stops[LOOKING].reason) == (24, "budget used up")
    (written,) = record.generated
    assert (written.accuracy, written.scored, written.other) == (100, 100, 0)
    assert len(written.examples) == 8
    assert all(one.text == one.right for one in written.examples)
    assert record.frozen.language_model_before == record.frozen.language_model_after
    assert record.frozen.encoder_before == record.encoder.digest == "digest of pre"
    assert set(record.trained.parameters) == {"connector", "boxes", "lora"}
    assert record.trained.rule == "last step"
    chance = {one.metric: one.chance for one in record.scores}
    assert chance["accuracy"] in (pytest.approx(100 * k / 12) for k in range(13))
    assert "|question=looking|metric=accuracy|" in record.scores[0].signature
    folder = run_folder(tmp_path, "run")
    assert read_fusion(folder) == record
    manifest = json.loads((folder / "final" / "trained.json").read_text())
    assert sum(record.trained.parameters.values()) == manifest["parameters"]
    model = SocialFusion.from_pretrained(folder / "final")
    assert model.config.encoder_digest == "digest of pre"


@pytest.mark.slow
def test_tokens_from_disk_train_the_same_model(train, tmp_path) -> None:
    train("held")
    train("read", memory=0.0)
    one, two = (weights(run_folder(tmp_path, name)) for name in ("held", "read"))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_the_seed_decides_everything(train, tmp_path) -> None:
    train("a", steps=2)
    train("b", steps=2)
    train("c", steps=2, seed=1)
    a, b, c = (weights(run_folder(tmp_path, name)) for name in "abc")
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], c[name]) for name in a if "lora_B" in name)


@pytest.mark.slow
def test_budgets_say_how_many_rows_each_question_sees(train) -> None:
    each = train("each", steps=3, batch_size=6)
    assert each.samples_seen == {LOOKING: 18, GAZE: 18}
    shared = train("shared", steps=3, batch_size=6, budget="total")
    assert shared.samples_seen == {LOOKING: 9, GAZE: 9}


def test_a_question_that_has_had_enough_gets_no_more_batches(train, tmp_path) -> None:
    record = train(steps=12, eval_every=2, patience=1, learning_rate=0.2, save_every=4)
    assert record.steps_run < 12
    for label, stop in record.stops.items():
        assert stop.reason == "no better validation loss in 1 looks"
        assert record.samples_seen[label] == 4 * stop.step
    means = {look.step: np.mean(list(look.losses.values())) for look in record.validation}
    assert record.trained.step == min(means, key=means.get)
    assert record.trained.rule == "best mean validation loss"
    folder = run_folder(tmp_path, "run")
    assert [path.name for path in folder.glob("best-*")] == [f"best-{record.trained.step:06d}"]
    best = load_file(folder / f"best-{record.trained.step:06d}" / "trained.safetensors")
    assert torch.equal(best["connector.0.weight"], weights(folder)["connector.0.weight"])


def test_a_loss_that_is_not_finite_stops_with_its_rows_written_down(
    train, tmp_path, monkeypatch
) -> None:
    forward = SocialFusion.forward

    def broken(self, batch):
        losses = forward(self, batch)
        return losses * torch.where(torch.arange(len(losses)) == 1, torch.nan, 1.0)

    monkeypatch.setattr(SocialFusion, "forward", broken)
    with pytest.raises(DataError, match=r"step 0 the loss of scenes-looking/looking, .*bad-batch"):
        train()
    bad = json.loads((run_folder(tmp_path, "run") / "bad-batch.json").read_text())
    assert [one["question"] for one in bad["batches"]] == [LOOKING, GAZE]
    assert [row["loss"] == "nan" for row in bad["batches"][0]["rows"]] == [
        False,
        True,
        False,
        False,
    ]
    assert all(row["id"].startswith("train-") for row in bad["batches"][1]["rows"])
    assert not list(run_folder(tmp_path, "run").glob("checkpoint-*"))


@pytest.mark.slow
def test_an_aggregator_of_gradients(train, tmp_path) -> None:
    pytest.importorskip("torchjd")
    train("plain", steps=3, dtype="float32")
    train("mean", steps=3, aggregator="Mean")
    plain, mean = (weights(run_folder(tmp_path, name)) for name in ("plain", "mean"))
    for name, one in plain.items():
        torch.testing.assert_close(mean[name], one, rtol=1e-3, atol=1e-4)


def test_an_aggregator_that_there_is_not_is_refused() -> None:
    pytest.importorskip("torchjd")
    for name in ("NoSuch", "Aggregator", "PCGradWeighting"):
        with pytest.raises(ConfigError, match="UPGrad"):
            aggregator_of(name)
    assert aggregator_of("Mean")(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist() == [2, 3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps of at least 1"),
        ({"learning_rate": 0.0}, "learning_rate above 0"),
        ({"warmup": 1.0}, "below 1 as warmup"),
        ({"patience": 2}, "--eval-every"),
        ({"augment": True}, "--online"),
        ({"aggregator": "UPGrad", "mixing": "temperature"}, "--mixing equal"),
        ({"temperature": -1.0}, "temperature above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(train, changes, words) -> None:
    with pytest.raises(ConfigError, match=words):
        train(**changes)
