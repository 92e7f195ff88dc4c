"""Folders of pictures in place of a table: a folder for each class, or for each split and class."""

import csv
import itertools
from pathlib import Path

import pytest
from manifest_fixtures import reasons
from PIL import Image

from degradation.errors import DataError
from degradation.tasks.manifest import manifest_task


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
