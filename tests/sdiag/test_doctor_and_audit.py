"""`sdiag doctor` and `sdiag audit` as they are typed: text, JSON, files and exit codes."""

import csv
import inspect
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from degradation.errors import ConfigError
from degradation.row_lists import read_row_list
from degradation.tasks import get_task, scenes
from probes.audits import audit_path, read_audit
from sdiag.cli import app
from sdiag.commands.task_roots import picture_root, task_roots


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch, tmp_path):
    monkeypatch.setattr(scenes, "STILL", dict.fromkeys(scenes.STILL, 8))
    monkeypatch.chdir(tmp_path)  # audits leave records among the results


def run(*arguments: str):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def jpeg(seed: int) -> bytes:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).resize((64, 64), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two classes; the test split has a picture of train, and a subject of train."""
    lines = ["path,label,split,cluster"]
    subjects = {"train": "abcd", "test": "aefg"}
    for split, clusters in subjects.items():
        for i, subject in enumerate(clusters):
            name = f"{split}{i}.jpg"
            seed = 0 if i == 3 else len(lines)  # the last of both splits is the same picture
            (tmp_path / name).write_bytes(jpeg(seed))
            lines.append(f"{name},{'xy'[i % 2]},{split},{subject}")
    lines.append("absent.jpg,x,train,h")
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines))
    return path


def test_the_doctor_prints_an_account(table):
    done = run("doctor", "--task", f"manifest:{table}")
    assert done.exit_code == 0
    for words in (
        "train: 4 rows of 4 clusters (cluster), 1 left out",
        "label: x 2, y 2",
        "1 x no such file (such as absent.jpg)",
        "pictures: 8 of 8 opened, 0 failed",
        "can be used",
    ):
        assert words in done.stdout


def test_the_doctor_describes_what_is_not_there(tmp_path):
    done = run("doctor", "--task", "affectnet", "--data-root", tmp_path, "--task", "hagrid")
    assert done.exit_code == 3
    for words in ("AffectNet", "HaGRID", "licence:", "access:", "not found", "cannot be used"):
        assert words in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["affectnet"], 2), (["nonsense"], 2), (["manifest:absent.csv"], 3), (["scenes-objects"], 0)],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_doctors_json_says_whether_it_can_be_used(arguments, code):
    done = run("doctor", "--task", *arguments, "--json", "--pictures", "2")
    (found,) = json.loads(done.stdout)
    assert done.exit_code == found["exit_code"] == code
    assert found["usable"] == (code == 0)
    assert bool(found["errors"]) == (code != 0)


def test_the_audit_finds_a_picture_and_a_cluster_that_span_train_and_test(table, tmp_path):
    done = run(
        "audit", "--task", f"manifest:{table}", "--cache", tmp_path / "cache",
        "--out", tmp_path / "out", "--clean", "no-leaks", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    rows = {one["kind"]: (one["rows"], one["of_rows"]) for one in found["overlaps"]}
    assert rows == {"file": (1, 4), "near": (0, 4), "cluster": (1, 4)}
    (implied,) = found["implied_labels"]
    assert (implied["rows"], implied["agreement"]) == (1, 1.0)
    keep = read_row_list(tmp_path / "cache", "no-leaks", f"manifest:{table}", "train")
    assert keep == {"train1.jpg", "train2.jpg"}
    with (tmp_path / "out" / "overlaps.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert [(one["kind"], one["rows"], one["row share"]) for one in written] == [
        ("file", "1", "25.0 %"), ("near", "0", "0.0 %"), ("cluster", "1", "25.0 %"),
    ]  # fmt: skip
    text = (tmp_path / "out" / "audit.md").read_text()
    assert text.count("\n| ") == 2 + 3 + 2 + 1  # two tables: heads, rules, rows
    assert (tmp_path / "out" / "implied-labels.csv").is_file()


def test_the_audit_leaves_a_record_of_each_task_until_the_next_of_it(table, tmp_path):
    name = f"manifest:{table}"
    arguments = ("--cache", "cache", "--results", "results", "--json")
    done = run("audit", "-t", name, "-t", "scenes-objects", "--clean", "x", *arguments)
    records = {
        one.task: one for one in map(read_audit, map(Path, json.loads(done.stdout)["records"]))
    }
    assert records.keys() == {name, "scenes-objects"}
    one = records[name]
    assert one.exposed_to(name, "test").ways == {"file": 1, "near": 0, "cluster": 1}
    assert one.exposed_to("scenes-objects", "test").rows == 0
    assert one.tasks == records["scenes-objects"].tasks == records.keys()
    task = get_task(name)
    assert one.digests(name) == {split: task.read(split).digest() for split in task.splits}
    assert (one.row_list, one.kept) == ("x", {"train": 2, "test": 4})
    run("audit", "-t", name, "--by-name", *arguments)
    one = read_audit(audit_path(Path("results"), name))
    assert (one.opened, one.row_list, one.kept, one.tasks) == (False, "", {}, {name})
    assert read_audit(audit_path(Path("results"), "scenes-objects")) == records["scenes-objects"]


def test_the_audit_prints_tables_with_examples(table, tmp_path):
    done = run("audit", "-t", f"manifest:{table}", "--cache", tmp_path, "--clean", "x")
    assert done.exit_code == 0
    assert "cluster: test0.jpg = train0.jpg" in done.stdout
    assert "file: test3.jpg = train3.jpg" in done.stdout
    assert f"manifest:{table}/train: 2 of 4 rows" in done.stdout
    assert "The report will tell of this from sdiag-results/audits." in done.stdout


def test_an_audit_without_leaks_says_so(tmp_path):
    done = run("audit", "-t", "scenes-objects", "--by-name", "--cache", tmp_path)
    assert done.exit_code == 0
    assert "Nothing is shared." in done.stdout


def test_a_wrong_name_for_the_lists_is_refused_before_pictures_are_read(table, tmp_path):
    done = run("audit", "-t", f"manifest:{table}", "--cache", tmp_path / "c", "--clean", "A b")
    assert isinstance(done.exception, ConfigError)
    assert not (tmp_path / "c").exists()


def test_the_radius_shown_in_help_is_the_documented_one():
    from degradation.audit import RADIUS
    from sdiag.commands.audit import audit

    assert inspect.signature(audit).parameters["radius"].default == RADIUS


def test_each_task_has_its_own_root(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a=b.csv").touch()
    roots = task_roots(["lam", "hagrid=h", "manifest:a=b.csv", "manifest:c.csv=p=q"], Path("rest"))
    assert roots == {
        "lam": tmp_path / "rest",
        "hagrid": tmp_path / "h",
        "manifest:a=b.csv": tmp_path / "rest",
        "manifest:c.csv=p": tmp_path / "q",
    }
    with pytest.raises(ConfigError, match="lam is given twice"):
        task_roots(["lam", "lam=x"], None)


def test_pictures_lie_below_the_root_that_their_references_are_relative_to(tmp_path):
    assert picture_root("scenes-gaze", tmp_path) is None
    assert picture_root("pisc-domain", tmp_path) == tmp_path
    assert picture_root("manifest:x/labels.csv", tmp_path) == tmp_path
    assert picture_root(f"manifest:{tmp_path}", None) == tmp_path
    assert picture_root(f"manifest:{tmp_path}/labels.csv", None) == tmp_path
