"""What to bear in mind: leaks that nobody looked for, mixed protocols, and how many rows decide."""

from pathlib import Path

import pytest

from probes.audits import AuditRecord
from probes.records import RunRecord
from probes.statistics.pilot import pilot_rows
from reports.cautions import cautions
from reports.load import read_records
from reports.verdicts.cells import judged_cells


@pytest.fixture(scope="module")
def runs(one_pair: Path) -> list[RunRecord]:
    return list(read_records(one_pair))


def said(
    runs: list[RunRecord], audits: dict[str, AuditRecord] | None = None, *, margin: float = 2.0
) -> list[str]:
    cells = judged_cells(runs, margin=margin, alpha=0.05)
    return cautions(cells, runs, audits or {}, margin=margin, alpha=0.05)


def with_task(run: RunRecord, **fields: object) -> RunRecord:
    return run.model_copy(update={"task": run.task.model_copy(update=fields)})


def with_pair(run: RunRecord, **fields: object) -> RunRecord:
    return run.model_copy(update={"pair": run.pair.model_copy(update=fields)})


def test_open_questions_come_with_the_rows_that_would_decide(runs: list[RunRecord]) -> None:
    (line,) = said(runs)
    cells = judged_cells(runs, margin=2.0, alpha=0.05)
    declared = [cell for cell in cells if cell.comparison.confirmatory]
    open_cells = {cell.label for cell in declared if cell.verdict == "undecided"}
    assert open_cells
    pilots = pilot_rows(runs, drop=2.0, margin=2.0, comparisons=len(declared))
    for one in pilots:
        has = f"{one.question} has {one.images:,} test rows"
        assert (has in line) == (one.question in open_cells)
        if one.question in open_cells:
            rounded = int(float(f"{one.needed:.2g}"))
            assert f"with about {rounded:,}, that there is none with about " in line
    assert f"--comparisons {len(declared)}" in line


def test_nothing_is_said_where_no_margin_or_nothing_is_open(runs: list[RunRecord]) -> None:
    assert said(runs, margin=0.0) == []
    decided = [run for run in runs if run.task.name == "scenes-expression"]
    assert said(decided) == []


def test_splits_that_nobody_audited_are_named_but_not_rendered_ones(runs: list[RunRecord]) -> None:
    run = next(run for run in runs if run.task.name == "scenes-expression")
    (line,) = said([with_task(run, name="manifest:a.csv")])
    assert "`manifest:a.csv` were audited" in line
    assert "`sdiag audit --task manifest:a.csv=DATA --clean NAME`" in line
    assert said([with_task(run, name="pisc-domain", row_list="joint")]) == []


def test_protocols_that_differ_are_said(runs: list[RunRecord]) -> None:
    decided = [run for run in runs if run.task.name in ("scenes-expression", "scenes-gesture")]
    one, other = decided
    pad = "paired(geometry=pad)-0f3c9a1e v1"
    assert any(
        pad in line and "different" in line for line in said([one, with_pair(other, protocol=pad)])
    )
    (line,) = [line for line in said([with_pair(one, protocol=pad)]) if "protocol" in line]
    assert "not paired-native-grid v1" in line
    imported = with_pair(one, protocol="imported", imported=True)
    assert not any("protocol" in line for line in said([imported]))
