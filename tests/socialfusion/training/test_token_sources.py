"""Tokens of chosen rows, from memory and from disk, and the rows behind questions."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from degradation.errors import CacheError, ConfigError, DataError
from probes.table import open_pair
from socialfusion.questions import questions_of
from socialfusion.samples import divide, frame_boxes, question_samples
from socialfusion.sources import find_side, open_tasks, token_scale
from socialfusion.tokens import CachedTokens

TASKS = ("scenes-looking", "scenes-gaze")


def opened(cache: Path, encoder: str = "tiny:pre", memory: float = 1e9, **options):
    return open_tasks(cache, encoder, TASKS, block=None, memory=memory, **options)


def test_rows_come_in_their_order_from_memory_and_from_disk(cache) -> None:
    (held, _), (disk, _) = opened(cache), opened(cache, memory=0.0)
    assert held.tokens.held is not None
    assert disk.tokens.held is None
    table = held.table
    expected = np.concatenate(
        [table.features[split]["pre"].tokens(1) for split in table.features]
    ).astype(np.float16)
    rows = np.array([39, 0, 21, 7, 7, 20, 19])
    for one in (held, disk):
        seen = one.tokens.see(rows, {}, table.points[rows])
        assert seen.tokens.dtype == torch.float16
        assert np.array_equal(seen.tokens.numpy(), expected[rows])
    assert held.tokens.nbytes == expected.nbytes


def test_memory_is_shared_out_in_order(cache) -> None:
    first = opened(cache)[0].tokens.nbytes
    looking, gaze = opened(cache, memory=first + 1.0)
    assert isinstance(looking.tokens, CachedTokens)
    assert looking.tokens.held is not None
    assert gaze.tokens.held is None


def test_sides_are_found_by_pair_and_by_name(cache) -> None:
    assert find_side(cache, "tiny:post", "scenes-gaze") == ("tiny", "post")
    pre, post = (opened(cache, f"tiny:{side}")[0] for side in ("pre", "post"))
    assert pre.features.encoder.digest != post.features.encoder.digest
    with pytest.raises(CacheError, match=r"clip-l-336.*tiny:post, tiny:pre"):
        find_side(cache, "clip-l-336", "scenes-gaze")
    with pytest.raises(CacheError, match="sdiag extract --task pisc-domain"):
        find_side(cache, "tiny:pre", "pisc-domain")


def test_what_cannot_be_opened_is_refused(cache, tmp_path) -> None:
    with pytest.raises(ConfigError, match="different tasks"):
        open_tasks(cache, "tiny:pre", ("scenes-gaze",) * 2, block=None, memory=0.0)
    with pytest.raises(CacheError, match=r"block 0.*those of 1.*--token-block 0"):
        open_tasks(cache, "tiny:pre", TASKS, block=0, memory=0.0)
    shutil.copytree(cache, tmp_path / "harmed")
    task = opened(tmp_path / "harmed", memory=0.0)[1]
    next(iter(task.features.folder.glob("shard-00000-*"))).write_bytes(b"no shard")
    with pytest.raises(CacheError, match="missing or damaged"):
        task.tokens.see(np.array([0]), {}, task.table.points[[0]])


def test_the_scale_is_that_of_the_tokens(cache) -> None:
    tasks = opened(cache)
    squares = [
        float(np.mean(one.tokens.held[one.table.splits == "train"].astype(float) ** 2))
        for one in tasks
    ]
    assert token_scale(tasks) == pytest.approx(np.sqrt(np.mean(squares)))


def test_a_batch_holds_what_its_rows_say(cache) -> None:
    looking, gaze = opened(cache)
    (question,) = questions_of(looking.table.spec, 2)
    samples = question_samples(looking, question)
    assert [len(one) for one in (samples.train, samples.validation, samples.test)] == [20, 8, 12]
    rows = samples.train[[3, 1]]
    batch = samples.batch(rows)
    assert batch.tokens.shape == (2, 8, 6)
    assert batch.labels.tolist() == looking.table.labels["looking"][rows].tolist()
    assert batch.points is None
    first = looking.boxes["face"][rows[0], 1]
    inside = batch.masks[0, 4:, 0].reshape(2, 2)
    for y in range(2):
        for x in range(2):
            reached = first[0] < (x + 1) / 2 and first[2] > x / 2
            reached = reached and first[1] < (y + 1) / 2 and first[3] > y / 2
            assert bool(inside[y, x]) == bool(reached)
    (where,) = questions_of(gaze.table.spec, 1)
    batch = question_samples(gaze, where).batch(np.array([0, 5]))
    assert batch.labels is None
    assert torch.equal(batch.points, torch.from_numpy(gaze.table.points[[0, 5]]))


def test_rows_have_a_digest(cache) -> None:
    looking, _ = opened(cache)
    (question,) = questions_of(looking.table.spec, 2)
    samples = question_samples(looking, question)
    assert samples.rows_digest() == question_samples(looking, question).rows_digest()


@pytest.mark.parametrize(
    ("splits", "sizes", "words"),
    [
        ({"train": 40, "val": 10, "test": 10}, (40, 10, 10), ("train", "val", "test")),
        ({"train": 40, "test": 10}, (36, 4, 10), ("90 % of train", "10 % of train", "test")),
        ({"all": 40}, (28, 4, 8), ("90 % of 80 % of all", "10 % of 80 % of all", "20 % of all")),
    ],
)
def test_rows_are_divided_by_clusters(splits, sizes, words) -> None:
    names = np.repeat(list(splits), list(splits.values())).astype(object)
    clusters = np.array([f"{name}-{i // 2}" for i, name in enumerate(names)], dtype=object)
    parts, where = divide(names, np.ones(len(names), dtype=bool), clusters)
    assert tuple(map(len, parts)) == sizes
    assert where == words
    held = [set(clusters[part]) for part in parts]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    order = np.random.default_rng(0).permutation(len(names))
    again, _ = divide(names[order], np.ones(len(names), dtype=bool), clusters[order])
    assert [set(clusters[order][part]) for part in again] == held


def test_a_task_without_rows_and_a_box_without_area_are_refused(cache) -> None:
    table, entry = open_pair(cache, "scenes-looking", "tiny")
    task = opened(cache)[0]
    (question,) = questions_of(table.spec, 2)
    table.labels["looking"][table.splits == "train"] = -1
    bare = type(task)(table, entry, "pre", 1, task.boxes, task.tokens)
    with pytest.raises(DataError, match="train scenes-looking/looking on, found none"):
        question_samples(bare, question)
    table.labels["looking"][table.splits == "train"] = 0
    table.clusters[table.splits == "test"] = "one"
    with pytest.raises(DataError, match="at least two clusters to test"):
        question_samples(bare, question)
    rows = table.features["val"]["pre"].rows
    rows.boxes["face"][3, 1] = [0.2, 0.5, 0.2, 0.9]
    with pytest.raises(DataError, match=r"face box of row 'val-3'.*1 rows"):
        frame_boxes(table)
