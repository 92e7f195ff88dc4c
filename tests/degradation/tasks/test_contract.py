"""What every task must keep, whoever wrote it: registered ones, and the example in the docs.

Data sets that others ship are read from their miniatures, a clean one and one with every quirk that
is not refused.
"""

import importlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from degradation.cache.schema import plain, spec_from
from degradation.errors import DataError
from degradation.pixels import to_rgb
from degradation.scenes.export.registry import MINIATURES, export, quirks_of
from degradation.tasks import DEFAULT_TASKS, Task, get_task, registry, task_names
from degradation.tasks.registry import about_task, on_disk_tasks
from degradation.tasks.task import Rows, TaskSpec
from probes.metrics import resolve

ROOT = Path(__file__).parents[3]
REASONS = 15
"""Kinds of faults that a data set may have; more means that reasons name single rows."""
FORBIDDEN = re.compile(r'[\\:<>"|?*\x00-\x1f]')
"""In no file name on Windows."""


# ------------------------------------------------------------------ the contract


def check_spec(task: Task, name: str) -> None:
    """Names are those asked for, and whatever refers to something refers to what is there."""
    spec = task.spec
    assert spec.name == name
    assert spec.cluster
    assert spec.source
    assert task.splits
    assert len(set(task.splits)) == len(task.splits)
    assert set(task.splits) >= {"train", "test"} or task.splits == ("all",)
    assert len(set(spec.roles)) == len(spec.roles)
    assert "image" not in spec.roles
    assert spec.crop in ("", *spec.roles)
    regions = {"image", *spec.roles}
    arms = [arm.name for arm in spec.arms]
    assert len(set(arms)) == len(arms)
    assert all(arms)
    for chosen in (spec.regions, *(arm.regions for arm in spec.arms)):
        assert chosen
        assert len(set(chosen)) == len(chosen)
        assert set(chosen) <= regions
    confirmatory = (spec.regions, spec.balanced)
    assert confirmatory not in [(arm.regions, arm.balanced) for arm in spec.arms]
    questions = {"gaze": ()} if spec.kind == "gaze" else spec.label_sets
    assert set(spec.metrics) == set(questions)
    assert not (spec.kind == "gaze" and spec.label_sets)
    assert spec.roles or spec.kind in ("classes", "track")
    assert len(spec.roles) > 1 or spec.kind != "pair-classes"
    for question, classes in questions.items():
        assert len(set(classes)) == len(classes)
        assert len(classes) > 1 or spec.kind == "gaze"
        assert spec.metrics[question]
        for metric in spec.metrics[question]:
            assert resolve(metric, classes)
    assert set(task.known) <= set(task.splits)
    assert all(type(count) is int and count > 0 for count in task.known.values())
    assert spec_from(json.loads(json.dumps(plain(spec)))) == spec


def check_rows(rows: Rows, spec: TaskSpec) -> None:
    """Columns have the shapes, types and ranges that their readers rely on."""
    n, frames = rows.pictures.shape
    assert n == len(rows) > 0
    assert (frames > 1) == (spec.kind == "track")
    assert rows.clusters.shape == (n,)
    for column in (rows.ids, rows.pictures, rows.clusters):
        assert column.dtype == object
        assert all(type(value) is str and value for value in column.ravel())
    assert len(set(rows.ids)) == n
    for column in rows.attributes.values():
        assert column.shape == (n,)
        assert all(type(value) is str for value in column)  # empty: not known
    assert set(rows.boxes) == set(spec.roles)
    for boxes in rows.boxes.values():
        assert boxes.dtype == np.float32
        assert boxes.shape == (n, frames, 4)
        there = np.isfinite(boxes).all(axis=2)
        assert np.isnan(boxes[~there]).all()  # a box is whole or not there
        assert there.any()
        inside = boxes[there]
        assert inside.min() >= 0
        assert inside.max() <= 1
        assert (inside[:, 2:] > inside[:, :2]).all()
    assert set(rows.labels) == set(spec.label_sets)
    for name, labels in rows.labels.items():
        assert labels.dtype == np.int64
        assert labels.min() >= -1  # unknown
        assert labels.max() < len(spec.label_sets[name])
        assert (labels >= 0).any()
    assert rows.points.dtype == np.float32
    assert (rows.points.shape[1] > 0) == (spec.kind == "gaze")
    known = np.isfinite(rows.points).all(axis=2)
    assert np.isnan(rows.points[~known]).all()
    assert spec.kind != "gaze" or known.any()  # somebody may look at nothing in the picture
    assert ((rows.points[known] >= 0) & (rows.points[known] <= 1)).all()


def check_references(rows: Rows) -> None:
    """References are relative, and name the same file on every system."""
    for reference in rows.pictures.ravel():
        parts = reference.split("/")
        assert not FORBIDDEN.search(reference), reference
        assert not {"", ".", ".."} & set(parts), reference
        assert not any(part.endswith((".", " ")) for part in parts), reference


def check_left_out(rows: Rows) -> None:
    """Rows with the same fault have the same reason, so that they are counted together."""
    reasons = Counter(one.reason for one in rows.left_out)
    assert len(reasons) <= REASONS, reasons
    for one in rows.left_out:
        assert one.id
        assert one.reason
        name = one.id.rpartition("/")[2]
        assert len(name) < 4 or name not in one.reason, one


def check_task(task: Task, name: str, *, pictures: int = 4) -> dict[str, Rows]:
    """Everything above, and that splits are apart, pictures open, and reading repeats itself."""
    check_spec(task, name)
    splits = {split: task.read(split) for split in task.splits}
    for split, rows in splits.items():
        check_rows(rows, task.spec)
        check_references(rows)
        check_left_out(rows)
        if rows.pictures.shape[1] == 1:  # one picture can be opened and encoded for all its rows
            runs = [picture for picture, _ in itertools.groupby(rows.pictures[:, 0])]
            assert len(runs) == len(set(runs))
        assert task.read(split).digest() == rows.digest()
        for place in np.linspace(0, len(rows) - 1, pictures, dtype=int):
            image = task.open(rows.pictures[place, -1])
            assert isinstance(image, Image.Image)
            assert min(to_rgb(image).size) > 1
    for column in ("ids", "clusters"):
        places = Counter(value for r in splits.values() for value in set(getattr(r, column)))
        assert set(places.values()) == {1}, [v for v, count in places.items() if count > 1][:3]
    for question, classes in task.spec.label_sets.items():
        learned = splits.get("train", splits[task.splits[0]]).labels[question]
        assert set(learned) - {-1} == set(range(len(classes))), question
    return splits


# ------------------------------------------------------------------ what is registered


@pytest.fixture(scope="module")
def miniatures(tmp_path_factory):
    """Folders by data set, clean and with every quirk that is not refused; written when needed."""
    written = {}

    def folder(name: str, *, faulty: bool = False) -> Path:
        if (name, faulty) not in written:
            place = tmp_path_factory.mktemp("miniatures") / name
            soft = [q for q, text in quirks_of(name).items() if not text.startswith("refused:")]
            export(name, place, scale=0.3, quirks=soft if faulty else ())
            written[name, faulty] = place
        return written[name, faulty]

    return folder


def read_all(name: str, folder: Path) -> dict[str, Rows]:
    task = get_task(name, data_root=folder)
    return {split: task.read(split) for split in task.splits}


def data_set(task: str) -> str:
    return next(name for name, tasks in MINIATURES.items() if task in tasks)


def test_every_registered_task_is_checked_here() -> None:
    # A data set needs `ABOUT` and a miniature: see docs/adding-a-task.md.
    assert set(task_names()) == {*DEFAULT_TASKS, *on_disk_tasks()}
    assert set(on_disk_tasks()) == {task for tasks in MINIATURES.values() for task in tasks}


@pytest.mark.parametrize("name", DEFAULT_TASKS)
def test_a_task_of_the_rendered_world_keeps_the_contract(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes = importlib.import_module("degradation.tasks.scenes")
    few = {"train": 24, "val": 6, "test": 6}
    monkeypatch.setattr(scenes, "STILL", few)
    monkeypatch.setattr(scenes, "CLIPS", few)
    check_task(get_task(name), name)


@pytest.mark.parametrize("name", on_disk_tasks())
def test_a_data_set_keeps_the_contract(name: str, miniatures) -> None:
    folder = miniatures(data_set(name))
    splits = check_task(get_task(name, data_root=folder), name)
    for split, rows in read_all(name, folder).items():
        assert rows.digest() == splits[split].digest()


@pytest.mark.parametrize("name", on_disk_tasks())
def test_a_data_set_with_every_quirk_keeps_the_contract(name: str, miniatures) -> None:
    task = get_task(name, data_root=miniatures(data_set(name), faulty=True))
    check_spec(task, name)
    for split in task.splits:
        rows = task.read(split)
        check_rows(rows, task.spec)
        check_references(rows)
        check_left_out(rows)


def test_reading_imports_no_torch(miniatures) -> None:
    folders = {name: str(miniatures(data_set(name))) for name in on_disk_tasks()}
    script = (
        "import sys; from pathlib import Path; from degradation.tasks import get_task\n"
        f"for name, folder in {folders}.items():\n"
        "    get_task(name, data_root=Path(folder)).read('train')\n"
        "print(sorted({'torch', 'sklearn', 'av'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", on_disk_tasks())
def test_a_data_set_says_what_it_is_before_it_is_there(name: str, tmp_path: Path) -> None:
    about = about_task(name)
    assert about.page.startswith(("https://", "http://"))
    assert all((about.title, about.paper, about.access, about.licence, about.layout))
    assert all(not place.startswith("/") and "\\" not in place for place in about.layout)
    with pytest.raises(DataError, match=r"[Ee]xpected"):
        read_all(name, tmp_path)


# ------------------------------------------------------------------ the contract itself


def good_rows(**changes) -> Rows:
    columns = {
        "ids": np.array(["a", "b"], dtype=object),
        "pictures": np.array([["a.png"], ["b.png"]], dtype=object),
        "boxes": {"face": np.array([[[0, 0, 0.5, 1]], [[np.nan] * 4]], dtype=np.float32)},
        "labels": {"mood": np.array([0, -1])},
        "points": np.zeros((2, 0, 2), dtype=np.float32),
        "clusters": np.array(["a", "b"], dtype=object),
    }
    return Rows(**(columns | changes))


SPEC = TaskSpec(
    name="moods",
    kind="classes",
    social=True,
    label_sets={"mood": ("good", "bad")},
    roles=("face",),
    regions=("face",),
    metrics={"mood": ("accuracy",)},
    cluster="picture",
    source="by hand",
)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"mood": np.array([0, 2])}},
        {"labels": {"temper": np.array([0, 1])}},
        {"boxes": {}},
        {"boxes": {"face": np.full((2, 1, 4), [0.5, 0, 0.2, 1], dtype=np.float32)}},
        {"boxes": {"face": np.full((2, 1, 4), [0, 0, 1.2, 1], dtype=np.float32)}},
        {"boxes": {"face": np.full((2, 1, 4), [0, 0, 1, np.nan], dtype=np.float32)}},
        {"boxes": {"face": np.full((2, 1, 4), np.nan, dtype=np.float32)}},
        {"clusters": np.array([1, 2], dtype=object)},
        {"attributes": {"light": np.array(["dim", None], dtype=object)}},
        {"points": np.zeros((2, 1, 2), dtype=np.float32)},
    ],
    ids=str,
)
def test_the_contract_catches_wrong_rows(changes: dict) -> None:
    check_rows(good_rows(), SPEC)
    with pytest.raises(AssertionError):
        check_rows(good_rows(**changes), SPEC)


@pytest.mark.parametrize(
    "reference",
    ["/a.png", "C:/a.png", "a\\b.png", "../a.png", "a//b.png", "./a.png", "what?.png", "a./b.png"],
)
def test_the_contract_catches_references_of_one_system(reference: str) -> None:
    check_references(good_rows())
    with pytest.raises(AssertionError):
        check_references(good_rows(pictures=np.array([["a.png"], [reference]], dtype=object)))


# ------------------------------------------------------------- the example in docs/adding-a-task.md


def example() -> str:
    """The first Python block of the page."""
    text = (ROOT / "docs" / "adding-a-task.md").read_text(encoding="utf-8")
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


@pytest.fixture
def moods(tmp_path, monkeypatch) -> Path:
    """The example registered as the guide says, and the data it reads."""
    (tmp_path / "moods.py").write_text(example())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._TASKS, "moods", registry._Entry("moods:moods_task", on_disk=True))
    lines = ["picture,split,person,mood,x1,y1,x2,y2"]
    for number in range(12):
        split, mood = ("train", "train", "test")[number % 3], ("calm", "cross")[number % 2]
        person = f"{split}-{number // 6}"
        Image.new("RGB", (40, 30), (20 * number, 90, 90)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{split},{person},{mood},4,3,20,27")
    lines.append("gone.png,train,train-0,calm,4,3,20,27")
    (tmp_path / "moods.csv").write_text("\n".join(lines))
    return tmp_path


def test_the_example_task_keeps_the_contract(moods: Path) -> None:
    splits = check_task(get_task("moods", data_root=moods), "moods")
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 8, "test": 4}
    np.testing.assert_allclose(splits["train"].boxes["face"][0, 0], [0.1, 0.1, 0.5, 0.9])
    assert [(one.id, one.reason) for one in splits["train"].left_out] == [
        ("gone.png", "no such file")
    ]
    assert "moods" in task_names()


def test_the_example_passes_the_linter_of_the_package() -> None:
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    arguments = (ruff, "check", "--stdin-filename", "degradation/tasks/moods.py", "-")
    done = subprocess.run(
        arguments, input=example(), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
