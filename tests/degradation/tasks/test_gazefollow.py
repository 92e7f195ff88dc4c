"""GazeFollow as shipped: people, boxes and points against the files, and all that can be wrong."""

import logging
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.scenes.export.registry import export, quirks_of
from degradation.tasks import get_task

SPLITS = ("train", "val", "test")
TRAIN, TEST = "train_annotations_release.txt", "test_annotations_release.txt"
QUIRKS = quirks_of("gazefollow")
REFUSED = {
    "original": "has no head boxes",
    "original-columns": "found 11. The original",
    "exchanged": "Expected 17 columns in line 1 .* found 16.*exchanged",
    "test-with-inout": "Expected 16 columns in line 1 .* found 17",
    "header": "Expected a number for eye_x in line 1",
    "cut-off": "Expected 17 columns in line .* cut off",
    "appended": "found all .* twice",
    "crowd": "at most 20 annotations of a person",
    "empty-file": "found an empty file",
    "json": "found 4.*another data set",
    "no-pictures": "fully unpacked",
    "nested": "gazefollow_extended: give that folder",
}
SURVIVED = [name for name in QUIRKS if name not in REFUSED]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gazefollow") / "clean"
    export("gazefollow", folder, scale=0.3)
    return folder


def read(folder):
    task = get_task("gazefollow", data_root=folder)
    return {split: task.read(split) for split in task.splits}


def cells(file):
    return [line.split(",") for line in file.read_text().splitlines()]


def reasons(rows):
    return Counter(one.reason for part in rows.values() for one in part.left_out)


def folder_of(tmp_path, train=(), test=(), size=(200, 100)):
    """Hand-written files, and the pictures they name."""
    tmp_path.mkdir(exist_ok=True)
    for name, lines in ((TRAIN, train), (TEST, test)):
        (tmp_path / name).write_text("".join(line + "\n" for line in lines) or "\n")
        for line in lines:
            file = tmp_path / line.split(",")[0]
            if ".." not in file.parts:
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("L", size).save(file)
    return tmp_path


def train_line(path="train/00000000/1.jpg", eye="0.5,0.4", gaze="0.2,0.3", head="80,20,120,60",
               inout="1", meta="coco,x"):  # fmt: skip
    return f"{path},7,0.1,0.1,0.5,0.5,{eye},{gaze},{head},{inout},{meta}"


def line_of_test(path="test2/00000000/2.jpg", eye="0.5,0.4", gaze="0.2,0.3", head="80,20,120,60"):
    return f"{path},7,0.1,0.1,0.5,0.5,{eye},{gaze},{head},coco,x"


def one_split(rows):
    """Training and validation rows together, in the order of ids."""
    parts = [rows["train"], rows["val"]]
    ids = np.concatenate([part.ids for part in parts])
    boxes = np.concatenate([part.boxes["head"] for part in parts])[:, 0]
    points = np.concatenate([part.points for part in parts])
    order = np.argsort(ids.astype(str))
    return ids[order], boxes[order], points[order]


# ------------------------------------------------------------------ against the files


def test_every_training_person_is_a_row_with_box_and_point(clean):
    rows = read(clean)
    expected = {}
    for line in cells(clean / TRAIN):
        with Image.open(clean / line[0]) as image:
            scale = np.tile(image.size, 2)
        point = np.array(line[8:10], float) if line[14] == "1" else [np.nan] * 2
        expected[line[0], f"{float(line[6]):.6g}"] = np.array(line[10:14], float) / scale, point
    assert sum(len(rows[split]) for split in ("train", "val")) == len(expected)
    for split in ("train", "val"):
        part = rows[split]
        assert not part.left_out
        for i, name in enumerate(part.ids):
            path, eye = name.split("@")
            box, point = expected[path, eye.split(",")[0]]
            assert part.pictures[i, 0] == part.clusters[i] == path
            np.testing.assert_allclose(part.boxes["head"][i, 0], box, atol=1e-6)
            np.testing.assert_allclose(part.points[i, 0], point, atol=1e-6)
    assert np.isnan(rows["train"].points).any()  # people who look at the viewer
    assert len(np.unique([len(path) for path in rows["train"].pictures])) == 1


def test_test_people_have_all_their_annotators(clean):
    rows = read(clean)["test"]
    expected = defaultdict(list)
    for line in cells(clean / TEST):
        expected[line[0], float(line[6])].append([float(line[8]), float(line[9])])
    assert len(rows) == len(expected)
    assert rows.points.shape[1] == max(map(len, expected.values())) > 5
    for name, points in zip(rows.ids, rows.points, strict=True):
        path, eyes = name.split("@")
        given = expected[path, float(eyes.split(",")[0])]
        np.testing.assert_allclose(points[: len(given)], given, atol=1e-6)
        assert np.isnan(points[len(given) :]).all()
    assert len(set(rows.pictures[:, 0])) < len(rows)  # several people in a picture


def test_sizes_are_those_of_the_pictures(clean):
    rows = read(clean)["test"]
    for path, size in zip(rows.pictures[:, 0], rows.sizes, strict=True):
        with Image.open(clean / path) as image:
            assert tuple(size) == image.size
    assert len(np.unique(rows.sizes, axis=0)) > 2


def test_val_is_a_tenth_of_the_pictures_whatever_else_is_in_the_file(tmp_path):
    lines = [train_line(f"train/00000000/{n}.jpg") for n in range(300)]
    rows = read(folder_of(tmp_path, lines, [line_of_test()]))
    pictures = {split: set(part.pictures[:, 0]) for split, part in rows.items()}
    assert 15 <= len(pictures["val"]) <= 50
    assert not pictures["val"] & pictures["train"]
    (tmp_path / TRAIN).write_text("".join(line + "\n" for line in lines[:100:-1]))
    fewer = set(read(tmp_path)["val"].pictures[:, 0])
    assert fewer == {f"train/00000000/{n}.jpg" for n in range(101, 300)} & pictures["val"]


def test_the_spec_and_the_picture(clean):
    task = get_task("gazefollow", data_root=clean)
    assert task.splits == SPLITS
    assert task.known == {"test": 4782}
    assert task.spec.kind == "gaze"
    assert task.spec.metrics["gaze"][0] == "average_l2_error"
    rows = task.read("test")
    assert task.open(rows.pictures[0, 0]).size == tuple(rows.sizes[0])
    assert task.read("test") is rows
    with pytest.raises(DataError, match="train, val, test"):
        task.read("all")
    ids = [name for split in SPLITS for name in task.read(split).ids]
    assert len(set(ids)) == len(ids)


# ------------------------------------------------------------------ quirks


def test_marks_and_line_ends_change_nothing(clean, tmp_path):
    export("gazefollow", tmp_path / "other", scale=0.3, quirks=["bom", "windows-lines", "quotes"])
    for one, two in zip(read(clean).values(), read(tmp_path / "other").values(), strict=True):
        assert one.digest() == two.digest()
    data = (tmp_path / "other" / TEST).read_bytes()
    assert data.startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in data


@pytest.mark.parametrize("quirk", SURVIVED)
def test_every_quirk_is_survived(quirk, tmp_path):
    export("gazefollow", tmp_path / "data", scale=0.15, quirks=[quirk])
    assert all(len(part) for part in read(tmp_path / "data").values())


def test_all_quirks_at_once_are_counted_by_reason(tmp_path):
    export("gazefollow", tmp_path / "data", scale=0.3, quirks=SURVIVED)
    rows = read(tmp_path / "data")
    given = len(cells(tmp_path / "data" / TRAIN))
    assert sum(len(rows[s]) + len(rows[s].left_out) for s in ("train", "val")) == given
    found = reasons(rows)
    assert found.keys() == {
        "inout is -1: the annotation is invalid",
        "inout is missing",
        "inout is none of -1, 0 and 1",
        "inout is 1, but the point is outside the picture",
        "the head box is missing",
        "the head box has no area",
        "the head box is outside the picture",
        "the same as an earlier row",
        "no such file",
        "path leaves the data root",
        "the picture cannot be read",
        "no annotated point in the picture",
    }
    assert found["inout is -1: the annotation is invalid"] == 2


@pytest.mark.parametrize("quirk", REFUSED)
def test_what_is_wrong_with_the_whole_is_refused(quirk, tmp_path):
    assert QUIRKS[quirk].startswith("refused:")
    export("gazefollow", tmp_path / "data", scale=0.05, quirks=[quirk])
    with pytest.raises(DataError, match=REFUSED[quirk]):
        read(tmp_path / "data")


def test_every_quirk_is_tested():
    assert {name for name, text in QUIRKS.items() if text.startswith("refused:")} == set(REFUSED)


# ------------------------------------------------------------------ hand-written files


def test_head_boxes_are_swapped_cut_and_left_out(tmp_path, caplog):
    heads = {
        "0.1": "80,20,120,60",
        "0.2": "120,60,80,20",  # both ends swapped
        "0.3": "120,20,80,60",  # one
        "0.4": "-20,50,100,150",
        "0.5": "80,20,80,60",
        "0.6": "200,20,220,60",
        "0.7": "nan,20,80,60",
        "0.8": ",,,",
    }
    lines = [train_line(eye=f"{eye},0.5", head=head) for eye, head in heads.items()]
    with caplog.at_level(logging.WARNING):
        rows = read(folder_of(tmp_path, lines, [line_of_test()]))
    ids, boxes, _ = one_split(rows)
    assert [name[-7:-4] for name in ids] == ["0.1", "0.2", "0.3", "0.4"]
    np.testing.assert_allclose(boxes[:3], [[0.4, 0.2, 0.6, 0.6]] * 3, atol=1e-6)
    np.testing.assert_allclose(boxes[3], [0, 0.5, 0.5, 1], atol=1e-6)
    assert "2 head boxes with their ends swapped" in caplog.text
    assert "1 head boxes beyond the picture" in caplog.text
    assert reasons(rows) == {
        "the head box has no area": 1,
        "the head box is outside the picture": 1,
        "the head box is missing": 2,
    }


def test_people_out_of_the_picture_are_rows_without_a_point(tmp_path):
    lines = [
        train_line(eye="0.1,0.5", inout="0", gaze="-1,-1"),
        train_line(eye="0.2,0.5", inout="0", gaze="0.4,0.4"),  # whatever stands there
        train_line(eye="0.3,0.5", inout="1", gaze="0,1"),
        train_line(eye="0.4,0.5", inout="1", gaze=","),
        train_line(eye="0.5,0.5", inout="1", gaze="1.001,0.5"),
    ]
    rows = read(folder_of(tmp_path, lines, [line_of_test()]))
    _, _, points = one_split(rows)
    np.testing.assert_array_equal(points, np.float32([[[np.nan] * 2]] * 2 + [[[0, 1]]]))
    assert reasons(rows) == {
        "inout is 1, but there is no point": 1,
        "inout is 1, but the point is outside the picture": 1,
    }


def test_a_person_twice(tmp_path):
    lines = [train_line(), train_line(gaze="0.9,0.9"), train_line(), train_line(eye="0.7,0.4")]
    rows = read(folder_of(tmp_path, lines, [line_of_test()]))
    ids, *_ = one_split(rows)
    assert [name.split("@")[1] for name in ids] == ["0.5,0.4#1", "0.5,0.4#2", "0.7,0.4"]
    assert reasons(rows) == {"the same as an earlier row": 1}


def test_annotators_are_grouped_by_picture_and_eye_x(tmp_path, caplog):
    lines = [
        line_of_test(gaze="0.1,0.1"),
        line_of_test(gaze="0.2,0.2", eye="0.5,0.6"),  # eye y does not matter
        line_of_test(gaze="0.3,0.3", eye="0.9,0.4", head="1,1,9,9"),
        line_of_test(gaze="0.4,0.4", head="0,0,9,9"),
        line_of_test(gaze="-0.1,0.4"),
        line_of_test(path="test2/00000001/3.jpg", gaze="2,2"),
    ]
    with caplog.at_level(logging.WARNING):
        rows = read(folder_of(tmp_path, [train_line()], lines))["test"]
    nan = [np.nan] * 2
    expected = [[[0.1] * 2, [0.2] * 2, [0.4] * 2, nan], [[0.3] * 2, nan, nan, nan]]
    np.testing.assert_array_equal(rows.points, np.float32(expected))
    np.testing.assert_allclose(rows.boxes["head"][0, 0], [0.4, 0.2, 0.6, 0.6], atol=1e-6)
    assert [one.reason for one in rows.left_out] == ["no annotated point in the picture"]
    assert "2 annotated points outside the picture" in caplog.text
    assert "1 head boxes unlike" in caplog.text


def test_paths_are_kept_inside_and_partial_folders_are_read(tmp_path):
    paths = [f"train/00000000/{n}.jpg" for n in range(60)]
    folder = folder_of(tmp_path / "data", [train_line(path) for path in paths], [line_of_test()])
    (folder / paths[0]).unlink()
    (folder / "train" / "outside").symlink_to("/etc")
    (folder / "train" / "loop").symlink_to("loop")
    bad = {
        paths[0]: "no such file",
        "train/00000009/1.jpg": "no such file",
        "../data/train/../../outside/1.jpg": "path leaves the data root",
        "/etc/hosts": "path leaves the data root",
        "train/outside/hosts": "path leaves the data root",
        "train/00000000": "the picture cannot be read",
        "": "no path",
    }
    lines = [train_line(path) for path in [*paths, *list(bad)[1:]]]
    (folder / TRAIN).write_text("\n".join([*lines, train_line("train/loop/1.jpg")]))
    rows = read(folder)
    found = {one.id.split("@")[0]: one.reason for s in SPLITS for one in rows[s].left_out}
    assert found.pop("train/loop/1.jpg") in ("no such file", "path leaves the data root")
    assert found == bad
    assert len(rows["train"]) + len(rows["val"]) == 59


def test_no_folder_and_no_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--data-root"):
        get_task("gazefollow")
    with pytest.raises(DataError, match=r"gazefollow_extended\.zip"):
        get_task("gazefollow", data_root=tmp_path)


def test_exports_repeat_themselves_and_differ_by_seed(tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        export("gazefollow", tmp_path / name, seed=seed, scale=0.05)
    files = {
        name: [one.read_bytes() for one in sorted((tmp_path / name).rglob("*")) if one.is_file()]
        for name in ("one", "two", "three")
    }
    assert files["one"] == files["two"] != files["three"]
