"""Miniatures of AffectNet and HaGRIDv2: boxes lie where the pictures show, nothing is chance."""

import dataclasses
import filecmp
from pathlib import Path

import numpy as np
import pytest

from degradation.scenes.export import affectnet, hagrid
from degradation.scenes.export.photograph import SHAPES, photograph
from degradation.scenes.export.registry import export
from degradation.scenes.looks import balanced
from degradation.scenes.records import EXPRESSIONS
from degradation.scenes.world import compose
from degradation.tasks.hagrid_files import TARGETS, TWO_HANDED


@pytest.mark.parametrize("shape", SHAPES)
def test_the_scene_lies_in_the_photograph_where_it_says(shape):
    scene = compose("gesture", "train", 0)
    taken = photograph(scene, side=96, shape=shape, rng=np.random.default_rng(0))
    width, height = taken.image.size
    assert min(width, height) == 96
    assert width / height == pytest.approx(shape, rel=0.02)
    box = scene.boxes()["hand"]
    x1, y1, x2, y2 = map(round, taken.pixels(box))
    square = photograph(scene, side=96, shape=1.0, rng=np.random.default_rng(0))
    own = tuple(map(round, square.pixels(box)))
    np.testing.assert_array_equal(
        np.asarray(taken.image.crop((x1, y1, x2, y2))), np.asarray(square.image.crop(own))
    )


@pytest.mark.parametrize("name", ["affectnet", "hagrid"])
def test_the_same_seed_writes_the_same_bytes(tmp_path, name):
    for number in (1, 2):
        export(name, tmp_path / str(number), scale=0.01)
    first, second = (
        sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*") if p.is_file())
        for n in ("1", "2")
    )
    assert first == second
    _, differ, failed = filecmp.cmpfiles(
        tmp_path / "1", tmp_path / "2", list(map(str, first)), shallow=False
    )
    assert (differ, failed) == ([], [])


def test_expressions_of_the_world_are_found_by_number():
    for index in range(12):
        shown = compose("expression", "test", index, seed=3).expression
        assert balanced(EXPRESSIONS, index, 3, "expression", "test") == shown


def test_weak_expressions_are_weaker_than_any_of_the_world():
    weakest = min(
        compose("expression", "train", index).persons[0].face.strength for index in range(200)
    )
    assert max(affectnet._WEAK.values()) < weakest


def test_every_target_has_a_pose_of_its_own():
    assert hagrid._TARGETS == TARGETS
    assert set(hagrid._TWO_HANDED) == TWO_HANDED
    poses = hagrid._poses()
    assert set(poses) == set(TARGETS)
    assert len(set(poses.values())) == len(TARGETS)
    assert {poses[name] for name in ("palm", "fist", "ok")} == {
        ("palm", 0.0), ("fist", 0.0), ("ok", 0.0),
    }  # fmt: skip


def test_the_second_hand_mirrors_the_first():
    scene = compose("gesture", "train", 4)
    image, made = hagrid._taken(scene, "xsign", ("fist", 0.0), np.random.default_rng(1))
    width, height = image.size
    boxes = np.array(made["bboxes"]) * [width, height, width, height]
    first, second = (image.crop((x, y, x + w, y + h)) for x, y, w, h in boxes.round())
    np.testing.assert_array_equal(np.asarray(second), np.asarray(first)[:, ::-1])
    (united,) = np.array(made["united_bbox"]) * [width, height, width, height]
    assert united[0] == pytest.approx(boxes[:, 0].min())
    assert united[2] == pytest.approx((boxes[:, 0] + boxes[:, 2]).max() - united[0])


def test_faces_are_where_the_lists_say(tmp_path: Path):
    export("affectnet", tmp_path / "x", scale=0.05)
    from degradation.tasks import get_task

    task = get_task("affectnet", data_root=tmp_path / "x")
    rows = task.read("test")
    for row in range(len(rows)):
        width, height = task.open(rows.pictures[row, 0]).size
        x1, y1, x2, y2 = rows.boxes["face"][row, 0] * [width, height, width, height]
        # A face of the world is 2.2 high to 2 wide, and so is its box, unless it is cut off.
        if y1 > 1 and y2 < height - 1:
            assert (y2 - y1) / (x2 - x1) == pytest.approx(1.1, abs=0.04)


def test_strength_changes_the_face_alone():
    scene = compose("expression", "train", 0)
    weak = affectnet._with_strength(scene, 0.4)
    assert weak.persons[0].face.strength == 0.4
    face = dataclasses.replace(weak.persons[0].face, strength=scene.persons[0].face.strength)
    assert dataclasses.replace(weak.persons[0], face=face) == scene.persons[0]
