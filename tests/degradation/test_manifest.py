"""Manifests as people write them: good ones in every form, and rows that are left out."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_fixtures import BOX, good, reasons, twelve_pictures, with_boxes, written
from PIL import Image

from degradation.errors import DataError
from degradation.tasks.manifest import manifest_task


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return twelve_pictures(tmp_path)


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


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_columns_that_are_called_attributes_travel_along(pictures, kind):
    table = good()
    plain = manifest_task(written(pictures, table, kind)).read("train")
    table["attribute_light"] = ["dim", None, " warm "] * 4
    table["weather"] = "rain"
    rows = manifest_task(written(pictures, table, kind)).read("train")
    assert list(rows.attributes) == ["light"]
    assert rows.attributes["light"].tolist() == (["dim", "", "warm"] * 3)[:8]
    assert plain.attributes == {}
    assert plain.digest() != rows.digest()
    with pytest.raises(DataError, match="without slashes"):
        manifest_task(written(pictures, table.rename(columns={"weather": "attribute_a/b"}), kind))


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
