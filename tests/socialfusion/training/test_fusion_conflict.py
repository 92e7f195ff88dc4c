"""Gradient conflict of a SocialFusion run: gradients by hand, several steps, Adam, refusals."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from degradation.errors import ConfigError, DataError, PairingError, WeightsError
from probes.conflict.batches import Candidates, deal
from probes.conflict.leaves import leaf_of
from probes.conflict.numbers import recompute
from probes.conflict.products import read_products
from probes.conflict.records import ConflictRecord, check_same_batches, read_conflict
from probes.record_files import write_record
from sdiag.cli import app
from socialfusion.assemble import gathered
from socialfusion.conflict import CheckpointSettings, conflict_run
from socialfusion.model import SocialFusion
from socialfusion.records import FusionSettings, read_fusion
from socialfusion.run import Machine, train_socialfusion
from socialfusion.sources import open_tasks

QUICK = CheckpointSettings(batch_size=4, batches=3, draws=20, seed=1)
LABELS = ("scenes-looking/looking", "scenes-gaze/gaze")
TRAINED = FusionSettings(
    encoder="tiny:pre", tasks=("scenes-looking", "scenes-gaze"), language_model="tiny", steps=4,
    batch_size=4, learning_rate=5e-3, connector_width=12, lora_rank=2, lora_dropout=0.3,
)  # fmt: skip


@pytest.fixture(scope="module")
def results(cache, tmp_path_factory) -> Path:
    """A run with checkpoints after two and four steps, which is its last; no test changes it."""
    root = tmp_path_factory.mktemp("conflict")
    train_socialfusion(
        "run", TRAINED, cache=cache, results=root, machine=Machine(quiet=True, save_every=2)
    )
    return root


@pytest.fixture
def folder(results, tmp_path) -> Path:
    """A copy of the run."""
    return shutil.copytree(results / "socialfusion" / "run", tmp_path / "run")


@pytest.fixture(scope="module")
def record(cache, results) -> ConflictRecord:
    return measured(results / "socialfusion" / "run", cache)


def measured(folder, cache, *, steps=(), tasks=(), **changes) -> ConflictRecord:
    return conflict_run(
        folder, replace(QUICK, **changes), cache=cache, steps=steps, tasks=tasks, progress=False
    )


def by_hand(folder, cache, step):
    """Gradients of whole batches by question and parameter, each (m, p), and rows of the batches.

    The batches are dealt anew; everything else is `backward` on the loaded model.
    """
    opened = open_tasks(cache, "tiny:pre", TRAINED.tasks, block=None, memory=0.0)
    questions = gathered(opened, TRAINED)
    candidates = [
        Candidates(label, one.task.name, one.train, one.task.table.clusters[one.train])
        for label, one in questions.items()
    ]
    rows = deal(candidates, batches=3, batch_size=4, seed=1).rows
    model = SocialFusion.from_pretrained(folder / f"checkpoint-{step:06d}")
    found = {}
    for label, one in questions.items():
        for m in range(3):
            model.zero_grad(set_to_none=True)
            model(one.batch(rows[label][m])).mean().backward()
            for name, parameter in model.trained_parameters().items():
                grad = np.zeros(parameter.numel())
                if parameter.grad is not None:
                    grad = parameter.grad.double().flatten().numpy()
                found.setdefault((label, name), []).append(grad)
    return {key: np.stack(own) for key, own in found.items()}, rows, questions


def leaf_products(gradients, leaf, scale):
    """<g_im, g_jm> over the parameters of a leaf, shape (m, T, T)."""
    total = 0
    for name in {name for _, name in gradients if leaf_of(name) == leaf}:
        own = np.stack([gradients[label, name] for label in LABELS], axis=1)
        total = total + np.einsum("mip,p,mjp->mij", own, scale(name, own.shape[2]), own)
    return total


def unscaled(name, size):
    return np.ones(size)


def test_products_are_those_of_gradients_taken_by_hand(record, results, cache):
    folder = results / "socialfusion" / "run"
    gradients, rows, questions = by_hand(folder, cache, 2)
    products = read_products(folder / record.sides[0].products)
    assert products.tasks == LABELS
    assert {leaf.name for leaf in products.leaves} >= {"connector", "boxes", "heatmap"}
    assert any(leaf.kind.startswith("LoRA") for leaf in products.leaves)
    for number, leaf in enumerate(products.leaves):
        expected = leaf_products(gradients, leaf, unscaled)
        size = np.abs(expected).max()
        np.testing.assert_allclose(products.same[number], expected, rtol=1e-4, atol=1e-5 * size)
    for label, one in questions.items():
        table = one.task.table
        assert all(str(i).startswith("train-") for i in table.ids[rows[label].ravel()])
        by_batch = [set(table.clusters[own]) for own in rows[label]]
        assert sum(map(len, by_batch)) == len(set.union(*by_batch))
        (card,) = (card for card in record.questions if card.label == label)
        sha = hashlib.sha256("\x00".join(table.ids[rows[label].ravel()]).encode())
        sha.update(bytes(16 * 12))  # pixels are not hashed in this cache
        assert card.rows_digest == sha.hexdigest()
        assert (card.block, card.n, card.available) == (None, 12, 20)


def test_every_saved_step_is_a_side_and_changes_are_against_the_first(record, results):
    folder = results / "socialfusion" / "run"
    assert read_conflict(folder) == record
    assert [(one.name, one.step) for one in record.sides] == [
        ("step-000002", 2),
        ("step-000004", 4),
    ]
    assert (record.pair, record.model, record.split) == (None, "socialfusion/run", "train")
    known = 0
    for change in record.changes:
        assert (change.before, change.after) == ("step-000002", "step-000004")
        first, last = (one.pair(*LABELS, change.part).cosine for one in record.sides)
        assert (change.cosine is None) == (first is None or last is None)
        if change.cosine is not None:
            known += 1
            assert change.cosine.value == pytest.approx(last.value - first.value)
    assert known
    products = {(s.name, s.labels): read_products(folder / s.products) for s in record.sides}
    assert recompute(record, products) == record
    assert record.sides[0].digest != record.sides[1].digest
    assert "step=2|parameters=all" in record.sides[0].signature
    assert {one.probe for one in record.sides[0].heads} == {"own"}


def test_the_model_that_was_tested_can_be_measured_too(record, folder, cache):
    found = measured(folder, cache, steps=("final", "2", "000002"), micro_batch=3)
    check_same_batches(record, found)
    assert [(one.name, one.step) for one in found.sides] == [("step-000002", 2), ("final", None)]
    tested, last = found.side("final"), record.side("step-000004")
    assert tested.digest == last.digest == read_fusion(folder).trained.digest
    assert tested.losses[LABELS[0]].value == pytest.approx(last.losses[LABELS[0]].value, rel=1e-5)
    assert tested.pair(*LABELS).raw == pytest.approx(last.pair(*LABELS).raw, abs=1e-5)


def test_adam_is_the_metric_of_its_own_second_moment(folder, cache):
    found = measured(folder, cache, adam=True)
    assert found.preconditioner.startswith("Adam")
    assert [one.name for one in found.sides] == ["step-000002", "step-000004"]
    gradients, _, _ = by_hand(folder, cache, 4)
    state = load_file(folder / "checkpoint-000004" / "optimizer.safetensors")

    def scale(name, size):
        square = state[f"exp_avg_sq/{name}"].double().flatten().numpy()
        return 1 / (np.sqrt(square / (1 - 0.999**4)) + 1e-8)

    products = read_products(folder / found.sides[1].products)
    assert products.preconditioned
    for number, leaf in enumerate(products.leaves):
        expected = leaf_products(gradients, leaf, scale)
        size = np.abs(expected).max()
        np.testing.assert_allclose(products.same[number], expected, rtol=1e-3, atol=1e-4 * size)


def test_one_part_of_the_model_has_the_products_of_its_leaves(record, results, folder, cache):
    found = measured(folder, cache, steps=("2",), parameters="lora")
    lora = read_products(folder / found.sides[0].products)
    whole = read_products(results / "socialfusion" / "run" / record.sides[0].products)
    for number, leaf in enumerate(lora.leaves):
        assert leaf.kind.startswith("LoRA")
        expected = whole.same[whole.leaves.index(leaf)]
        np.testing.assert_allclose(lora.same[number], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"parameters": "encoder"}, ConfigError, "which stays frozen"),
        ({"parameters": "blocks:1"}, ConfigError, "connector, lora, boxes, heatmap or all"),
        ({"parameters": "heatmap"}, ConfigError, "serve scenes-gaze/gaze of"),
        ({"steps": ("3",)}, ConfigError, "2, 4, final, found '3'"),
        ({"steps": ("final",), "adam": True}, ConfigError, "state of the optimiser"),
        ({"tasks": ("scenes-gaze",)}, ConfigError, "two questions or more"),
        ({"tasks": ("pisc",)}, ConfigError, "not on pisc"),
        ({"batch_size": 20}, DataError, "two batches of 20"),
    ],
)
def test_what_cannot_be_measured_is_one_message(results, cache, changes, error, words):
    with pytest.raises(error, match=words):
        measured(results / "socialfusion" / "run", cache, **changes)


def test_another_encoder_and_other_rows_are_refused(folder, cache):
    config = folder / "checkpoint-000002" / "config.json"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("digest of pre", "digest of another"), encoding="utf-8")
    with pytest.raises(PairingError, match="which this model was trained on"):
        measured(folder, cache)
    state = folder / "checkpoint-000004" / "state.json"
    data = json.loads(state.read_text(encoding="utf-8"))
    data["rows"][LABELS[1]] = "other"
    state.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rows of scenes-gaze/gaze that .*4 was.*others now"):
        measured(folder, cache)


def test_runs_that_are_not_whole_are_refused(folder, cache, tmp_path):
    with pytest.raises(ConfigError, match="Expected a run of SocialFusion"):
        measured(tmp_path, cache)
    shutil.copy(folder / "checkpoint-000002" / "model.safetensors", folder / "final")
    with pytest.raises(WeightsError, match="found others"):
        measured(folder, cache, steps=("final",))
    (folder / "checkpoint-000002" / "optimizer.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"state of the optimiser in .*checkpoint-000002"):
        measured(folder, cache, adam=True)
    record = read_fusion(folder)
    settings = record.settings.model_copy(update={"vlm": True})
    write_record(folder / "fusion.json", record.model_copy(update={"settings": settings}))
    with pytest.raises(ConfigError, match="Give a run of SocialFusion itself"):
        measured(folder, cache)


def test_a_run_that_has_not_ended_is_measured_at_what_it_has_saved(folder, cache):
    (folder / "fusion.json").unlink()
    shutil.rmtree(folder / "final")
    assert [one.step for one in measured(folder, cache, steps=("4",)).sides] == [4]


def call(results, cache, *arguments):
    options = ["--results", str(results), "--cache", str(cache), "--batches", "3"]
    return CliRunner().invoke(app, ["gcd", *options, "--batch-size", "4", *arguments])


def test_the_command_prints_and_writes_the_record_of_a_run(results, cache, tmp_path):
    shutil.copytree(results, tmp_path / "results")
    done = call(tmp_path / "results", cache, "--checkpoint", "run")
    assert done.exit_code == 0, done.output
    assert "socialfusion/run: 2 questions, 3 batches of 4 rows of train" in done.stdout
    assert "GCD step-000002" in done.stdout
    assert "change of GCD" in done.stdout
    run = tmp_path / "results" / "socialfusion" / "run"
    done = call(
        tmp_path, cache, "--checkpoint", str(run), "--step", "4", "--split", "test", "--json"
    )
    assert done.exit_code == 0, done.output
    (data,) = json.loads(done.stdout)
    assert (data["split"], len(data["sides"])) == ("test", 1)
    assert read_conflict(run).split == "test"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--step", "4"], "--checkpoint RUN"),
        (["--checkpoint", "run", "--model", "tiny", "--rows", "x"], "no --model and no --rows"),
        (["--checkpoint", "run", "--split", "all"], "train, val or test"),
        (["--checkpoint", "absent"], "Expected a run of SocialFusion"),
    ],
)
def test_options_that_do_not_go_together_are_refused(results, cache, arguments, words):
    done = call(results, cache, *arguments)
    assert isinstance(done.exception, ConfigError)
    assert words in str(done.exception)
