"""PISC as shipped, in files written by hand: every way in which they can be wrong."""

import json

import numpy as np
import pytest
from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.scenes.export.registry import quirks_of
from degradation.tasks import get_task

TASKS = ("pisc-relationship", "pisc-domain")
SPLITS = ("train", "val", "test")
SMALL = 0.25
QUIRKS = quirks_of("pisc")
REFUSED = [name for name, text in QUIRKS.items() if text.startswith("refused:")]
SURVIVED = [name for name in QUIRKS if name not in REFUSED]


def rows_of(folder, name):
    task = get_task(name, data_root=folder)
    return {split: task.read(split) for split in task.splits}


def question(name):
    return name.removeprefix("pisc-")


BOXES = [[0, 0, 50, 100], [50, 0, 100, 100], [20, 10, 60, 90]]


def entry(number, boxes=BOXES, **changes):
    return {"id": number, "imgW": 100, "imgH": 200, "bbox": boxes} | changes


@pytest.fixture
def release(tmp_path):
    """Writes a release by hand; picture 1 is for train, 2 for val, 3 for test, unless said."""

    def write(labels=None, info=None, splits=None, filler=True):
        labels = {} if labels is None else labels
        if filler:  # so that a fault is one of many
            labels = {str(n): {"1 2": n % 6 + 1} for n in (2, 3, *range(100, 140))} | labels
            info = [entry(n) for n in (1, 2, 3, *range(100, 140))] if info is None else info
        (tmp_path / "annotation_image_info.json").write_text(json.dumps(info))
        (tmp_path / "relationship.json").write_text(json.dumps(labels))
        (tmp_path / "image").mkdir()
        for number in (1, 2, 3):
            Image.new("RGB", (100, 200)).save(tmp_path / "image" / f"{number:05d}.jpg")
        folder = tmp_path / "relationship_split"
        folder.mkdir()
        for split, spelt in (("train", "train"), ("val", "valid"), ("test", "test")):
            listed = (splits or {}).get(split, [str(SPLITS.index(split) + 1)])
            (folder / f"relation_{spelt}x.json").write_text(json.dumps(listed))
        return tmp_path

    return write


def train(folder):
    return get_task("pisc-relationship", data_root=folder).read("train")


def left_out(rows):
    return [(one.id, one.reason) for one in rows.left_out]


def test_a_pair_is_named_and_ordered_by_the_lower_number(release):
    rows = train(release({"1": {"3 1": 5, "2 1": 3}}))
    assert rows.ids.tolist() == ["1:1-2", "1:1-3"]
    assert rows.labels["relationship"].tolist() == [2, 4]
    np.testing.assert_allclose(rows.boxes["person_a"][1, 0], [0, 0, 0.5, 0.5])
    np.testing.assert_allclose(rows.boxes["person_b"][1, 0], [0.2, 0.05, 0.6, 0.45])
    np.testing.assert_allclose(rows.boxes["union"][1, 0], [0, 0, 0.6, 0.5])


def test_a_pair_listed_twice_counts_once_or_not_at_all(release):
    rows = train(release({"1": {"1 2": 4, "2 1": 4, "1 3": 2, "3 1": 1, "2 3": 6}}))
    assert rows.ids.tolist() == ["1:1-2", "1:2-3"]
    different = "pair is listed twice, with different labels"
    assert left_out(rows) == [
        ("1:2-1", "pair is listed twice"),
        ("1:1-3", different),
        ("1:3-1", different),
    ]


def test_a_wrong_label_does_not_spoil_the_same_pair_in_the_other_order(release):
    rows = train(release({"1": {"2 1": 9, "1 2": 4}}))
    assert rows.ids.tolist() == ["1:1-2"]
    assert left_out(rows) == [("1:2-1", "label is none of 1 to 6")]


@pytest.mark.parametrize(
    ("pair", "label", "reason"),
    [
        ("1 1", 2, "a person paired with itself"),
        ("1 4", 2, "no box for a person of the pair"),
        ("1_2", 2, "pair is not two numbers of people"),
        ("1 2 3", 2, "pair is not two numbers of people"),
        ("1 -2", 2, "pair is not two numbers of people"),
        ("", 2, "pair is not two numbers of people"),
        ("1 2", 7, "label is none of 1 to 6"),
        ("1 2", 0, "label is none of 1 to 6"),
        ("1 2", "4", "label is none of 1 to 6"),
        ("1 2", True, "label is none of 1 to 6"),
        ("1 2", None, "label is none of 1 to 6"),
        ("1 2", [4], "label is none of 1 to 6"),
    ],
)
def test_a_pair_that_cannot_be_used_is_left_out(release, pair, label, reason):
    rows = train(release({"1": {pair: label, "2 3": 6}}))
    assert rows.ids.tolist() == ["1:2-3"]
    assert [one.reason for one in rows.left_out] == [reason]


def test_a_picture_whose_people_are_counted_from_0_is_left_out_whole(release):
    rows = train(release({"1": {"0 1": 4, "1 2": 5}}))
    assert not len(rows)
    assert left_out(rows) == [
        ("1:0-1", "people of the picture are counted from 0"),
        ("1:1-2", "people of the picture are counted from 0"),
    ]


@pytest.mark.parametrize(
    ("box", "kept", "reason"),
    [
        ([-150, -3, 50, 100], [0, 0, 0.5, 0.5], ""),
        ([40, 50, 1497, 300], [0.4, 0.25, 1, 1], ""),
        ([0.5, 0, 50.5, 100], [0.005, 0, 0.505, 0.5], ""),
        ([-150, 0, -20, 100], None, "empty or outside"),
        ([100, 0, 130, 100], None, "empty or outside"),
        ([30, 20, 30, 90], None, "empty or outside"),
        ([50, 0, 20, 100], None, "inverted"),
        ([0, 100, 50, 20], None, "inverted"),
        ([0, 0, 50], None, "not four numbers"),
        ([0, 0, 50, None], None, "not four numbers"),
        ([0, 0, 50, float("nan")], None, "not four numbers"),
        ([0, 0, 50, float("inf")], None, "not four numbers"),
        ("0 0 50 100", None, "not four numbers"),
    ],
)
def test_boxes_are_cut_at_the_border_or_the_pair_is_left_out(release, box, kept, reason):
    info = [entry(1, [box, *BOXES[1:]]), entry(2), entry(3)]
    rows = train(release({"1": {"1 2": 4, "2 3": 5}}, info))
    if kept is None:
        assert rows.ids.tolist() == ["1:2-3"]
        assert left_out(rows)[0][0] == "1:1-2"
        assert reason in left_out(rows)[0][1]
    else:
        assert not rows.left_out
        np.testing.assert_allclose(rows.boxes["person_a"][0, 0], kept)


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ([entry(1, imgW=0)], "picture has no width and height"),
        ([entry(1, imgH=None)], "picture has no width and height"),
        ([entry(1, bbox=None)], "picture has no list of boxes"),
        ([entry(1), entry(1, BOXES[::-1])], "two different entries in annotation_image_info.json"),
        ([entry(7)], "no entry in annotation_image_info.json"),
    ],
)
def test_a_picture_without_boxes_is_left_out_pair_by_pair(release, info, reason):
    rows = train(release({"1": {"1 2": 4, "2 3": 5}}, [*info, entry(2), entry(3)]))
    assert left_out(rows) == [("1:1-2", reason), ("1:2-3", reason)]


def test_an_entry_repeated_word_for_word_does_no_harm(release):
    assert len(train(release({"1": {"1 2": 4}}, [entry(1), entry(1), entry(2), entry(3)]))) == 1


def test_the_later_split_keeps_a_picture_that_is_in_two(release):
    splits = {"train": ["1", "3", "2"], "val": [2, "00003"], "test": ["3"]}
    folder = release({"1": {"1 2": 4}}, splits=splits)
    rows = rows_of(folder, "pisc-relationship")
    assert [part.ids.tolist() for part in rows.values()] == [["1:1-2"], ["2:1-2"], ["3:1-2"]]
    assert left_out(rows["train"]) == [
        ("3:1-2", "also in the split test"),
        ("2:1-2", "also in the split val"),
    ]
    assert left_out(rows["val"]) == [("3:1-2", "also in the split test")]


def test_a_picture_listed_again_in_a_split_is_read_once_and_counted(release):
    rows = train(release({"1": {"1 2": 4}}, splits={"train": ["1", "00001", 1]}))
    assert len(rows) == 1
    assert left_out(rows) == [("1", "listed again in the same split")] * 2


def test_a_split_may_be_empty_of_usable_rows(release):
    folder = release({"1": {"1 2": 4}})
    (folder / "image" / "00001.jpg").unlink()
    rows = train(folder)
    assert len(rows) == 0
    assert rows.boxes["union"].shape == (0, 1, 4)
    assert left_out(rows) == [("1:1-2", "no such file")]


@pytest.mark.parametrize(
    ("text", "pictures"),
    [
        ("1\r\n2\r\n", ["1", "2"]),
        ("\ufeff00001\n\n00002.jpg", ["1", "2"]),
        ("00001.jpg 1 2 3 4 5 6 7 8 0\n00001.jpg 1 2 3 4 5 6 7 8 3\n", ["1"]),
    ],
)
def test_splits_may_be_text(release, text, pictures):
    folder = release({"1": {"1 2": 4}, "2": {"1 2": 1}}, splits={"val": ["3"]})
    (folder / "relationship_split" / "relation_trainx.json").unlink()
    (folder / "relationship_split" / "Domain_Train.TXT").write_text(text, newline="")
    rows = train(folder)
    assert [id_.partition(":")[0] for id_ in rows.ids] == pictures
    assert not rows.left_out


def test_split_files_are_found_in_a_folder_too_deep_and_beside_system_files(release):
    folder = release({"1": {"1 2": 4}})
    place = folder / "relationship_split"
    inner = place / "relationship_split"
    inner.mkdir()
    for file in [one for one in place.iterdir() if one.is_file()]:
        file.rename(inner / file.name)
        (inner / f"._{file.name}").write_bytes(b"\x00\x05\x16\x07")
    assert len(train(folder)) == 1


# ------------------------------------------------------------------ other files than the owners'


OTHERS = [
    ("relationship.json", {"labels": ["call"], "bboxes": []}, "8408"),
    ("relationship.json", [{"id": 1}], "8408"),
    ("relationship.json", {}, "8408"),
    ("relationship.json", {"0534147c-4548-4ab4-9a8c-f297b43e8ffb": {"1 2": 3}}, "8408"),
    ("relationship.json", {"1": {"1 2": 3}, "001": {"1 2": 3}}, "under two keys"),
    ("relationship.json", {str(n): {"1 2": n % 3 + 1} for n in range(120)}, "are domains"),
    ("annotation_image_info.json", {"1": {}}, "imgW"),
    ("annotation_image_info.json", [{"id": 1, "width": 3}], "entry 0"),
    ("annotation_image_info.json", [entry(1), entry("a.jpg")], "entry 1"),
    ("relationship_split/relation_trainx.json", {"1": 2}, "a list of pictures"),
    ("relationship_split/relation_trainx.json", [], "a list of pictures"),
    ("relationship_split/relation_trainx.json", ["1", "x.jpg"], "entry 2"),
    ("relationship_split/relation_trainx.json", ["1", True], "entry 2"),
    ("relationship_split/relation_trainx.json", ["9" * 5000], "entry 1"),
]


@pytest.mark.parametrize(("name", "contents", "words"), OTHERS)
def test_another_file_in_place_of_the_owners_is_refused_by_name(release, name, contents, words):
    folder = release({"1": {"1 2": 4}})
    (folder / name).write_text(json.dumps(contents))
    with pytest.raises(DataError, match=words) as caught:
        train(folder)
    assert str(folder / name) in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("contents", [b"1 2\n", b"1\n2 3\n", b"\xff\xfe1\x00", b" \n"])
def test_a_text_split_that_is_no_list_of_pictures_is_refused(release, contents):
    folder = release({"1": {"1 2": 4}})
    (folder / "relationship_split" / "relation_trainx.json").unlink()
    (folder / "relationship_split" / "relation_trainx.txt").write_bytes(contents)
    with pytest.raises(DataError, match=r"relation_trainx\.txt"):
        train(folder)


def test_missing_files_are_named_with_what_to_do(release, tmp_path):
    with pytest.raises(ConfigError, match="--data-root"):
        get_task("pisc-domain")
    with pytest.raises(DataError, match="found nothing"):
        get_task("pisc-domain", data_root=tmp_path / "absent")
    folder = release({"1": {"1 2": 4}})
    with pytest.raises(
        DataError, match=r"domain\.json of PISC .* https://zenodo\.org/record/1059155"
    ):
        get_task("pisc-domain", data_root=folder)
    (folder / "relationship_split" / "relation_validx_copy.json").write_text("[2]")
    with pytest.raises(DataError, match=r"found relation_validx\.json, relation_validx_copy\.json"):
        get_task("pisc-relationship", data_root=folder)
    for file in (folder / "relationship_split").glob("*val*"):
        file.unlink()
    with pytest.raises(DataError, match="'val' in its name"):
        get_task("pisc-relationship", data_root=folder)
    for file in (folder / "image").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="found an empty one"):
        get_task("pisc-relationship", data_root=folder)


def test_a_data_root_one_level_too_high_is_noticed(tmp_path):
    (tmp_path / "PISC").mkdir()
    (tmp_path / "PISC" / "annotation_image_info.json").write_text("[]")
    with pytest.raises(DataError, match=f"It is in {tmp_path / 'PISC'}: give that folder"):
        get_task("pisc-relationship", data_root=tmp_path)


def test_pictures_outside_the_root_and_loops_of_links_are_no_files(release, tmp_path_factory):
    folder = release({"1": {"1 2": 4}})
    outside = tmp_path_factory.mktemp("outside") / "image"
    (folder / "image").rename(outside)
    (folder / "image").symlink_to(outside)
    assert left_out(train(folder)) == [("1:1-2", "path leaves the data root")]
    (folder / "image").unlink()
    (folder / "image").symlink_to(folder / "image")
    with pytest.raises(DataError, match="images-00"):
        train(folder)
