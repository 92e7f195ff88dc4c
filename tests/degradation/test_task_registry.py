"""Every task is found by its name, late and cheaply; wrong names get help."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from degradation.errors import ConfigError, DataError
from degradation.tasks import DEFAULT_TASKS, Task, get_task, registry, task_names


@pytest.mark.parametrize("name", DEFAULT_TASKS)
def test_every_default_task_is_built_under_its_name(name):
    task = get_task(name)
    assert isinstance(task, Task)
    assert task.spec.name == name


@pytest.mark.parametrize("name", registry.on_disk_tasks())
def test_every_data_set_asks_for_its_folder(name):
    with pytest.raises(ConfigError, match=f"{name}.*--data-root"):
        get_task(name)
    assert registry.about_task(name).layout


@pytest.mark.parametrize(
    ("name", "help_"),
    [("scenes-gaze", "affectnet"), ("piscs-domain", "Did you mean 'pisc-domain'")],
)
def test_there_is_nothing_to_say_of_what_others_do_not_ship(name, help_):
    with pytest.raises(ConfigError, match=help_):
        registry.about_task(name)


def test_default_tasks_need_no_data():
    assert set(DEFAULT_TASKS) <= set(task_names())
    social = {name: get_task(name, data_root=Path("nowhere")).spec.social for name in DEFAULT_TASKS}
    assert [name for name, is_social in social.items() if not is_social] == ["scenes-objects"]


def test_listing_imports_neither_torch_nor_any_task():
    script = (
        "import sys, degradation.tasks as t; t.task_names(); "
        "print([m for m in ('torch', 'pandas', 'pyarrow', 'sklearn', 'degradation.tasks.manifest', "
        "'degradation.tasks.scenes') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_no_data_set_imports_torch_or_decoders_of_videos():
    script = (
        "import sys; from degradation.tasks import registry as r; "
        "[r.about_task(name) for name in r.on_disk_tasks()]; "
        "print([m for m in ('torch', 'pandas', 'sklearn', 'av') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_building_a_manifest_does_not_import_torch(tmp_path):
    folder_with_two_classes(tmp_path)
    script = (
        "import sys; from degradation.tasks import get_task; "
        f"get_task('manifest:{tmp_path}'); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def folder_with_two_classes(folder: Path) -> None:
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for i in range(2):
            Image.new("RGB", (4, 4)).save(folder / name / f"{i}.png")


def test_manifest_is_reached_by_its_prefix(tmp_path):
    folder_with_two_classes(tmp_path)
    assert get_task(f"manifest:{tmp_path}").spec.label_sets["label"] == ("cat", "dog")
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(DataError, match="path leaves the data root"):
        get_task(f"manifest:{tmp_path}", data_root=elsewhere)  # so the root is passed on


@pytest.mark.parametrize(
    ("name", "help_"),
    [
        ("scene-gaze", r"Did you mean 'scenes-gaze'"),
        ("Scenes-Objects", r"Did you mean 'scenes-objects'"),
        ("labels.csv", r"Did you mean 'manifest:labels\.csv'\?"),
        ("manifets:labels.csv", r"Did you mean 'manifest:labels\.csv'\?"),
        ("manifest:", r"manifest:FILE"),
        ("manifest", r"manifest:FILE"),
        ("", r"found ''"),
        (":x", r"found ':x'"),
        ("scenes-gaze:x", r"found 'scenes-gaze:x'"),
    ],
)
def test_wrong_names_get_a_suggestion_and_the_list(name, help_):
    with pytest.raises(ConfigError, match=help_) as caught:
        get_task(name)
    for known in task_names():
        assert known in str(caught.value)


NEW_TASK = """
from degradation.tasks.task import Task, TaskSpec

def build(name, *, data_root, seed=0):
    source = f"{data_root} {seed}"
    spec = TaskSpec(name, "classes", False, {}, (), ("image",), {}, "picture", source)
    return Task(spec, ("all",), read=lambda split: split, open=lambda reference: reference)
"""


def test_a_new_task_is_one_file_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "newtask.py").write_text(NEW_TASK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry._TASKS, "new", registry._Entry("newtask:build", on_disk=True))
    assert "new" in task_names()
    spec = get_task("new", data_root=Path("pictures"), seed=7).spec
    assert (spec.name, spec.source) == ("new", "pictures 7")
