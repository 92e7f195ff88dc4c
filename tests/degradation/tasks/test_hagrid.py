"""HaGRIDv2: the official label rule, whose hand, every quirk, and what is refused."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from degradation.errors import ConfigError, DataError
from degradation.tasks import get_task
from degradation.tasks.hagrid_files import SPLITS, TARGETS, TWO_HANDED

LEFT = [0.1, 0.2, 0.2, 0.3]
RIGHT = [0.6, 0.1, 0.2, 0.2]
BOTH = [0.1, 0.1, 0.7, 0.4]


def reasons(rows) -> Counter:
    return Counter(left.reason for left in rows.left_out)


def entry(labels=("like",), boxes=(LEFT,), **more: Any) -> dict[str, Any]:
    return {
        "bboxes": list(boxes),
        "labels": list(labels),
        "united_bbox": None,
        "united_label": None,
        "user_id": "subject",
        "hand_landmarks": [[[0.1, 0.2]] * 21],
        "meta": {"age": [24.41], "gender": ["female"], "race": ["White"]},
        **more,
    }


class Hagrid:
    """A data root that grows; pictures are empty files, since they are only listed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.annotations = root / "hagrid_annotations"

    def add(
        self, target: str, entries: dict[str, Any], split: str = "train", folder: str | None = None
    ) -> "Hagrid":
        file = self.annotations / split / f"{target}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(entries))
        for key in entries:
            self.picture(folder or target, key)
        return self

    def picture(self, folder: str, key: str) -> None:
        file = self.root / "hagrid_dataset" / folder / f"{key}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()

    def read(self, split: str = "train"):
        return get_task("hagrid", data_root=self.root).read(split)

    def one(self, target: str, annotation: dict[str, Any]) -> tuple[str, list[float]]:
        """Label and box of a picture."""
        rows = self.add(target, {"a": annotation}).read()
        assert not rows.left_out, rows.left_out
        label = TARGETS[rows.labels["gesture"][0]]
        return label, rows.boxes["hand"][0, 0].astype(float).round(5).tolist()


@pytest.fixture
def hagrid(tmp_path: Path) -> Hagrid:
    return Hagrid(tmp_path)


# ---------------------------------------------------------------- the task


def test_official_order_and_what_is_asked(hagrid):
    task = get_task("hagrid", data_root=hagrid.add("like", {"a": entry()}).root)
    gestures = task.spec.label_sets["gesture"]
    assert len(gestures) == len(set(gestures)) == 34
    # Every tenth and the last of constants.py at 080e189.
    assert [gestures[i] for i in (0, 10, 20, 30, 33)] == [
        "grabbing", "little_finger", "palm", "three_gun", "no_gesture",
    ]  # fmt: skip
    assert set(gestures) >= TWO_HANDED
    assert task.splits == ("train", "val", "test")
    assert task.known == {"train": 821_458, "val": 99_200, "test": 165_500}
    assert sum(task.known.values()) == 1_086_158
    assert (task.spec.cluster, task.spec.regions, task.spec.roles) == (
        "subject", ("hand",), ("hand",),
    )  # fmt: skip
    assert [(arm.name, arm.regions) for arm in task.spec.arms] == [("image", ("image",))]


def test_columns(hagrid):
    hagrid.add("like", {"a": entry(user_id="s1"), "b": entry(user_id="s2")})
    rows = hagrid.add("fist", {"c": entry(["fist"])}, split="test").read()
    assert rows.ids.tolist() == ["like/a", "like/b"]
    assert rows.pictures.tolist() == [["hagrid_dataset/like/a.jpg"], ["hagrid_dataset/like/b.jpg"]]
    assert rows.clusters.tolist() == ["s1", "s2"]
    assert hagrid.read("test").ids.tolist() == ["fist/c"]


def test_the_number_of_annotated_hands_is_an_attribute(hagrid):
    both = entry(["like", "no_gesture"], boxes=(LEFT, RIGHT))
    rows = hagrid.add("like", {"a": both, "b": entry()}).read()
    assert rows.attributes["hands"].tolist() == ["two", "one"]


# ---------------------------------------------------------------- label and box


def test_one_hand(hagrid):
    assert hagrid.one("like", entry()) == ("like", [0.1, 0.2, 0.3, 0.5])


def test_the_first_label_that_is_a_gesture_and_its_hand(hagrid):
    annotation = entry(["no_gesture", "like", "fist"], [RIGHT, LEFT, RIGHT])
    assert hagrid.one("fist", annotation) == ("like", [0.1, 0.2, 0.3, 0.5])


def test_the_label_is_not_the_folder(hagrid):
    assert hagrid.one("fist", entry(["like"]))[0] == "like"


def test_the_folder_no_gesture_decides(hagrid):
    annotation = entry(["no_gesture", "like"], [LEFT, RIGHT])
    assert hagrid.one("no_gesture", annotation) == ("no_gesture", [0.1, 0.2, 0.3, 0.5])


def united(boxes: Any, labels: Any) -> dict[str, Any]:
    return entry(["xsign", "xsign"], [LEFT, RIGHT], united_bbox=boxes, united_label=labels)


@pytest.mark.parametrize(
    ("boxes", "labels"),
    [
        ([BOTH], ["xsign"]),
        ([None, BOTH], [None, "xsign"]),
        ([BOTH], None),
        ([RIGHT, BOTH], ["holy", "xsign"]),
    ],
)
def test_two_hands_have_the_united_box(hagrid, boxes, labels):
    assert hagrid.one("xsign", united(boxes, labels)) == ("xsign", [0.1, 0.1, 0.8, 0.5])


@pytest.mark.parametrize("none", [None, [None, None], []])
def test_without_a_united_box_two_hands_have_the_box_around_theirs(hagrid, none):
    assert hagrid.one("xsign", united(none, none)) == ("xsign", [0.1, 0.1, 0.8, 0.5])


def test_one_handed_gestures_ignore_united_boxes(hagrid):
    annotation = entry(united_bbox=[BOTH], united_label=["like"])
    assert hagrid.one("like", annotation) == ("like", [0.1, 0.2, 0.3, 0.5])


@pytest.mark.parametrize("landmarks", [None, [], [None, []], [[]]])
def test_landmarks_may_be_anything(hagrid, landmarks):
    assert hagrid.one("like", entry(hand_landmarks=landmarks))[0] == "like"


def test_annotations_of_before_hagridv2_have_fewer_fields(hagrid, caplog):
    old = {"bboxes": [LEFT], "labels": ["like"], "leading_hand": "left", "user_id": "s"}
    with caplog.at_level(logging.WARNING):
        assert hagrid.one("like", old)[0] == "like"
    assert "1 of 1 annotation files have no united boxes" in caplog.text


@pytest.mark.parametrize(
    ("target", "annotation", "reason"),
    [
        ("fist", entry(["no_gesture"]), "only idle hands in the folder of a gesture"),
        ("fist", entry(["no_gesture"] * 2, [LEFT, RIGHT]),
         "only idle hands in the folder of a gesture"),
        ("like", entry([], []), "no labels"),
        ("like", entry() | {"labels": None}, "no labels"),
        ("like", entry(["like", "like"]), "labels and boxes differ in number"),
        ("like", entry() | {"bboxes": None}, "labels and boxes differ in number"),
        ("like", entry(["five"]), "unknown gesture label"),
        ("like", entry(user_id=None), "no user_id"),
        ("like", entry(user_id=""), "no user_id"),
        ("like", entry(boxes=[[0.1, 0.2, 0.3]]), "the hand box is not four numbers"),
        ("like", entry(boxes=[[0.1, 0.2, 0.0, 0.3]]), "the hand box is empty"),
        ("like", entry(boxes=[[0.5, 0.5, -0.2, 0.3]]), "the hand box is empty"),
        ("like", entry(boxes=[[1.0, 0.2, 0.2, 0.3]]), "the hand box lies outside the picture"),
        ("like", entry(boxes=[[0.1, -0.5, 0.2, 0.3]]), "the hand box lies outside the picture"),
        ("like", entry(boxes=[[320, 200, 80, 90]]), "the hand box lies outside the picture"),
        ("xsign", entry(["xsign"] * 2, [LEFT, [0.1]]), "the hand box is not four numbers"),
        ("like", entry() | {"bboxes": "none"},
         "the annotation lacks a field or has one of another type"),
        ("like", {"labels": ["like"], "user_id": "s"},
         "the annotation lacks a field or has one of another type"),
        ("like", entry(united_bbox=BOTH),
         "the annotation lacks a field or has one of another type"),
    ],
)  # fmt: skip
def test_a_faulty_picture_is_left_out_with_its_reason(hagrid, target, annotation, reason):
    hagrid.add("palm", {"good": entry(["palm"])})
    good = "like" if target != "like" else "fist"
    rows = hagrid.add(target, {"a": annotation, "b": entry([good])}).read()
    assert [(left.id, left.reason) for left in rows.left_out] == [(f"{target}/a", reason)]
    assert sorted(rows.ids) == sorted([f"{target}/b", "palm/good"])


def test_boxes_beyond_the_picture_are_clipped_and_counted(hagrid, caplog):
    with caplog.at_level(logging.WARNING):
        _, box = hagrid.one("like", entry(boxes=[[-0.1, 0.8, 0.4, 0.5]]))
    assert box == [0.0, 0.8, 0.3, 1.0]
    assert "1 of 1 hand boxes" in caplog.text


def test_rounding_is_not_clipping(hagrid, caplog):
    with caplog.at_level(logging.WARNING):
        _, box = hagrid.one("like", entry(boxes=[[0.7, 0.1, 0.3000000001, 0.9000000001]]))
    assert max(box) == 1.0
    assert "hand boxes" not in caplog.text


# ---------------------------------------------------------------- files and folders


def test_missing_pictures_are_counted(hagrid):
    hagrid.add("like", {"a": entry(), "b": entry(), "c": entry()})
    (hagrid.root / "hagrid_dataset/like/b.jpg").unlink()
    rows = hagrid.read()
    assert rows.ids.tolist() == ["like/a", "like/c"]
    assert [(left.id, left.reason) for left in rows.left_out] == [("like/b", "no such file")]


def test_a_key_that_leaves_the_root(hagrid):
    hagrid.add("like", {"a": entry()})
    file = hagrid.annotations / "train" / "like.json"
    file.write_text(json.dumps({"a": entry(), "../../../b": entry()}))
    assert reasons(hagrid.read()) == {"path leaves the data root": 1}


def test_some_classes_only(hagrid, caplog):
    hagrid.add("like", {"a": entry()}).add("fist", {"b": entry(["fist"])})
    (hagrid.root / "hagrid_dataset/fist/b.jpg").unlink()
    (hagrid.root / "hagrid_dataset/fist").rmdir()
    with caplog.at_level(logging.WARNING):
        rows = hagrid.read()
    assert rows.ids.tolist() == ["like/a"]
    assert reasons(rows) == {"the pictures of this class are not there": 1}
    assert "no annotations of 32 of 34 targets: grabbing, grip" in caplog.text


@pytest.mark.parametrize("where", ["annotations", "pictures", "labels", "all"])
def test_both_spellings_of_hand_heart2(hagrid, where):
    misspelt, right = "hands_heart2", "hand_heart2"
    rows = hagrid.add(
        misspelt if where in ("annotations", "all") else right,
        {"a": entry([misspelt if where in ("labels", "all") else right] * 2, [LEFT, RIGHT])},
        folder=misspelt if where in ("pictures", "all") else right,
    ).read()
    assert TARGETS[rows.labels["gesture"][0]] == "hand_heart2"
    assert rows.ids.tolist() == ["hand_heart2/a"]
    assert (hagrid.root / rows.pictures[0, 0]).exists()
    np.testing.assert_allclose(rows.boxes["hand"][0, 0], [0.1, 0.1, 0.8, 0.5], atol=1e-6)


def test_folders_of_any_name_in_one_another(hagrid):
    hagrid.add("like", {"a": entry()}).add("rock", {"b": entry(["rock"])})
    root = hagrid.root
    (root / "v2").mkdir()
    (root / "v2/zip").mkdir()
    (root / "hagrid_dataset/rock").rename(root / "v2/zip/rock")
    (root / "hagrid_annotations").rename(root / "v2/annotations")
    rows = hagrid.read()
    assert rows.pictures[:, 0].tolist() == ["hagrid_dataset/like/a.jpg", "v2/zip/rock/b.jpg"]


def test_the_same_class_twice_is_refused(hagrid):
    hagrid.add("like", {"a": entry()})
    (hagrid.root / "hagridv2_512/like").mkdir(parents=True)
    with pytest.raises(DataError, match=r"like once.*hagrid_dataset/like and in hagrid"):
        hagrid.read()


def test_two_copies_of_the_annotations_are_refused(hagrid):
    hagrid.add("like", {"a": entry()})
    hagrid.annotations = hagrid.root / "old"
    hagrid.add("like", {"a": entry()})
    with pytest.raises(DataError, match=r"annotations once .* hagrid_annotations and in old"):
        hagrid.read()


def test_both_spellings_at_once_are_refused(hagrid):
    hagrid.add("hand_heart2", {"a": entry(["hand_heart2"])}).add(
        "hands_heart2", {"b": entry(["hand_heart2"])}, folder="hand_heart2"
    )
    with pytest.raises(DataError, match=r"hand_heart2.json and in hands_heart2.json"):
        hagrid.read()


def test_nothing_or_half_of_it(hagrid, tmp_path):
    with pytest.raises(ConfigError, match="--data-root"):
        get_task("hagrid")
    with pytest.raises(DataError, match="found neither"):
        hagrid.read()
    hagrid.picture("like", "a")
    with pytest.raises(DataError, match=r"train/, val/, test/ with JSON.*found pictures"):
        hagrid.read()
    (hagrid.root / "hagrid_dataset/like").rename(tmp_path / "elsewhere")
    file = hagrid.annotations / "train" / "like.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"a": entry()}))
    with pytest.raises(DataError, match=r"names of gestures.*found annotations"):
        hagrid.read()


def test_a_split_without_annotations(hagrid):
    hagrid.add("like", {"a": entry()})
    with pytest.raises(DataError, match=r"hagrid_annotations/val, found none"):
        hagrid.read("val")
    with pytest.raises(DataError, match="train, val, test, found 'all'"):
        hagrid.read("all")


def test_files_of_no_target_are_said(hagrid, caplog):
    hagrid.add("like", {"a": entry()})
    (hagrid.annotations / "train" / "five.json").write_text("{}")
    with caplog.at_level(logging.WARNING):
        hagrid.read()
    assert "1 annotation files are of no known target and were not read: train/five" in caplog.text


def test_a_loop_of_links_is_passed_over(hagrid):
    hagrid.add("like", {"a": entry()})
    loop = hagrid.root / "hagrid_dataset" / "fist"
    loop.symlink_to(loop)
    assert len(hagrid.read()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "like.json, found an empty file"),
        ("  \n", "found an empty file"),
        (json.dumps({"a": entry()}) * 2, "one JSON document in .*like.json"),
        (json.dumps({"a": entry()})[:-30], "It looks cut off"),
        ("[1, 2]", "another data set's file"),
        (json.dumps({"8408": {"1 2": 3}}), "in '8408'.*another data set's file"),
        (json.dumps({"a": [1]}), "in 'a'.*another data set's file"),
        ("\xff\xfe{}", "like.json"),
    ],
)
def test_a_damaged_file_is_refused(hagrid, text, words):
    hagrid.add("like", {"a": entry()})
    (hagrid.annotations / "train" / "like.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=words):
        hagrid.read()


def test_windows_line_ends(hagrid):
    hagrid.add("like", {"a": entry()})
    file = hagrid.annotations / "train" / "like.json"
    file.write_bytes(json.dumps({"a": entry()}, indent=4).replace("\n", "\r\n").encode())
    assert hagrid.read().ids.tolist() == ["like/a"]


# ---------------------------------------------------------------- across splits


def test_a_subject_in_two_splits_is_said(hagrid, caplog):
    hagrid.add("like", {"a": entry(user_id="s"), "b": entry(user_id="t"), "c": entry(user_id="s")})
    hagrid.add("like", {"d": entry(user_id="s"), "e": entry(user_id="u")}, split="test")
    with caplog.at_level(logging.WARNING):
        assert len(hagrid.read("test")) == 2
    assert "1 subjects are in both train and test, with 2 and 1 pictures" in caplog.text


def test_a_picture_in_two_splits_stays_in_the_later(hagrid):
    for split in SPLITS:
        hagrid.add("like", {"a": entry(), split: entry(user_id=split)}, split=split)
    assert hagrid.read("test").ids.tolist() == ["like/a", "like/test"]
    for split in ("train", "val"):
        rows = hagrid.read(split)
        assert rows.ids.tolist() == [f"like/{split}"]
        assert reasons(rows) == {"listed in a later split too": 1}
