"""The rows of a cache as pictures of a Qwen2-VL, and whole runs of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from degradation.cache import Key, PairEntry, PixelProtocol, Shard, open_store, write_pair
from degradation.encoders.encoder import EncoderInfo
from degradation.errors import CacheError, ConfigError, InterruptedRun
from degradation.tasks.registry import get_task
from degradation.tasks.task import Rows
from socialfusion.records import FINAL, FusionSettings, run_folder
from socialfusion.run import Machine, train_socialfusion
from socialfusion.samples import question_samples
from socialfusion.vlm.samples import open_rows, with_pictures
from socialfusion.vlm.saving import load_vlm

TASKS = ("scenes-expression", "scenes-looking", "scenes-gaze")
COUNTS = {"train": 4, "val": 2, "test": 4}


def made_up(spec, split, n):
    """Rows whose pictures can be rendered; boxes, labels and points are made up."""
    rng = np.random.default_rng(n)
    framing, frames = spec.name.partition("-")[2], 3 if spec.kind == "track" else 1
    low = rng.uniform(0, 0.5, (n, frames, 2))
    boxes = np.concatenate([low, low + 0.3], axis=2).astype(np.float32)
    boxes[0, 0] = np.nan if frames > 1 else boxes[0, 0]
    names = [[f"{framing}/{split}/{i}/{frame}" for frame in range(frames)] for i in range(n)]
    return Rows(
        ids=np.array([f"{split}-{i}" for i in range(n)], dtype=object),
        pictures=np.array(names, dtype=object),
        boxes=dict.fromkeys(spec.roles, boxes),
        labels={name: np.arange(n) % len(known) for name, known in spec.label_sets.items()},
        points=rng.uniform(size=(n, int(spec.kind == "gaze"), 2)).astype(np.float32),
        clusters=np.array([f"{split}-{i // 2}" for i in range(n)], dtype=object),
        sizes=np.full((n, 2), 64),
    )


def write(root, task, split, n):
    """Features of a few rows, which name them; what they hold is not looked at."""
    rows = made_up(task.spec, split, n)
    sides = {}
    for side in ("pre", "post"):
        key = Key(
            task=task.spec, split=split, rows_digest=rows.digest(), encoder=f"tiny:{side}",
            digest=f"digest of {side}", protocol=PixelProtocol(size=64), blocks=(1,),
            regions=("image", *task.spec.roles), token_blocks=(), storage="float16",
            compute="float32", shard_rows=n,
        )  # fmt: skip
        pooled = {f"pooled/{name}": np.zeros((n, 1, 3), np.float32) for name in key.regions}
        with open_store(root, key) as store:
            store.write(Shard(0, np.arange(n), np.zeros((n, 16), np.uint8), pooled))
            info = EncoderInfo(key.encoder, key.digest, 2, 3, 64, 8, 0, (0.0,) * 3, (1.0,) * 3)
            store.finish(rows, info, (8, 8))
        sides[side] = key.address
    write_pair(
        root,
        PairEntry(
            pair="tiny", task=task.spec.name, split=split, pictures=None, lineage="", source="",
            block=1, protocol="paired-native-grid v1", **sides,
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    root = tmp_path_factory.mktemp("rows") / "cache"
    for name in TASKS:
        for split, n in COUNTS.items():
            write(root, get_task(name), split, n)
    return root


@pytest.mark.parametrize("name", ["scenes-expression", "scenes-looking"])
def test_rows_are_put_as_pictures_with_their_boxes(cache, config, qwen_config, questions, name):
    (task,) = open_rows(cache, "tiny:pre", [name])
    question = questions[name.partition("-")[2]]
    question = replace(question, frames=task.frames)
    samples = with_pictures(question_samples(task, question), config, qwen_config, data_root=None)
    batch = samples.batch(samples.test[[3, 0]])
    rows = made_up(get_task(name).spec, "test", COUNTS["test"])
    assert batch.boxes.shape == (2, task.frames, len(question.roles), 4)
    for k, row in enumerate((3, 0)):
        for r, role in enumerate(question.roles):
            expected = torch.from_numpy(rows.boxes[role][row])
            torch.testing.assert_close(batch.boxes[k, :, r], expected, equal_nan=True)
    labels = rows.labels[question.name]
    assert batch.labels.tolist() == [labels[3], labels[0]]
    assert batch.grids.tolist() == [[1, 8, 8]] * (2 * task.frames)  # 1024 pixels of 4 x 4
    assert batch.patches.shape == (2 * task.frames * 64, 3 * 2 * 16)
    alone = samples.batch(samples.test[[0]])
    assert torch.equal(batch.patches[-len(alone.patches) :], alone.patches)


def test_rows_that_are_not_cached_are_refused(cache):
    with pytest.raises(CacheError, match="sdiag extract --task scenes-gesture"):
        open_rows(cache, "tiny:pre", ["scenes-gesture"])
    with pytest.raises(ConfigError, match="different tasks"):
        open_rows(cache, "tiny:pre", ["scenes-gaze", "scenes-gaze"])


@pytest.fixture
def settings(folder):
    return FusionSettings(
        encoder="tiny:pre",
        tasks=("scenes-expression", "scenes-gaze"),
        language_model=str(folder),
        vlm=True,
        steps=2,
        batch_size=2,
        lora_rank=2,
        learning_rate=1e-2,
        max_pixels=56 * 56,
    )


def train(cache, results, settings, name="run", **options):
    machine = Machine(quiet=True)
    return train_socialfusion(
        name, settings, cache=cache, results=results, machine=machine, **options
    )


def test_a_run_goes_from_cached_rows_to_a_record(cache, settings, tmp_path):
    record = train(cache, tmp_path, settings)
    assert set(record.samples_seen) == {one.label for one in record.questions}
    scored = {(one.question, one.metric) for one in record.scores}
    assert {
        ("scenes-expression/expression", "accuracy"),
        ("scenes-gaze/gaze", "auc_score"),
    } < scored
    assert record.frozen.language_model_before == record.frozen.language_model_after
    assert set(record.trained.parameters) == {"lora"}
    assert record.encoder.name == f"{settings.language_model} (its own tower)"
    assert load_vlm(run_folder(tmp_path, "run") / FINAL).config.lora_rank == 2


def test_a_resumed_run_is_the_same_with_the_tower_in_it(cache, settings, tmp_path):
    settings = settings.model_copy(update={"train_vision": True, "tasks": ("scenes-gaze",)})
    whole = train(cache, tmp_path, settings)
    with pytest.raises(InterruptedRun):
        train(cache, tmp_path, settings, "parts", asked=lambda: True)
    parts = train(cache, tmp_path, settings, "parts", resume=True)
    assert parts.trained == whole.trained
    assert parts.scores == whole.scores
    assert parts.frozen == whole.frozen


def test_settings_that_do_not_go_together_are_refused(cache, settings, tmp_path):
    with pytest.raises(ConfigError, match="with --vlm"):
        train(cache, tmp_path, settings.model_copy(update={"block": 1}))
    with pytest.raises(ConfigError, match="for --train-vision"):
        train(cache, tmp_path, settings.model_copy(update={"vlm": False, "train_vision": True}))
    with pytest.raises(ConfigError, match="max_pixels"):
        train(cache, tmp_path, settings.model_copy(update={"max_pixels": 0}))
