"""AffectNet: its three shapes, every quirk of them, and what is refused."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.tasks import affectnet_shapes as shapes
from degradation.tasks import get_task
from degradation.tasks.affectnet import EXPRESSIONS

HEADER = (
    "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,"
    "valence,arousal"
)


def reasons(rows) -> Counter:
    return Counter(left.reason for left in rows.left_out)


def picture(file: Path, size: tuple[int, int] = (80, 60)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(file)


def line(path: str, box=(8, 6, 40, 30), label: object = 1) -> str:
    return ",".join([path, *map(str, box), "1.5;2.5;3;4", str(label), "0.1", "-0.2"])


@pytest.fixture
def release_2017(tmp_path: Path):
    """Writes the two lists; pictures 1/a.jpg to 1/f.jpg are there, 80 x 60 pixels."""
    for name in "abcdef":
        picture(tmp_path / "Manually_Annotated_Images" / "1" / f"{name}.jpg")

    def make(train: list[str], val: list[str] | None = None, header: str = HEADER) -> Path:
        (tmp_path / "training.csv").write_text("\n".join([header, *train, ""]))
        if val is not None:
            (tmp_path / "validation.csv").write_text("\n".join([header, *val, ""]))
        return tmp_path

    return make


@pytest.fixture
def release_2021(tmp_path: Path) -> Path:
    """Four crops a split, labelled 0 to 3, one of them by a text, as some copies have it."""
    for split in ("train", "val"):
        for number in range(4):
            picture(tmp_path / f"{split}_set/images/{number}.jpg")
            file = tmp_path / f"{split}_set/annotations/{number}_exp.npy"
            file.parent.mkdir(exist_ok=True)
            np.save(file, np.array(str(number)) if number == 3 else np.array(number))
    return tmp_path


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for label in range(8):
            picture(tmp_path / split / str(label) / f"{label}.jpg")
    return tmp_path


# ---------------------------------------------------------------- the task


def test_official_order_and_what_is_asked(class_folders):
    task = get_task("affectnet", data_root=class_folders)
    assert task.spec.label_sets["expression"] == EXPRESSIONS
    assert (EXPRESSIONS[0], EXPRESSIONS[3], EXPRESSIONS[7]) == ("neutral", "surprise", "contempt")
    assert task.spec.balanced
    assert [arm.name for arm in task.spec.arms] == ["unweighted"]
    assert task.splits == ("train", "test")
    assert "official validation set" in task.spec.source
    seven = get_task("affectnet-7", data_root=class_folders)
    assert seven.spec.label_sets["expression"] == EXPRESSIONS[:7]
    assert reasons(seven.read("test")) == {"label 7 (contempt) is none of the 7 classes": 1}


def test_known_sizes_are_those_of_the_shape(release_2021, tmp_path_factory):
    assert get_task("affectnet", data_root=release_2021).known == {"train": 287_651, "test": 3_999}
    other = tmp_path_factory.mktemp("a")
    (other / "Manually_Annotated_Images").mkdir()
    (other / "training.csv").write_text(HEADER + "\n")
    assert get_task("affectnet", data_root=other).known == {"train": 414_800, "test": 5_500}


def test_a_folder_is_needed(tmp_path):
    with pytest.raises(ConfigError, match="--data-root"):
        get_task("affectnet")
    with pytest.raises(DataError, match=r"found an empty folder"):
        get_task("affectnet", data_root=tmp_path)


def test_unknown_split(class_folders):
    with pytest.raises(DataError, match="train, test, found 'val'"):
        get_task("affectnet", data_root=class_folders).read("val")


# ---------------------------------------------------------------- 2017


def test_pixel_boxes_become_normalised(release_2017):
    task = get_task("affectnet", data_root=release_2017([line("1/a.jpg", (8, 6, 40, 30), 4)]))
    assert (task.spec.roles, task.spec.crop) == (("face",), "face")
    rows = task.read("train")
    assert rows.ids.tolist() == ["train/1/a.jpg"]
    np.testing.assert_allclose(rows.boxes["face"][0, 0], [0.1, 0.1, 0.6, 0.6], atol=1e-6)
    assert rows.labels["expression"].tolist() == [4]
    assert rows.pictures.tolist() == [["Manually_Annotated_Images/1/a.jpg"]]
    assert rows.clusters.tolist() == ["Manually_Annotated_Images/1/a.jpg"]
    assert task.open(rows.pictures[0, 0]).size == (80, 60)


def test_lists_in_a_folder_of_their_own(release_2017):
    root = release_2017([line("1/a.jpg")], [line("1/b.jpg")])
    lists = root / "Manually_Annotated_file_lists"
    lists.mkdir()
    for name in ("training.csv", "validation.csv"):
        (root / name).rename(lists / name)
    (root / "Manually_Annotated").mkdir()
    (root / "Manually_Annotated_Images").rename(
        root / "Manually_Annotated" / "Manually_Annotated_Images"
    )
    rows = get_task("affectnet", data_root=root).read("test")
    assert rows.ids.tolist() == ["val/1/b.jpg"]


@pytest.mark.parametrize(
    ("faulty", "reason"),
    [
        (line("1/a.jpg", label=8), "label 8 (none) is no expression"),
        (line("1/a.jpg", label=9), "label 9 (uncertain) is no expression"),
        (line("1/a.jpg", label=10), "label 10 (no face) is no expression"),
        (line("1/a.jpg", (-3, -3, -6, -6), 10), "label 10 (no face) is no expression"),
        (line("1/a.jpg", label=11), "label outside 0 to 10"),
        (line("1/a.jpg", label=-1), "label outside 0 to 10"),
        (line("1/a.jpg", label="happy"), "label is no whole number"),
        (line("1/a.jpg", label=1.5), "label is no whole number"),
        (line("1/a.jpg", (3, 3, -6, -6)), "no face box (negative width or height)"),
        (line("1/a.jpg", ("NULL",) * 4), "no face box"),
        (line("1/a.jpg", (3, 3, 0, 9)), "the face box is empty"),
        (line("1/a.jpg", (90, 3, 20, 20)), "the face box lies outside the picture"),
        (line("1/z.jpg"), "no such file"),
        (line("7/a.jpg"), "no such file"),
        (line("../../a.jpg"), "path leaves the data root"),
    ],
)
def test_a_faulty_face_is_left_out_with_its_reason(release_2017, faulty, reason):
    rows = get_task("affectnet", data_root=release_2017([faulty, line("1/b.jpg")])).read("train")
    assert reasons(rows) == {reason: 1}
    assert rows.ids.tolist() == ["train/1/b.jpg"]


def test_a_file_that_is_no_picture(release_2017):
    root = release_2017([line("1/a.jpg"), line("1/b.jpg")])
    (root / "Manually_Annotated_Images/1/a.jpg").write_bytes(b"no picture")
    assert reasons(get_task("affectnet", data_root=root).read("train")) == {
        "the picture cannot be read": 1
    }


def test_boxes_beyond_the_picture_are_clipped_and_counted(release_2017, caplog):
    root = release_2017([line("1/a.jpg", (-8, 30, 48, 60)), line("1/b.jpg")])
    with caplog.at_level(logging.WARNING):
        rows = get_task("affectnet", data_root=root).read("train")
    np.testing.assert_allclose(rows.boxes["face"][0, 0], [0, 0.5, 0.5, 1], atol=1e-6)
    assert "1 of 2 face boxes" in caplog.text


def test_several_faces_under_one_name_are_several_rows_of_one_cluster(release_2017):
    first, second = line("1/a.jpg", (0, 0, 20, 20), 1), line("1/a.jpg", (40, 0, 20, 20), 2)
    task = get_task("affectnet", data_root=release_2017([first, second, line("1/b.jpg")]))
    rows = task.read("train")
    assert rows.ids.tolist() == [
        "train/1/a.jpg@0,0,20,20", "train/1/a.jpg@40,0,20,20", "train/1/b.jpg",
    ]  # fmt: skip
    assert len(set(rows.clusters.tolist())) == 2


def test_a_repeated_face_counts_once_and_not_at_all_with_two_labels(release_2017):
    train = [
        line("1/a.jpg"),
        line("1/a.jpg"),
        line("1/b.jpg", label=2),
        line("1/b.jpg", label=7),
        line("1/c.jpg"),
    ]
    for name in ("affectnet", "affectnet-7"):  # a doubtful label stays doubtful without class 7
        rows = get_task(name, data_root=release_2017(train)).read("train")
        assert [one.rpartition("/")[2][:5] for one in rows.ids] == ["a.jpg", "c.jpg"]
        assert reasons(rows) == {"the same face again": 1, "the same face with several labels": 2}


def test_one_name_in_both_splits_gives_different_ids(release_2017):
    root = release_2017([line("1/a.jpg")], [line("1/a.jpg")])
    task = get_task("affectnet", data_root=root)
    assert task.read("train").ids.tolist() != task.read("test").ids.tolist()


def test_a_list_without_header_with_a_mark_and_windows_line_ends(release_2017):
    root = release_2017([line("1/a.jpg")], [line("1/b.jpg", label=3)])
    for name, text in (
        ("training.csv", "\r\n".join([HEADER, line("1/a.jpg"), ""])),
        ("validation.csv", "\r\n".join([line("1/b.jpg", label=3), line("1/c.jpg"), ""])),
    ):
        (root / name).write_bytes(text.encode("utf-8-sig"))
    task = get_task("affectnet", data_root=root)
    assert task.read("train").ids.tolist() == ["train/1/a.jpg"]
    assert task.read("test").ids.tolist() == ["val/1/b.jpg", "val/1/c.jpg"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "training.csv, found an empty file"),
        ("\n".join([HEADER, line("1/a.jpg"), "1/b.jpg,3,4"]), "9 columns in line 3 .*found 3"),
        ("path,label\nx,1\n", "Expected the columns subDirectory_filePath.*'path,label'"),
        ('{"8408": {"1 2": 3}}', "Expected the columns"),
        ("train/0/a.jpg,1,0.1,0.2,0.3,0.4,0.5,0.6,0.7,10,20,30,40,1,x,y", "Expected the columns"),
        (HEADER + "\n" + "\x00\xff", "line 2|readable table"),
    ],
)
def test_a_damaged_list_is_refused(release_2017, text, words):
    root = release_2017([])
    (root / "training.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=words):
        get_task("affectnet", data_root=root).read("train")


def test_a_missing_list_and_missing_photographs(release_2017):
    root = release_2017([line("1/a.jpg")])
    task = get_task("affectnet", data_root=root)
    assert len(task.read("train")) == 1  # one half of the data set can be read
    with pytest.raises(DataError, match=r"validation\.csv, found nothing"):
        task.read("test")
    (root / "training.csv").rename(root / "train.csv")
    with pytest.raises(DataError, match=r"Expected training.csv and validation.csv beside"):
        get_task("affectnet", data_root=root)
    (root / "train.csv").rename(root / "training.csv")
    (root / "Manually_Annotated_Images").rename(root / "pictures")
    with pytest.raises(DataError, match="Expected Manually_Annotated_Images/ beside"):
        get_task("affectnet", data_root=root)


def test_two_copies_of_a_list(release_2017):
    root = release_2017([line("1/a.jpg")])
    (root / "lists").mkdir()
    (root / "lists" / "training.csv").write_text(HEADER)
    with pytest.raises(DataError, match=r"training.csv and lists/training.csv"):
        get_task("affectnet", data_root=root)


# ---------------------------------------------------------------- 2021


def test_labels_in_files_of_their_own(release_2021):
    task = get_task("affectnet", data_root=release_2021)
    assert (task.spec.roles, task.spec.crop) == ((), "")
    rows = task.read("test")
    assert rows.ids.tolist() == [f"val/{number}" for number in range(4)]
    assert rows.labels["expression"].tolist() == [0, 1, 2, 3]
    assert rows.pictures[2].tolist() == ["val_set/images/2.jpg"]
    assert rows.boxes == {}
    assert task.open(rows.pictures[2, 0]).size == (80, 60)


def test_damaged_label_files_are_left_out_and_nothing_is_unpickled(release_2021, tmp_path):
    labels = release_2021 / "train_set" / "annotations"
    harm = tmp_path / "harm"

    class Harmful:
        def __reduce__(self):
            return (Path.touch, (harm,))

    for number in range(10, 16):
        picture(release_2021 / f"train_set/images/{number}.jpg")
    (labels / "10_exp.npy").write_bytes(b"")
    np.save(labels / "11_exp.npy", np.array([Harmful()], dtype=object), allow_pickle=True)
    np.save(labels / "12_exp.npy", np.array([1, 2]))
    (labels / "13_exp.npy").write_bytes((labels / "0_exp.npy").read_bytes()[:90])
    np.save(labels / "14_exp.npy", np.array(2.5))
    np.save(labels / "16_exp.npy", np.array(1))  # and no picture
    rows = get_task("affectnet", data_root=release_2021).read("train")
    assert not harm.exists()
    assert len(rows) == 4
    assert {left.id: left.reason for left in rows.left_out} == {
        "train/10": "the label file is empty",
        "train/11": "the label file is no NumPy array of one value",
        "train/12": "the label file is no NumPy array of one value",
        "train/13": "the label file is no NumPy array of one value",
        "train/14": "the label file holds no whole number",
        "train/15": "no label file",
        "train/16": "no such file",
    }


def test_a_half_unpacked_archive(release_2021):
    for file in (release_2021 / "train_set" / "annotations").iterdir():
        file.unlink()
    task = get_task("affectnet", data_root=release_2021)
    with pytest.raises(DataError, match="Expected labels"):
        task.read("train")
    (release_2021 / "val_set" / "images").rename(release_2021 / "val_set" / "pictures")
    with pytest.raises(DataError, match=r"val_set/images, found: No such file"):
        task.read("test")


# ---------------------------------------------------------------- class folders


def test_class_folders(class_folders):
    rows = get_task("affectnet", data_root=class_folders).read("train")
    assert rows.ids.tolist() == [f"train/{label}/{label}.jpg" for label in range(8)]
    assert rows.labels["expression"].tolist() == list(range(8))


def test_folders_that_are_no_expressions_and_strays(class_folders):
    picture(class_folders / "train/9/x.jpg")
    (class_folders / "train/3/Thumbs.db").write_bytes(b"x")
    (class_folders / "train/readme.txt").write_text("x")
    (class_folders / "train/.DS_Store").write_text("x")
    (class_folders / "train/4/loop").symlink_to(class_folders / "train/4/loop")
    rows = get_task("affectnet", data_root=class_folders).read("train")
    assert len(rows) == 8
    assert reasons(rows) == {
        "label 9 (uncertain) is no expression": 1,
        "not a picture by its suffix": 2,
        "not in a class folder": 1,
    }


@pytest.mark.parametrize("names", [EXPRESSIONS, ("anger", "0"), ("01",), ("images", "annotations")])
def test_other_names_than_numbers_are_refused(tmp_path, names):
    for name in names:
        picture(tmp_path / "train" / name / "a.jpg")
    with pytest.raises(DataError, match="0 neutral, 1 happiness, 2 sadness"):
        get_task("affectnet", data_root=tmp_path)


def test_numbers_in_another_order_show_by_class_sizes(class_folders, monkeypatch):
    monkeypatch.setattr(shapes, "TRAIN_COUNTS", (4, 8, 3, 1, 1, 1, 1, 1))
    for label, more in ((0, 3), (1, 7), (2, 2)):
        for number in range(more):
            picture(class_folders / f"train/{label}/more{number}.jpg")
    assert len(get_task("affectnet", data_root=class_folders).read("train")) == 20
    train = class_folders / "train"
    (train / "1").rename(train / "x")
    (train / "0").rename(train / "1")
    (train / "x").rename(train / "0")
    with pytest.raises(DataError, match=r"folder 0 has 8 pictures, as class 1 \(happiness\)"):
        get_task("affectnet", data_root=class_folders).read("train")


def test_official_class_sizes():
    assert sum(shapes.TRAIN_COUNTS) == 287_651
    assert sum(shapes.TRAIN_COUNTS[:7]) == 283_901


def test_a_class_folder_that_leaves_the_root(class_folders, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    picture(elsewhere / "a.jpg")
    (class_folders / "train/8").symlink_to(elsewhere)
    (class_folders / "train/2/2.jpg").unlink()
    (class_folders / "train/2").rmdir()
    (class_folders / "train/2").symlink_to(elsewhere)
    rows = get_task("affectnet", data_root=class_folders).read("train")
    assert reasons(rows)["path leaves the data root"] == 1


# ---------------------------------------------------------------- which shape


def test_two_shapes_are_named(release_2021):
    picture(release_2021 / "train" / "0" / "a.jpg")
    with pytest.raises(DataError, match=r"2021 release \(train_set/.*class folders \(train/"):
        get_task("affectnet", data_root=release_2021)


@pytest.mark.parametrize("shape", ["release_2021", "class_folders"])
def test_a_third_split_is_refused(request, shape):
    root = request.getfixturevalue(shape)
    picture(root / ("test_set/images" if shape == "release_2021" else "test/0") / "a.jpg")
    with pytest.raises(DataError, match="divided the data anew"):
        get_task("affectnet", data_root=root)


def test_a_folder_too_high_up_is_helped(release_2021):
    below = release_2021 / "AffectNet"
    below.mkdir()
    for name in ("train_set", "val_set"):
        (release_2021 / name).rename(below / name)
    with pytest.raises(DataError, match=f"Did you mean --data-root {below}"):
        get_task("affectnet", data_root=release_2021)
