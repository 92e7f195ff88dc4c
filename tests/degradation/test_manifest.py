"""Manifests as people write them: good ones in every form, and each mistake with its message."""

import csv
import itertools
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from degradation.errors import DataError
from degradation.tasks.manifest import manifest_task

BOX = ["face_x1", "face_y1", "face_x2", "face_y2"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve small pictures, p0.png ... p11.png."""
    for i in range(12):
        Image.new("RGB", (6, 4), (20 * i, 0, 0)).save(tmp_path / f"p{i}.png")
    return tmp_path


def good(n: int = 12) -> pd.DataFrame:
    """Two classes in turn, eight rows to train, two each for val and test."""
    splits = ["train"] * 8 + ["val"] * 2 + ["test"] * 2
    return pd.DataFrame(
        {
            "path": [f"p{i}.png" for i in range(n)],
            "label": ["happy", "angry"] * (n // 2),
            "split": splits[:n],
        }
    )


def written(folder: Path, table: pd.DataFrame, kind: str = "csv") -> str:
    path = folder / f"labels.{kind}"
    table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    return str(path)


def with_boxes(table: pd.DataFrame, box=(0.1, 0.2, 0.5, 0.9)) -> pd.DataFrame:
    table = table.copy()
    table[BOX] = np.array(box, dtype=float)
    return table


def reasons(task, split: str = "train") -> dict[str, str]:
    return {left.id: left.reason for left in task.read(split).left_out}


# ---------------------------------------------------------------- good tables


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_of_a_table(pictures, kind):
    target = written(pictures, good(), kind)
    task = manifest_task(target)
    assert task.spec.name == f"manifest:{target}"
    assert task.spec.kind == "classes"
    assert task.spec.label_sets == {"label": ("angry", "happy")}
    assert task.spec.metrics == {"label": ("accuracy", "macro_f1")}
    assert (task.spec.roles, task.spec.regions) == ((), ("image",))
    assert task.spec.cluster == "picture"
    assert task.splits == ("train", "val", "test")
    assert [len(task.read(split)) for split in task.splits] == [8, 2, 2]
    rows = task.read("train")
    assert rows.ids.tolist() == [f"p{i}.png" for i in range(8)]
    assert rows.labels["label"].tolist() == [1, 0] * 4
    assert rows.clusters.tolist() == rows.ids.tolist()
    assert rows.pictures.shape == (8, 1)
    assert rows.points.shape == (8, 0, 2)
    assert rows.boxes == {}
    assert rows.left_out == ()
    assert task.open(rows.pictures[3, 0]).getpixel((0, 0)) == (60, 0, 0)


def test_csv_and_parquet_give_equal_rows(pictures):
    table = with_boxes(good(), (0.1, 1 / 3, 0.7, 0.95))
    digests = {
        manifest_task(written(pictures, table, kind)).read("train").digest()
        for kind in ("csv", "parquet")
    }
    assert len(digests) == 1


def test_without_a_split_column_there_is_one_split(pictures):
    task = manifest_task(written(pictures, good().drop(columns="split")))
    assert task.splits == ("all",)
    assert len(task.read("all")) == 12


def test_validation_split_is_optional(pictures):
    table = good().replace({"split": {"val": "train"}})
    assert manifest_task(written(pictures, table)).splits == ("train", "test")


def test_unknown_split_is_refused_on_reading(pictures):
    with pytest.raises(DataError, match="one of the splits train, val, test"):
        manifest_task(written(pictures, good())).read("all")


def test_boxes_become_roles_and_regions(pictures):
    table = with_boxes(good())
    table[["hand_x1", "hand_y1", "hand_x2", "hand_y2"]] = [0.0, 0.0, 1.0, 1.0000000000000002]
    task = manifest_task(written(pictures, table))
    assert task.spec.roles == task.spec.regions == ("face", "hand")
    boxes = task.read("val").boxes
    np.testing.assert_array_equal(boxes["hand"], np.tile(np.float32([0, 0, 1, 1]), (2, 1, 1)))
    np.testing.assert_allclose(boxes["face"][1, 0], [0.1, 0.2, 0.5, 0.9])


def test_order_of_box_columns_does_not_matter(pictures):
    table = with_boxes(good())
    table = table[[*reversed(table.columns)]]
    np.testing.assert_allclose(
        manifest_task(written(pictures, table)).read("test").boxes["face"][0, 0],
        [0.1, 0.2, 0.5, 0.9],
    )


def test_ids_and_clusters_are_taken(pictures):
    table = good().assign(
        id=[f"row-{i}" for i in range(12)], cluster=[f"s{i % 3}" for i in range(12)]
    )
    task = manifest_task(written(pictures, table))
    assert task.spec.cluster == "cluster"
    assert task.read("test").ids.tolist() == ["row-10", "row-11"]
    assert task.read("test").clusters.tolist() == ["s1", "s2"]


def test_two_people_in_one_picture_share_a_cluster(pictures):
    table = with_boxes(good()).assign(id=[f"r{i}" for i in range(12)])
    table.loc[1, "path"] = "./p0.png"
    table.loc[1, "face_x1"] = 0.3
    rows = manifest_task(written(pictures, table)).read("train")
    assert len(rows) == 8
    assert rows.clusters[0] == rows.clusters[1] == "p0.png"


def test_labels_that_look_like_missing_values_or_numbers_are_classes(pictures):
    table = good().replace({"label": {"happy": "None", "angry": "NA"}})
    assert manifest_task(written(pictures, table)).spec.label_sets["label"] == ("NA", "None")
    numbers = good().assign(label=[3, 10] * 6)
    expected = ("10", "3")  # sorted as text
    for kind in ("csv", "parquet"):
        task = manifest_task(written(pictures, numbers, kind))
        assert task.spec.label_sets["label"] == expected


def test_windows_line_ends_byte_order_mark_blank_lines_and_quotes_are_fine(pictures):
    Image.new("RGB", (3, 3)).save(pictures / 'a, "b".png')
    plain = good()
    plain.loc[0, "path"] = 'a, "b".png'
    lines = ['"path", label ,split,note', "", ",,,"]
    for i, (path, label, split) in enumerate(plain.itertuples(index=False)):
        quoted = path.replace('"', '""')
        lines.append(f'"{quoted}", {label} ,{split},"two\r\nlines {i}"')
    (pictures / "odd.CSV").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode() + b"\r\n")
    odd = manifest_task(str(pictures / "odd.CSV"))
    reference = manifest_task(written(pictures, plain))
    for split in reference.splits:
        assert odd.read(split).digest() == reference.read(split).digest()


def test_commas_added_after_the_last_column_are_fine(pictures):
    path = pictures / "labels.csv"
    text = good().to_csv(index=False).replace("\n", ",,\n")
    path.write_text(text)
    assert len(manifest_task(str(path)).read("train")) == 8


def test_data_root_holds_the_pictures_elsewhere(pictures, tmp_path_factory):
    apart = tmp_path_factory.mktemp("apart")
    task = manifest_task(written(apart, good()), data_root=pictures)
    assert len(task.read("train")) == 8
    assert task.open("p3.png").size == (6, 4)
    with pytest.raises(DataError, match=r"no such file \(paths are relative to .*apart"):
        manifest_task(written(apart, good()))


def test_opening_never_leaves_the_root(pictures):
    task = manifest_task(written(pictures, good()))
    with pytest.raises(DataError, match="inside the data root"):
        task.open("../p0.png")


def test_relative_target_is_taken_from_the_working_folder(pictures, monkeypatch):
    written(pictures, good())
    monkeypatch.chdir(pictures.parent)
    task = manifest_task(f"{pictures.name}/labels.csv", data_root=Path(pictures.name))
    monkeypatch.chdir("/")  # what was found stays found
    assert task.open(task.read("val").pictures[0, 0]).size == (6, 4)


def test_source_follows_the_content(pictures):
    first = manifest_task(written(pictures, good())).spec.source
    changed = good().replace({"label": {"angry": "sad"}})
    assert first != manifest_task(written(pictures, changed)).spec.source
    assert first == manifest_task(written(pictures, good())).spec.source


# ---------------------------------------------------------------- rows left out


def test_each_fault_of_a_row_is_named_and_counted(pictures, caplog):
    table = with_boxes(good()).astype({"label": object})
    extra = with_boxes(pd.concat([good()[:1]] * 12, ignore_index=True)).astype(
        dict.fromkeys(BOX, object)
    )
    (pictures / "empty.png").touch()
    (pictures / "folder.png").mkdir()
    outside = pictures.parent / "outside.png"
    Image.new("RGB", (3, 3)).save(outside)
    (pictures / "link.png").symlink_to(outside)
    Image.new("RGB", (3, 3)).save(pictures / "ok.png")
    paths = [
        "gone.png", "empty.png", "folder.png", "../outside.png", "link.png", str(outside), "p0.png",
        "p0.png", "nan.png", "inverted.png", "flat.png", "far.png",
    ]  # fmt: skip
    for name in ("nan", "inverted", "flat", "far"):
        (pictures / f"{name}.png").symlink_to("ok.png")
    extra["path"] = paths
    extra["label"] = extra["label"].astype(object)
    extra.loc[6, "label"] = None
    extra.loc[8, BOX] = [0.1, "n/a", 0.5, 0.9]
    extra.loc[9, BOX] = [0.5, 0.2, 0.1, 0.9]
    extra.loc[10, BOX] = [0.1, 0.2, 0.1, 0.9]
    extra.loc[11, BOX] = [-0.2, 0.2, 0.5, 0.9]
    with caplog.at_level(logging.WARNING):
        task = manifest_task(written(pictures, pd.concat([table, extra])))
    rows = task.read("train")
    assert len(rows) == 8
    assert Counter((left.id, left.reason) for left in rows.left_out) == Counter(
        [
            ("gone.png", "no such file"),
            ("empty.png", "a file of zero bytes"),
            ("folder.png", "not a file"),
            ("../outside.png", "path leaves the data root"),
            ("link.png", "path leaves the data root"),
            (str(outside), "path leaves the data root"),
            ("p0.png", "no label"),
            ("p0.png", "duplicate of an earlier row"),
            ("nan.png", "box face is missing or not a number"),
            ("inverted.png", "box face is inverted"),
            ("flat.png", "box face is empty"),
            ("far.png", "box face reaches outside [0, 1]"),
        ]
    )
    assert "12 left out: 3 x path leaves the data root" in caplog.text
    assert task.read("val").left_out == ()


def test_missing_boxes_paths_clusters_and_ids_are_left_out(pictures):
    table = with_boxes(good()).assign(id=[f"r{i}" for i in range(12)], cluster="c")
    table.loc[0, BOX] = np.nan
    table.loc[1, "path"] = None
    table.loc[2, "cluster"] = None
    table.loc[3, "id"] = None
    for kind in ("csv", "parquet"):
        assert reasons(manifest_task(written(pictures, table, kind))) == {
            "r0": "box face is missing or not a number",
            "r1": "no path",
            "r2": "no cluster",
            "row 4": "no id",
        }


def test_a_picture_in_train_and_test_is_used_once(pictures):
    table = good().assign(id=[f"r{i}" for i in range(12)])
    table.loc[11, ["path", "label"]] = ["./p0.png", "happy"]
    table.loc[9, "split"] = "test"
    task = manifest_task(written(pictures, table))
    assert reasons(task, "test") == {"r11": "duplicate of an earlier row"}


def test_one_box_in_pixels_is_left_out_and_all_in_pixels_stop(pictures):
    table = with_boxes(good())
    table.loc[0, "face_x2"] = 412.0
    assert reasons(manifest_task(written(pictures, table))) == {
        "p0.png": "box face reaches outside [0, 1]"
    }
    pixels = with_boxes(good(), (10, 20, 412, 300))
    with pytest.raises(
        DataError, match=r"face = \(10, 20, 412, 300\) in row 1, probably pixels\. Divide x1 and x2"
    ):
        manifest_task(written(pictures, pixels))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from([-0.5, 0.0, 0.25, 0.75, 1.0, 1.5, float("nan")]), min_size=4, max_size=4
    )
)
def test_a_box_is_used_exactly_when_it_has_an_area_inside_the_picture(tmp_path_factory, box):
    folder = tmp_path_factory.getbasetemp()
    for i in range(12):
        if not (folder / f"p{i}.png").exists():
            Image.new("RGB", (2, 2)).save(folder / f"p{i}.png")
    table = with_boxes(good())
    table.loc[0, BOX] = box
    x1, y1, x2, y2 = box
    usable = 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1
    rows = manifest_task(written(folder, table)).read("train")
    assert len(rows) == 7 + usable
    assert len(rows.left_out) == 1 - usable
    kept = rows.boxes["face"]
    assert (kept[..., 2:] > kept[..., :2]).all()


# ---------------------------------------------------------------- tables that cannot be used


@pytest.mark.parametrize(
    ("rename", "message"),
    [
        ({"label": "Label"}, r"'label' is missing, found: path, Label, split\. Rename 'Label'"),
        ({"path": "image_path"}, r"'path' is missing.*Rename 'image_path'"),
        ({"path": "zzz"}, r"'path' is missing, found: zzz, label, split\. Add it"),
        ({"split": "Split"}, r"Expected 'split' or no such column.*found 'Split'"),
        ({"split": "spilt"}, r"found 'spilt'"),
        ({"split": "ID"}, r"Expected 'id' or no such column.*found 'ID'"),
        ({"split": "cluster_id"}, r"found 'cluster_id'"),
        ({"split": "face_x1"}, r"missing: face_y1, face_x2, face_y2"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_wrong_columns_are_named_with_what_was_found(pictures, rename, message, kind):
    with pytest.raises(DataError, match=message):
        manifest_task(written(pictures, good().rename(columns=rename), kind))


def test_unrelated_columns_do_no_harm(pictures):
    table = good().assign(idx=range(12), license="cc0", splitting_hairs=1, x1=400.0)
    assert len(manifest_task(written(pictures, table)).read("train")) == 8


def test_role_named_image_is_refused(pictures):
    table = with_boxes(good()).rename(columns=lambda name: name.replace("face", "image"))
    with pytest.raises(DataError, match="`image` is the whole picture"):
        manifest_task(written(pictures, table))


def test_column_given_twice_is_refused(pictures):
    (pictures / "labels.csv").write_text("path,label,label\np0.png,a,b\n")
    with pytest.raises(DataError, match="'label' 2 times"):
        manifest_task(str(pictures / "labels.csv"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"path;label;split\np0.png;a;train\n", r"separated by commas.*found: path;label;split"),
        (b"path,label,split\n", "found none"),
        (b"path,label,split\np0.png,a\n", "Expected 3 cells in line 2 .* found 2"),
        (b"path,label,split\np0.png,a,train,more\n", "Expected 3 cells in line 2 .* found 4"),
        (b'path,label\n"p0.png,a\np1.png,b\n', "Mend the quotes"),
        ("path,label\np0.png,fr\u00f6hlich\n".encode("latin-1"), "UTF-8"),
        ("path,label\np0.png,a\n".encode("utf-16"), "UTF-8"),
        (b"path,label\np0\0.png,a\np1.png,b\n", "class 'a' .*1 x no such file"),
    ],
)
def test_unreadable_csv(pictures, content, message):
    (pictures / "labels.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        manifest_task(str(pictures / "labels.csv"))


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more", b"path,label\np0.png,a\n"])
def test_unreadable_parquet(pictures, content):
    (pictures / "labels.parquet").write_bytes(content)
    with pytest.raises(DataError, match="Expected a Parquet table"):
        manifest_task(str(pictures / "labels.parquet"))


def test_truncated_parquet(pictures):
    path = Path(written(pictures, good(), "parquet"))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="Expected a Parquet table"):
        manifest_task(str(path))


def test_empty_parquet_table(pictures):
    with pytest.raises(DataError, match="found none"):
        manifest_task(written(pictures, good()[:0], "parquet"))


def test_missing_table_and_unknown_kind(pictures):
    with pytest.raises(DataError, match="found nothing"):
        manifest_task(str(pictures / "nowhere.csv"))
    for name in ("p0.png", "nowhere"):
        with pytest.raises(DataError, match=r"ending in \.csv or \.parquet"):
            manifest_task(str(pictures / name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("validation", r"found 'validation' in row 10\. Did you mean 'val'"),
        ("Train", r"Did you mean 'train'"),
        ("", r"found ''"),
        ("all", r"found 'all'"),
    ],
)
def test_unknown_splits(pictures, name, message):
    table = good()
    table.loc[9, "split"] = name
    with pytest.raises(DataError, match=message):
        manifest_task(written(pictures, table))


@pytest.mark.parametrize("absent", ["train", "test"])
def test_splits_without_training_or_test_rows(pictures, absent):
    table = good().replace({"split": {absent: "val"}})
    with pytest.raises(DataError, match=f"Add {absent}, or use no splits"):
        manifest_task(written(pictures, table))


def test_split_whose_rows_are_all_left_out(pictures):
    table = good()
    table.loc[table["split"] == "val", "path"] = "gone.png"
    with pytest.raises(DataError, match=r"split 'val' .*Left out: 2 x no such file"):
        manifest_task(written(pictures, table))


def test_class_with_one_sample(pictures):
    table = good()
    table.loc[3, "label"] = "sad"
    with pytest.raises(DataError, match=r"two samples or more of the class 'sad' .* found 1"):
        manifest_task(written(pictures, table))


def test_class_whose_rows_are_left_out_does_not_vanish(pictures):
    table = good()
    table.loc[[2, 3], "label"] = "sad"
    table.loc[[2, 3], "path"] = "gone.png"
    with pytest.raises(DataError, match=r"class 'sad' .* found 0\. Left out: 2 x no such file"):
        manifest_task(written(pictures, table))


def test_class_absent_from_train(pictures):
    table = good()
    table.loc[[8, 10], "label"] = "sad"
    with pytest.raises(DataError, match=r"split train of the class 'sad' .* found none"):
        manifest_task(written(pictures, table))


def test_class_in_one_cluster_cannot_be_held_out(pictures):
    table = good().drop(columns="split").assign(cluster=["a", "b"] * 6)
    with pytest.raises(DataError, match="two clusters or more of the class 'angry'"):
        manifest_task(written(pictures, table))
    assert manifest_task(written(pictures, table.assign(split=good()["split"]))).splits


def test_single_class(pictures):
    with pytest.raises(DataError, match=r"two classes or more .* found only happy"):
        manifest_task(written(pictures, good().assign(label="happy")))


def test_repeated_ids(pictures):
    with pytest.raises(DataError, match=r"'r' 12 times.*Give each row its own id"):
        manifest_task(written(pictures, good().assign(id="r")))
    table = good()
    table.loc[10, "path"] = "p1.png"  # another label for the same picture, in another split
    with pytest.raises(DataError, match=r"'p1\.png' 2 times.*add a column `id`"):
        manifest_task(written(pictures, table))


# ---------------------------------------------------------------- folders


def fill(folder: Path, *, counts: dict[str, int]) -> None:
    colour = itertools.count()
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (4, 4), (next(colour), 0, 0)).save(folder / name / f"{i}.png")


def test_class_folders(tmp_path):
    fill(tmp_path, counts={"dog": 3, "cat": 2})
    task = manifest_task(str(tmp_path))
    assert task.splits == ("all",)
    assert task.spec.label_sets == {"label": ("cat", "dog")}
    rows = task.read("all")
    assert rows.ids.tolist() == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png", "dog/2.png"]
    assert rows.labels["label"].tolist() == [0, 0, 1, 1, 1]
    assert task.open("dog/1.png").getpixel((0, 0)) == (1, 0, 0)


def test_split_folders(tmp_path):
    fill(
        tmp_path,
        counts={"train/cat": 2, "train/dog": 2, "test/cat": 1, "test/dog": 3, "val/dog": 1},
    )
    task = manifest_task(str(tmp_path))
    assert task.splits == ("train", "val", "test")
    assert task.read("test").labels["label"].tolist() == [0, 1, 1, 1]
    assert task.read("val").ids.tolist() == ["val/dog/0.png"]


def test_what_is_no_row_of_a_folder_is_listed(tmp_path):
    fill(tmp_path, counts={"train/a": 2, "train/b": 2, "test/a": 1, "test/a/deeper": 1})
    (tmp_path / "README.txt").touch()
    (tmp_path / "train" / "loose.png").touch()
    (tmp_path / "train" / "a" / "notes.txt").touch()
    (tmp_path / "train" / "a" / "zero.png").touch()
    (tmp_path / "train" / "a" / ".DS_Store").touch()
    task = manifest_task(str(tmp_path))
    assert reasons(task) == {
        "README.txt": "not in a class folder",
        "train/loose.png": "not in a class folder",
        "train/a/notes.txt": "not a picture by its suffix",
        "train/a/zero.png": "a file of zero bytes",
    }
    assert reasons(task, "test") == {"test/a/deeper": "a folder inside a class folder"}


def test_links_out_of_a_folder_need_a_data_root(tmp_path):
    fill(tmp_path, counts={"store": 4, "task/a": 2, "task/b": 0})
    for i in range(2):
        (tmp_path / "task" / "b" / f"{i}.png").symlink_to(tmp_path / "store" / f"{i}.png")
    with pytest.raises(DataError, match=r"class 'b' .* found 0.*2 x path leaves the data root"):
        manifest_task(str(tmp_path / "task"))
    task = manifest_task(str(tmp_path / "task"), data_root=tmp_path)
    assert task.read("all").pictures[:, 0].tolist() == ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
    assert task.open("b/1.png").size == (4, 4)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "one sub-folder a class .* found none"),
        ({"a": 2}, "two classes or more .* found only a"),
        ({"a": 2, "b": 0}, "two samples or more of the class 'b' .* found 0"),
        ({"a": 2, "train": 2}, "found both: a, train"),
        ({"train/a": 2, "train/b": 2}, "found only train. Add test"),
        ({"train/a": 2, "train/b": 2, "test": 0}, "rows in the split 'test'"),
        ({"train/a": 2, "train/b": 0, "test/a": 1, "test/b": 2}, "split train of the class 'b'"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, counts, message):
    fill(tmp_path, counts=counts)
    with pytest.raises(DataError, match=message):
        manifest_task(str(tmp_path))


def test_a_folder_equals_the_table_that_lists_it(tmp_path):
    fill(tmp_path, counts={"a": 3, "b": 2})
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["path", "label"])
        lines.writerows(
            (f"{p.parent.name}/{p.name}", p.parent.name) for p in sorted(tmp_path.glob("*/*"))
        )
    table, folder = manifest_task(str(tmp_path / "labels.csv")), manifest_task(str(tmp_path))
    assert table.read("all").digest() == folder.read("all").digest()
