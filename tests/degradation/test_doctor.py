"""The doctor on healthy, partial, broken and absent data: always an account, never a traceback."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from degradation import doctor
from degradation.doctor import examine
from degradation.errors import DataError
from degradation.pixels import open_picture
from degradation.tasks import scenes
from degradation.tasks.about import About
from degradation.tasks.task import LeftOut, Rows, Task, TaskSpec

ABOUT = About(
    title="Owned pictures",
    paper="arXiv 0000.00000",
    page="https://example.org",
    access="Ask.",
    licence="Research only.",
    layout={
        "lists/*.csv": "the lists",
        "a.txt, b.txt": "either",
        "c/0 ... c/7": "class folders",
        "pictures/*/*.jpg": "pictures",
    },
)


def rows(labels: list[int], pictures: list[str], left_out=(), points=0) -> Rows:
    n = len(labels)
    names = np.array(pictures, dtype=object)
    return Rows(
        ids=names.copy(),
        pictures=names[:, None],
        boxes={},
        labels={"kind": np.array(labels, dtype=np.int64)},
        points=np.full((n, points, 2), np.nan, dtype=np.float32),
        clusters=np.array([name[0] for name in pictures], dtype=object),
        left_out=tuple(left_out),
    )


def task(read, *, root=Path("nowhere"), splits=("train", "test"), known=None, kind="classes"):
    spec = TaskSpec(
        name="owned", kind=kind, social=True, label_sets={"kind": ("cat", "dog", "emu")}, roles=(),
        regions=("image",), metrics={}, cluster="subject", source="a test",
    )  # fmt: skip
    return Task(spec, splits, read, partial(open_picture, root=root), known or {})


@pytest.fixture
def register(monkeypatch):
    """Makes `owned` a data set of others that the given function builds."""

    def as_owned(build):
        monkeypatch.setattr(doctor, "on_disk_tasks", lambda: ("owned",))
        monkeypatch.setattr(doctor, "about_task", lambda name: ABOUT)
        monkeypatch.setattr(doctor, "get_task", lambda name, data_root: build())

    return as_owned


def examined(root: Path | None, sample: int = 8):
    return examine("owned", root, sample=sample, seed=0)


def album(root: Path, names: list[str]) -> list[str]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / name)
    return names


def test_counts_everything_against_the_release(tmp_path, register):
    names = album(tmp_path, [f"{who}{i}.png" for who in "pqr" for i in range(2)])
    lost = [
        LeftOut("x1", "no such file"), LeftOut("y", "label 9"), LeftOut("x2", "no such file"),
    ]  # fmt: skip
    parts = {
        "train": rows([0, 0, 1, -1], names[:4], lost),
        "test": rows([1, 0], names[4:]),
    }
    known = {"train": 7, "test": 3}
    register(lambda: task(parts.__getitem__, root=tmp_path, known=known))
    found = examined(tmp_path)
    train, test = found.splits
    assert (train.rows, train.left_out, train.known, train.state) == (4, 3, 7, "ok")
    assert (test.rows, test.left_out, test.known, test.state) == (2, 0, 3, "partial")
    assert (train.clusters, test.clusters) == (2, 1)
    assert [(one.reason, one.count, one.example) for one in train.faults] == [
        ("no such file", 2, "x1"), ("label 9", 1, "y"),
    ]  # fmt: skip
    labels = train.labels["kind"]
    assert labels.counts == {"cat": 2, "dog": 1, "emu": 0}
    assert (labels.unknown, labels.majority, labels.baseline) == (1, "cat", 2 / 3)
    assert test.labels["kind"].baseline == 0.5  # by the commonest class of train
    assert (found.pictures.opened, found.pictures.of, found.pictures.faults) == (6, 6, ())
    assert (found.errors, found.exit_code) == ([], 0)
    assert found.warnings == ["test has 2 samples; the release has 3."]


def test_more_rows_than_known_and_classes_that_cannot_be_learned_are_warned_of(tmp_path, register):
    names = album(tmp_path, ["a.png", "b.png", "c.png"])
    parts = {"train": rows([0], names[:1]), "test": rows([1, 2], names[1:])}
    register(lambda: task(parts.__getitem__, root=tmp_path, known={"test": 1}))
    found = examined(tmp_path)
    assert found.splits[1].state == "more than known"
    assert found.warnings == [
        "test has 2 samples; the release has 1.",
        "test has rows of dog, emu (kind), train has none.",
    ]
    assert found.exit_code == 0


def test_says_which_parts_of_the_layout_are_there(tmp_path, register, monkeypatch):
    monkeypatch.setattr(doctor, "_LISTED", 3)
    album(tmp_path, [f"pictures/{i}/{j}.jpg" for i in range(2) for j in range(2)])
    (tmp_path / "b.txt").touch()
    (tmp_path / "c" / "7").mkdir(parents=True)
    register(lambda: task({}.__getitem__, splits=()))
    found = [(one.pattern, one.found, one.more) for one in examined(tmp_path).layout]
    assert found == [
        ("lists/*.csv", 0, False),
        ("a.txt, b.txt", 1, False),
        ("c/0 ... c/7", 1, False),
        ("pictures/*/*.jpg", 3, True),
    ]


def test_without_a_folder_the_data_set_is_still_described():
    found = examine("affectnet", None, sample=8, seed=0)
    assert found.about.title
    assert found.layout == ()
    assert found.exit_code == 2
    assert "--data-root" in found.errors[0]


@pytest.mark.parametrize("there", [False, True])
def test_a_missing_or_empty_folder_is_an_error_of_the_data(tmp_path, there):
    folder = tmp_path / "somewhere"
    if there:
        folder.mkdir()
    found = examine("hagrid", folder, sample=8, seed=0)
    assert found.about.title
    assert {one.found for one in found.layout} == {0}
    assert found.exit_code == DataError.exit_code
    assert str(folder) in found.errors[0]


def test_a_split_that_cannot_be_read_does_not_hide_the_others(tmp_path, register):
    names = album(tmp_path, ["a.png", "b.png"])

    def read(split):
        if split == "train":
            raise DataError("Expected a table, found none.")
        return rows([0, 1], names)

    register(lambda: task(read, root=tmp_path))
    found = examined(tmp_path)
    assert [one.name for one in found.splits] == ["test"]
    assert found.errors == ["Expected a table, found none."]
    assert found.exit_code == DataError.exit_code


@pytest.mark.parametrize("where", ["build", "read", "open"])
def test_a_defect_of_a_reader_is_told_and_not_thrown(tmp_path, register, where):
    def broken(*_):
        raise KeyError("surprise")

    parts = {"train": rows([0], ["a"]), "test": rows([0], ["b"])}
    healthy = task(parts.__getitem__)
    broken_task = {
        "build": broken,
        "read": lambda: task(broken),
        "open": lambda: Task(healthy.spec, healthy.splits, healthy.read, broken),
    }[where]
    register(broken_task)
    found = examined(tmp_path)
    assert found.exit_code == (DataError.exit_code if where == "open" else 1)
    assert "KeyError: 'surprise'" in found.errors[0]


def test_an_empty_split_is_an_error_that_says_why(tmp_path, register):
    names = album(tmp_path, ["a.png"])
    lost = [LeftOut("x", "no such file")] * 4
    parts = {"train": rows([0], names), "test": rows([], [], lost)}
    register(lambda: task(parts.__getitem__, root=tmp_path))
    found = examined(tmp_path)
    assert found.exit_code == DataError.exit_code
    assert "split test" in found.errors[0]
    assert "4 x no such file" in found.errors[0]


def test_pictures_that_cannot_be_opened_are_counted_by_reason(tmp_path, register):
    names = album(tmp_path, [f"{i}.png" for i in range(6)])
    for name in names[:2]:
        (tmp_path / name).write_bytes(b"not a picture")
    parts = {"train": rows([0] * 3, names[:3]), "test": rows([0] * 3, names[3:])}
    register(lambda: task(parts.__getitem__, root=tmp_path))
    found = examined(tmp_path)
    (fault,) = found.pictures.faults
    assert (fault.count, fault.example) == (2, "0.png")
    assert found.exit_code == 0  # extraction leaves them out and says so
    for name in names:
        (tmp_path / name).write_bytes(b"not a picture")
    assert examined(tmp_path).exit_code == DataError.exit_code


def test_the_sample_is_decided_by_the_seed(tmp_path, register):
    names = [f"{i}.png" for i in range(200)]  # none is there, so that all are named as faults
    parts = {"train": rows([0] * 100, names[:100]), "test": rows([0] * 100, names[100:])}
    register(lambda: task(parts.__getitem__, root=tmp_path))
    one, same, other = (
        examine("owned", tmp_path, sample=5, seed=seed).pictures.faults for seed in (0, 0, 1)
    )
    assert one == same != other
    assert sum(fault.count for fault in one) == 5


def test_gaze_targets_are_summed_up(tmp_path, register):
    names = album(tmp_path, ["a.png", "b.png", "c.png"])
    part = rows([0, 0, 0], names, points=3)
    part.points[0] = [[0.4, 0.5], [0.6, 0.5], [0.5, 0.8]]  # mean 0.1 below the centre
    part.points[1, 0] = [0.5, 0.2]  # 0.3 above
    register(lambda: task(lambda split: part, root=tmp_path, splits=("all",), kind="gaze"))
    (split,) = examined(tmp_path).splits
    assert split.points.annotators == (0, 1.0, 3)
    assert split.points.rows == 2
    assert split.points.centre == pytest.approx(0.2, abs=1e-6)


@pytest.mark.parametrize("name", ["scenes-objects", "manifest:{}"])
def test_tasks_of_our_own_have_no_owners(tmp_path, name, monkeypatch):
    monkeypatch.setattr(scenes, "STILL", dict.fromkeys(scenes.STILL, 8))
    album(tmp_path, ["x/1.png", "x/2.png", "y/1.png", "y/2.png"])
    found = examine(name.format(tmp_path), None, sample=4, seed=0)
    assert found.about is None
    assert (found.errors, found.pictures.opened) == ([], 4)
    assert found.source
