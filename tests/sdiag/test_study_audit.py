"""The stage `[audit]` of a study: what is on record is kept if it is what is asked for."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from degradation.tasks import get_task
from probes.audits import audit_path, read_audit
from probes.record_files import write_record
from sdiag.commands.audit import audit_rows
from sdiag.study.encoders import study_pairs
from sdiag.study.fits import audit_fits
from sdiag.study.reading import ready_studies
from sdiag.study.run import study_steps
from sdiag.study.schema import STAGES, Audit, Study
from sdiag.study.tiny import tiny_version
from sdiag.study.world import World

CACHE, RESULTS = Path("cache"), Path("results")


@pytest.fixture(autouse=True)
def rows(tmp_path, monkeypatch):
    """An audit of two tasks on record; digests of their rows."""
    monkeypatch.chdir(tmp_path)
    lines = ["path,label,split"]
    for i in range(6):
        shapes = np.random.default_rng(i).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(shapes).resize((48, 48)).save(f"{i}.png")
        lines.append(f"{i}.png,{'xy'[i % 2]},{'train' if i < 4 else 'test'}")
    for name in ("one", "two"):
        Path(f"{name}.csv").write_text("\n".join(lines))
    names = ("manifest:one.csv", "manifest:two.csv")
    audit_rows(dict.fromkeys(names), cache=CACHE, results=RESULTS, radius=4, clean="own")
    tasks = [get_task(name) for name in names]
    return {t.spec.name: {split: t.read(split).digest() for split in t.splits} for t in tasks}


def differs(rows, **asked):
    return audit_fits(CACHE, RESULTS, rows, Audit(**({"clean": "own"} | asked)))


def test_what_is_asked_for_is_kept(rows):
    assert differs(rows) == ""
    away = {task: dict.fromkeys(digests) for task, digests in rows.items()}
    assert differs(away) == ""


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"radius": 3}, "radius"),
        ({"by_name": True}, "reading"),
        ({"clean": ""}, "row lists"),
        ({"clean": "others"}, "row lists"),
    ],
)
def test_other_settings_are_told(rows, asked, word):
    assert differs(rows, **asked) == f"other {word}"


def test_other_rows_tasks_and_lists_are_told(rows):
    one = next(iter(rows))
    assert differs(rows | {one: rows[one] | {"train": "0" * 64}}) == "other rows"
    assert differs({one: rows[one]}) == "other tasks"
    (list_,) = CACHE.glob("rows/own/*one*/train.txt")
    list_.unlink()
    assert differs(rows) == "other row lists"


def test_a_record_that_is_not_there_damaged_or_of_another_version_is_made_anew(rows):
    path = audit_path(RESULTS, next(iter(rows)))
    write_record(path, read_audit(path).model_copy(update={"tool_version": "0.0.1"}))
    assert differs(rows) == "other version"
    path.write_text("{}")
    assert differs(rows) == "cannot be read"
    path.unlink()
    assert differs(rows) == "not there"


def test_rows_of_lists_wait_for_the_audit_that_writes_them():
    study = Study.model_validate(
        {
            "name": "small", "rows": "own", "pair": [{"model": "tiny"}],
            "task": [{"name": "manifest:one.csv"}], "audit": {"clean": "own"},
            "probe": {}, "gcd": {}, "train": {},
        }
    )  # fmt: skip

    def needs(study):
        steps = study_steps(World(study, study_pairs(study, None), cache=CACHE, results=RESULTS))
        return {step.stage: "audit all tasks" in step.needs for step in steps}

    every = ("audit", "extract", "probe", "gcd", "train")
    assert needs(study) == {one: one in ("probe", "gcd", "train") for one in every}
    assert not any(needs(study.model_copy(update={"audit": Audit()})).values())


def test_ready_studies_audit_their_data_and_tiny_ones_open_no_picture():
    assert STAGES[0] == "audit"
    for study in ready_studies().values():
        assert study.audit == Audit()
        assert tiny_version(study).audit == Audit(by_name=True)
