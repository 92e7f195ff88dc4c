"""Gradient conflict of a cached pair, from real encoders and pictures to the record."""

import logging
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from conflict_worlds import drawn, drawn_task, extracted, small_encoder, still_gaze_and_clip

from degradation.axes import SIDES
from degradation.encoders.registry import load_encoder
from degradation.errors import ConfigError, DataError, PairingError, SdiagError, WeightsError
from degradation.protocol import Protocol
from probes.conflict import heads as heads_file
from probes.conflict import models as models_file
from probes.conflict.heads import fitted_rows
from probes.conflict.measure import measure
from probes.conflict.models import adam_scale, encoder_models
from probes.conflict.numbers import recompute
from probes.conflict.objectives import Passes
from probes.conflict.products import read_products
from probes.conflict.records import RECORD, check_same_batches, read_conflict
from probes.conflict.run import conflict_pair
from probes.conflict.study import Settings, open_study
from probes.problems import Features
from probes.record_files import write_record
from probes.run import probe_pair
from probes.runs import read_run

QUICK = Settings(batch_size=4, batches=5, draws=50)
LABELS = ("still/tone", "still/half", "gazing/gaze", "clip/tone", "clip/half")


@pytest.fixture(scope="module", autouse=True)
def small_encoders():
    """Random towers in place of the pair `tiny`, and few strengths: a hundred times as quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heads_file, "STRENGTHS", (0.01, 1.0))
        patch.setattr(models_file, "load_encoder", small_encoder)
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return extracted(tmp_path_factory.mktemp("cache"), still_gaze_and_clip())


@pytest.fixture(scope="module")
def record(root, tmp_path_factory):
    """The record of a run with labels swapped as well, and the folder that it lies in."""
    results = tmp_path_factory.mktemp("results")
    made = run(root, results, swapped=True)
    return made, results / "tiny"


def run(root, results, tasks=None, **changes):
    return conflict_pair(
        root, tasks or still_gaze_and_clip(), "tiny", results=results,
        settings=replace(QUICK, **changes), progress=False,
    )  # fmt: skip


def models(root, tmp_path, tasks=None, **changes):
    """A study, of one task with two questions unless others are named, and its models."""
    study = open_study(root, tasks or [drawn_task("still")], "tiny", replace(QUICK, **changes))
    return study, encoder_models(study, results=tmp_path)


def test_the_record_is_read_as_written_and_names_every_definition(record):
    made, folder = record
    assert read_conflict(folder) == made
    assert tuple(one.label for one in made.questions) == LABELS
    assert [(side.name, side.labels) for side in made.sides] == [
        ("pre", "own"), ("pre", "swapped"), ("post", "own"), ("post", "swapped"),
    ]  # fmt: skip
    assert (made.batches, made.batch_size, made.split) == (5, 4, "test")
    for side in made.sides:
        words = (
            "batch=4",
            "batches=5",
            "loss=mean",
            "step=final",
            "seed=0",
            "gcd=1-cos",
            "block=2",
        )
        for word in (*words, f"weights={side.digest[:12]}", f"labels={side.labels}"):
            assert word in side.signature
        assert {one.part for one in side.pairs} >= {"all", "block 0", "attention", "block 1 mlp"}
        whole, parts = side.parts[0], {one.name: one for one in side.parts}
        assert whole.parameters == sum(
            one.parameters for one in side.parts if one.block is not None and one.kind
        ) + sum(one.parameters for one in side.parts if one.name == "embedding")
        assert (parts["block 1"].block, parts["block 1"].kind) == (1, "")
        assert (parts["mlp"].block, parts["mlp"].kind) == (None, "mlp")
    assert {one.before for one in made.changes} == {"pre"}
    assert {one.labels for one in made.changes} == {"own", "swapped"}


def test_every_number_follows_from_the_scalar_products(record):
    made, folder = record
    products = {
        (side.name, side.labels): read_products(folder / side.products) for side in made.sides
    }
    blank = made.model_copy(
        update={
            "changes": (),
            "sides": tuple(
                side.model_copy(update=dict.fromkeys(("tasks", "pairs", "sizes", "parts"), ()))
                for side in made.sides
            ),
        }
    )
    assert recompute(blank, products) == made
    with h5py.File(folder / made.sides[0].products) as file:  # plain HDF5
        assert file["losses"].shape == (5, 5)


def test_records_of_other_batches_are_not_compared(record):
    made, _ = record
    check_same_batches(made, made)
    for changed, words in (
        ({"batches": 6}, "found 5 of 4 rows in tiny and 6 of 4"),
        ({"questions": made.questions[1:]}, "batches of still/tone"),
        ({"questions": (made.questions[0].model_copy(update={"rows_digest": "other"}),
                        *made.questions[1:])}, "batches of still/tone"),
    ):  # fmt: skip
        with pytest.raises(PairingError, match=words):
            check_same_batches(made, made.model_copy(update=changed))


def test_losses_are_those_of_the_probe_on_the_rows_of_the_batches(root, record, tmp_path):
    made, _ = record
    study, _ = models(root, tmp_path, still_gaze_and_clip())
    for side in SIDES:
        heads = {one.label: one for one in made.side(side).heads}
        for asked in study.tasks:
            for label, question in asked.questions.items():
                features = asked.table.pooled(side, 2, asked.table.spec.regions)
                fit = question.problem(Features(features)).fit(
                    fitted_rows(question.plan)[0], [heads[label].strength]
                )
                rows = study.rows[label].ravel()
                own = fit.scores(rows)[0]
                if label == "gazing/gaze":
                    expected = -(question.targets[rows] * np.log(own)).sum(axis=1).mean()
                else:
                    expected = -np.log(own[np.arange(len(rows)), question.labels[rows]]).mean()
                assert made.side(side).losses[label].value == pytest.approx(expected, abs=1e-4)
                assert heads[label].drift < 1e-3  # the same features as in the cache


def test_both_sides_are_shown_the_same_batches_and_pictures_are_read_once(root, tmp_path):
    study, made = models(root, tmp_path, still_gaze_and_clip()[::2])
    for model in made:
        for objective in model.objectives:
            for m in range(2):
                list(objective.losses(m))
    assert study.pictures.opened == sum(
        len(set(np.concatenate([study.rows[label][:2].ravel() for label in asked.questions])))
        for asked in study.tasks
    )
    again, _ = models(root, tmp_path, still_gaze_and_clip()[::2])
    assert again.cards() == study.cards()
    other, _ = models(root, tmp_path, still_gaze_and_clip()[::2], seed=1)
    assert not {one.rows_digest for one in other.cards()} & {
        one.rows_digest for one in study.cards()
    }


def test_what_does_not_fit_into_memory_is_read_again(root, tmp_path):
    study, made = models(root, tmp_path)
    study.pictures.room = 0
    objective = next(made).objectives[0]
    one, two = (next(objective.losses(0)).detach() for _ in range(2))
    assert torch.equal(one, two)
    assert study.pictures.opened >= 12


def test_micro_batches_sum_to_the_batch(root, tmp_path):
    whole, parts = (
        next(models(root, tmp_path, passes=Passes(micro_batch=size))[1]) for size in (None, 3)
    )
    assert [len(list(one.objectives[0].losses(0))) for one in (whole, parts)] == [1, 2]
    one, two = (
        measure(model.objectives, model.parameters, batches=2, seed=0) for model in (whole, parts)
    )
    np.testing.assert_allclose(one.losses, two.losses, rtol=1e-5)
    scale = np.abs(one.same).max(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(one.same / scale, two.same / scale, atol=1e-4)


def test_bfloat16_passes_agree_within_their_precision(root, tmp_path):
    wide, narrow = (
        next(models(root, tmp_path, passes=Passes(dtype=dtype))[1])
        for dtype in (torch.float32, torch.bfloat16)
    )
    one, two = (
        measure(model.objectives, model.parameters, batches=2, seed=0) for model in (wide, narrow)
    )
    assert all(own.dtype == torch.float32 for own in narrow.parameters.values())
    np.testing.assert_allclose(two.losses, one.losses, rtol=0.2, atol=0.05)
    assert max(head.drift for head in narrow.heads()) > max(head.drift for head in wide.heads())


@pytest.mark.parametrize("pool", ["max", pytest.param("grid:2x2", marks=pytest.mark.slow)])
def test_other_poolings_give_the_features_of_the_cache(tmp_path, pool):
    tasks = [drawn_task("clip", frames=2, n=24)]
    root = extracted(tmp_path / "cache", tasks, protocol=Protocol(pool=pool))
    model = next(models(root, tmp_path, tasks)[1])
    for objective in model.objectives:
        list(objective.losses(0))
    assert max(head.drift for head in model.heads()) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["tiny", "rotation", "folded"])
def test_the_encoders_that_ship_give_the_features_of_the_cache(tmp_path, monkeypatch, pair):
    monkeypatch.setattr(models_file, "load_encoder", load_encoder)
    monkeypatch.setattr("conflict_worlds.SIDE", 64)
    tasks = still_gaze_and_clip()
    root = extracted(tmp_path / "cache", tasks, pair=pair, load=load_encoder)
    made = conflict_pair(
        root, tasks, pair, results=tmp_path, settings=replace(QUICK, batches=4), progress=False
    )
    for side in made.sides:
        assert max(head.drift for head in side.heads) < 1e-2
        assert side.parts[0].parameters > 600_000


@pytest.mark.slow
def test_strengths_come_from_the_run_record_of_the_same_rows_and_weights(root, tmp_path):
    probe_pair(root, "still", "tiny", results=tmp_path, draws=100, curve=False, refits=0)
    _, made = models(root, tmp_path)
    assert [one.strength_from for one in next(made).heads()] == ["run record"] * 2
    path = tmp_path / "tiny" / "still" / "record.json"
    record = read_run(path.parent)
    train = record.splits["train"].model_copy(update={"rows_digest": "of other rows"})
    write_record(path, record.model_copy(update={"splits": record.splits | {"train": train}}))
    assert next(models(root, tmp_path)[1]).heads()[0].strength_from.startswith("clustered")


def test_blocks_alone_and_a_shallower_declared_block(root, tmp_path):
    _, made = models(root, tmp_path, parameters="blocks:1,2")
    model = next(made)
    assert {name.split(".")[1] for name in model.parameters} == {"1", "2"}
    tasks = still_gaze_and_clip()[:1]
    shallow = extracted(tmp_path / "cache", tasks, blocks=(0, 1))
    model = next(models(shallow, tmp_path, tasks)[1])
    assert not [name for name in model.parameters if name.startswith("blocks.2")]
    assert "patch_embed.weight" in model.parameters
    with pytest.raises(ConfigError, match="no loss depends on block 2"):
        next(models(shallow, tmp_path, tasks, parameters="blocks:2")[1])


def test_adams_second_moment_is_that_of_other_batches(root, tmp_path):
    study, made = models(root, tmp_path, adam=True, batches=4)
    for asked in study.tasks:
        for label in asked.questions:
            used, held = study.rows[label].ravel(), study.spare[label].ravel()
            clusters = asked.table.clusters
            assert not set(clusters[used]) & set(clusters[held])
    model = next(made)
    scale = adam_scale(model.spare, model.parameters, batches=1)
    name = "blocks.1.mlp.fc1.bias"
    grads = [
        torch.autograd.grad(next(one.losses(0)), model.parameters[name])[0] for one in model.spare
    ]
    expected = torch.stack(grads).square().mean(0).sqrt() + 1e-8
    torch.testing.assert_close(scale[name], expected)
    record = run(root, tmp_path, [drawn_task("still")], adam=True, batches=4)
    assert record.preconditioner.startswith("Adam")
    assert record.preconditioner in record.sides[0].signature


def test_swapped_labels_leave_the_head_with_nothing_to_read(record):
    made, _ = record
    for side in SIDES:
        own, swapped = (made.side(side, labels) for labels in ("own", "swapped"))
        assert [one.strength for one in own.heads] == [one.strength for one in swapped.heads]
        assert own.losses["still/tone"].value < swapped.losses["still/tone"].value


def test_without_splits_batches_come_from_the_fold_that_the_head_has_not_seen(tmp_path):
    tasks = [drawn_task("still", n=120, splits=("all",))]
    root = extracted(tmp_path / "cache", tasks)
    study, _ = models(root, tmp_path, tasks, batch_size=2, batches=3)
    (asked,) = study.tasks
    for label, question in asked.questions.items():
        fitted, _, _ = fitted_rows(question.plan)
        assert not set(asked.table.clusters[fitted]) & set(
            asked.table.clusters[study.rows[label].ravel()]
        )


def test_batches_of_fitted_rows_come_with_a_warning(root, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        models(root, tmp_path, split="train")
    assert "heads are fitted on rows of train" in caplog.text


def test_fewer_batches_than_asked_for_come_with_a_warning(root, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        study, _ = models(root, tmp_path, batches=30)
    assert study.batches < 30
    assert "instead of 30" in caplog.text


WRONG = {
    "one question": (
        {},
        lambda: [drawn_task("gazing", gaze=True)], ConfigError, "two questions or more"
    ),
    "too few clusters": ({"batch_size": 20}, None, DataError, r"clip/\w+: expected rows for two"),
    "none to spare": ({"batch_size": 15, "adam": True}, None, DataError, "three batches of 15"),
    "connector": ({"parameters": "connector"}, None, ConfigError, "bare encoder"),
    "unknown block": ({"parameters": "blocks:7"}, None, ConfigError, "blocks 0 to 2, but block 7"),
    "no block": ({"parameters": "blocks:last"}, None, ConfigError, "encoder or blocks:1,2"),
    "unknown split": ({"split": "val"}, None, ConfigError, "splits train, test of still, not val"),
    "unknown device": ({"passes": Passes(device="abacus")}, None, ConfigError, "abacus"),
    "not cached": ({}, lambda: [drawn_task("other")], SdiagError, "no features of the pair"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_measured_is_refused(root, tmp_path, case):
    changes, tasks, error, words = WRONG[case]
    with pytest.raises(error, match=words):
        run(root, tmp_path, tasks and tasks(), **changes)
    assert not (tmp_path / "tiny" / RECORD).exists()


def test_pictures_that_have_changed_or_gone_since_extraction_are_refused(root, tmp_path):
    def altered(reference):
        return drawn(f"other/{reference}")

    def gone(reference):
        raise DataError(f"There is no {reference}.")

    for open, error, words in (
        (altered, PairingError, "still: the pictures of row .* are not those"),
        (gone, DataError, "cannot any more"),
    ):
        tasks = [drawn_task("still", open=open)]
        with pytest.raises(error, match=words):
            run(root, tmp_path, tasks)


def test_other_weights_than_those_of_the_cache_are_refused(root, tmp_path, monkeypatch):
    swapped = {"tiny:pre": "tiny:post", "tiny:post": "tiny:pre"}
    monkeypatch.setattr(models_file, "load_encoder", lambda name, **_: small_encoder(swapped[name]))
    with pytest.raises(WeightsError, match="other weights now"):
        run(root, tmp_path, [drawn_task("still")])


@pytest.mark.slow
def test_tasks_of_other_protocols_and_poolings_without_gradient_are_refused(tmp_path):
    still, _, clip = still_gaze_and_clip()
    root = extracted(tmp_path / "cache", [still])
    extracted(root, [clip], protocol=Protocol(normalisation="shared:half"))
    with pytest.raises(PairingError, match="normalisation"):
        run(root, tmp_path, [still, clip])
    gem = extracted(tmp_path / "gem", [still], protocol=Protocol(pool="gem"))
    with pytest.raises(ConfigError, match="pooled by gem"):
        run(gem, tmp_path, [still])


def test_losses_that_are_not_finite_are_refused(root, tmp_path):
    _, made = models(root, tmp_path)
    model = next(made)
    with torch.no_grad():
        next(iter(model.parameters.values())).fill_(torch.nan)
    with pytest.raises(DataError, match="still/tone on batch 0 is nan"):
        measure(model.objectives, model.parameters, batches=2, seed=0)
