"""The scenes as tasks: rows that are complete, balanced and split by subject."""

import numpy as np
import pytest

from degradation.tasks import DEFAULT_TASKS, get_task


@pytest.mark.parametrize("name", DEFAULT_TASKS)
def test_rows_are_whole(name: str) -> None:
    task = get_task(name)
    for split in task.splits:
        rows = task.read(split)
        assert len(rows) > 200
        assert not rows.left_out
        assert set(rows.boxes) == set(task.spec.roles)
        for boxes in rows.boxes.values():
            assert (boxes[..., 2:] > boxes[..., :2]).all()
            assert boxes.min() >= 0
            assert boxes.max() <= 1
        for name_of_set, classes in task.spec.label_sets.items():
            shares = np.bincount(rows.labels[name_of_set], minlength=len(classes)) / len(rows)
            assert shares.min() > 0.25 / len(classes)


def test_the_label_is_the_scene_that_is_rendered() -> None:
    task = get_task("scenes-gesture")
    rows = task.read("val")
    from degradation.scenes.world import compose

    for number in (0, 7, 100):
        scene = compose("gesture", "val", number)
        assert task.spec.label_sets["gesture"][rows.labels["gesture"][number]] == scene.gesture
        assert task.open(rows.pictures[number, 0]).size == (128, 128)


@pytest.mark.parametrize("name", DEFAULT_TASKS)
def test_attributes_split_the_pictures_and_belong_to_what_is_rendered(name: str) -> None:
    from degradation.scenes.world import compose

    framing = name.removeprefix("scenes-")
    rows = get_task(name).read("val")
    scene = compose(framing, "val", 11, frame=2 if framing == "looking" else 0)
    assert rows.attributes["light"][11] == scene.light.name
    for attribute, column in rows.attributes.items():
        values, counts = np.unique(column[column != ""].astype(str), return_counts=True)
        assert len(values) > 1, attribute
        assert counts.min() > 0.08 * len(rows), attribute
    if "distance" in rows.attributes:  # nobody is at a distance from the viewer
        seen = np.isfinite(rows.points[:, 0, 0])
        assert ((rows.attributes["distance"] != "") == seen).all()
    if "skin" in rows.attributes:  # of the subject, who is the cluster of the portraits
        tones = {(c, s) for c, s in zip(rows.clusters, rows.attributes["skin"], strict=True)}
        assert framing not in ("expression", "gesture") or len(tones) == len(set(rows.clusters))


def test_no_subject_is_in_two_splits() -> None:
    task = get_task("scenes-expression")
    subjects = {split: set(task.read(split).clusters) for split in task.splits}
    assert not subjects["train"] & subjects["test"]
    assert not subjects["train"] & subjects["val"]
    assert len(subjects["test"]) > 100


def test_gaze_has_several_annotators_on_test_around_the_same_target() -> None:
    task = get_task("scenes-gaze")
    train, test = task.read("train").points, task.read("test").points
    assert train.shape[1] == 1
    assert test.shape[1] == 8
    seen = ~np.isnan(test[:, 0, 0])
    assert 0.7 < seen.mean() < 0.9  # the others look at the viewer
    assert np.median(test[seen].std(axis=1)) == pytest.approx(0.03, abs=0.01)


def test_gaze_pictures_have_the_sizes_that_are_said() -> None:
    task = get_task("scenes-gaze")
    rows = task.read("val")
    assert task.open(rows.pictures[0, 0]).size == tuple(rows.sizes[0]) == (128, 128)


def test_reading_twice_gives_the_same_rows() -> None:
    first, second = (get_task("scenes-looking").read("val").digest() for _ in range(2))
    assert first == second
