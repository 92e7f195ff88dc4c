"""What training on tasks together has seen of their test rows."""

from collections.abc import Callable

from degradation.audit import ImpliedLabels
from probes.audits import AuditRecord
from reports.audits import joint_leaks
from socialfusion.records import FusionRecord

TASKS = ("pisc-domain", "pisc-relationship")
Fusion = Callable[..., FusionRecord]
Make = Callable[..., AuditRecord]


def trained(make: Fusion, tasks: tuple[str, ...] = TASKS, row_list: str = "") -> FusionRecord:
    """A run on tasks of these names."""
    run = make("-".join(tasks), ("scenes-gaze", "scenes-relation")[: len(tasks)])
    cards = dict(zip(tasks, run.tasks.values(), strict=True))
    splits = dict(zip(tasks, run.splits.values(), strict=True))
    settings = run.settings.model_copy(update={"tasks": tasks, "row_list": row_list})
    return run.model_copy(update={"tasks": cards, "splits": splits, "settings": settings})


def audited(make: Make, domain_rows: int, **changes: object) -> dict[str, AuditRecord]:
    one, other = TASKS
    given = ImpliedLabels(
        (one, "test", "domain"), (other, "train", "relationship"),
        domain_rows, 1200, 1.0, 0.5, 0.6, domain_rows / 1200, {},
    )  # fmt: skip
    changes = {"implied": (given,) if domain_rows else ()} | changes
    return {
        one: make(one, {one: {}, other: {"file": domain_rows}}, **changes),
        other: make(other, {other: {}, one: {}}),
    }


def test_rows_that_another_task_trains_on_are_counted(make_fusion: Fusion, make_audit: Make):
    (line,) = joint_leaks([trained(make_fusion)], audited(make_audit, 840))
    assert "840 of 1,200 of `pisc-domain` in `pisc-relationship` (by the same picture)" in line
    assert "whose labels there give away 70 % of all" in line
    command = "sdiag audit --task pisc-domain=DATA --task pisc-relationship=DATA --clean NAME"
    assert f"`{command}`" in line
    lists = audited(make_audit, 840, row_list="joint", kept={"train": 700})
    (line,) = joint_leaks([trained(make_fusion)], lists)
    assert "`--rows joint` trains without these" in line


def test_nothing_is_said_of_single_tasks_clean_rows_or_clean_tasks(
    make_fusion: Fusion, make_audit: Make
):
    leaking = audited(make_audit, 840)
    assert not [*joint_leaks([trained(make_fusion, TASKS[:1])], leaking)]
    assert not [*joint_leaks([trained(make_fusion, row_list="joint")], leaking)]
    assert not [*joint_leaks([trained(make_fusion)], audited(make_audit, 0))]


def test_tasks_that_were_not_audited_together_are_named(make_fusion: Fusion, make_audit: Make):
    alone = {task: make_audit(task) for task in TASKS}
    for audits in ({}, alone):
        (line,) = joint_leaks([trained(make_fusion)], audits)
        assert "`pisc-domain` and `pisc-relationship` were audited together" in line
    rendered = make_fusion("both", ("scenes-gaze", "scenes-relation"))
    assert not [*joint_leaks([rendered], {})]
