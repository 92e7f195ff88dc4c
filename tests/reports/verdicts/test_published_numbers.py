"""Published numbers: for whole real data sets only, never without what differs."""

from pathlib import Path

import pytest

from degradation.tasks.registry import DEFAULT_TASKS, on_disk_tasks
from probes.metrics import resolve
from reports.load import read_records
from reports.verdicts.cells import Cell, judged_cells
from reports.verdicts.published import CLAIMED, OFFICIAL_ROWS, PUBLISHED, published_section

CLASSES = {
    "pisc-relationship": ("friends", "family", "couple", "professional", "commercial", "none"),
    "lam": ("elsewhere", "viewer"),
}


def changed(cell: Cell, **fields: object) -> Cell:
    return Cell(**({name: getattr(cell, name) for name in cell.__slots__} | fields))


@pytest.fixture(scope="module")
def declared(one_pair: Path) -> Cell:
    cells = judged_cells(read_records(one_pair), margin=2.0, alpha=0.05)
    return next(c for c in cells if c.comparison.confirmatory and c.label == "gesture")


def as_task(cell: Cell, name: str, metric: str, **fields: object) -> Cell:
    task = cell.task.model_copy(update={"name": name})
    found = {"metric": metric, "n": OFFICIAL_ROWS.get(name, 9999)} | fields
    return changed(cell, task=task, comparison=cell.comparison.model_copy(update=found))


def test_every_number_is_of_a_task_and_a_metric_that_there_are() -> None:
    assert {one.task for one in PUBLISHED} == set(on_disk_tasks()) == set(OFFICIAL_ROWS)
    for one in PUBLISHED:
        gaze = one.task == "gazefollow"
        resolve(one.metric, () if gaze else CLASSES.get(one.task, ("a", "b", "c")))
        assert 0 < one.value < 100
        assert one.differs
        assert one.source
    errors = [one.value for one in PUBLISHED if one.metric.endswith("l2_error")]
    assert max(errors) < 20
    assert all(one.status == CLAIMED for one in PUBLISHED if "2512.01148" in one.source)


def test_they_stand_beside_what_was_measured(declared: Cell) -> None:
    cell = as_task(declared, "hagrid", "accuracy")
    text = published_section([cell])
    assert "**None of these has the protocol of this report**" in text
    assert "| ResNet152 | 98.6 |" in text
    assert "no\\_gesture left out" in text
    assert f"{cell.comparison.post.value:.1f} \\[" in text
    assert "claimed, second-hand" in text
    assert len([line for line in text.splitlines() if line.startswith("| gesture")]) == 6


def test_a_second_metric_at_the_declared_block_has_them_too(declared: Cell) -> None:
    first = as_task(declared, "gazefollow", "average_l2_error")
    second = as_task(declared, "gazefollow", "auc_score", confirmatory=False)
    elsewhere = as_task(declared, "gazefollow", "auc_score", confirmatory=False, block=0)
    arm = as_task(declared, "gazefollow", "auc_score", confirmatory=False, probe="x/image")
    text = published_section([first, second, elsewhere, arm])
    assert text.count("| Chong 2020 |") == 2
    assert "| Chong 2020 | 13.7 |" in text
    assert "| Chong 2020 | 92.1 |" in text


def test_none_for_rendered_worlds_miniatures_and_imports(declared: Cell) -> None:
    for name in (*DEFAULT_TASKS, "manifest:hagrid.csv"):
        assert published_section([as_task(declared, name, "accuracy")]) == ""
    assert published_section([as_task(declared, "hagrid", "accuracy", n=900)]) == ""
    own = as_task(declared, "hagrid", "accuracy")
    imported = own.pair.model_copy(update={"imported": True})
    assert published_section([changed(own, pair=imported)]) == ""
    assert published_section([]) == ""


def test_rows_left_out_by_a_list_are_mentioned(declared: Cell) -> None:
    cell = as_task(declared, "pisc-domain", "mean_average_precision")
    listed = changed(cell, task=cell.task.model_copy(update={"row_list": "joint"}))
    assert "row lists `joint` leave out rows" in published_section([listed])
    assert "row lists" not in published_section([cell])
