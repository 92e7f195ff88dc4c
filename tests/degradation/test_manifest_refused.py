"""Manifests that cannot be used, each with its message."""

from pathlib import Path

import pytest
from manifest_fixtures import good, twelve_pictures, with_boxes, written

from degradation.errors import DataError
from degradation.tasks.manifest import manifest_task


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return twelve_pictures(tmp_path)


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
