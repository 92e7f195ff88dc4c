"""What a report says of audits: leaks, look-alikes, audits of other rows, and none at all."""

import hashlib
import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

from degradation.errors import DataError
from probes.audits import AuditRecord, audit_path, write_audits
from probes.record_files import SEAL
from probes.records import RunRecord
from reports.audits import audit_commands, audit_words, leaks
from reports.load import load_results, read_records
from reports.methods import methods_section
from reports.report import write_report
from sdiag.cli import app

Make = Callable[..., AuditRecord]


@pytest.fixture(scope="module")
def probed(one_pair: Path) -> RunRecord:
    return next(run for run in read_records(one_pair) if run.task.name == "scenes-gesture")


def renamed(run: RunRecord, task: str, row_list: str = "") -> RunRecord:
    card = run.task.model_copy(update={"name": task, "row_list": row_list})
    return run.model_copy(update={"task": card})


def said(runs: list[RunRecord], *audits: AuditRecord) -> list[str]:
    return [*leaks(runs, {one.task: one for one in audits})]


def test_nothing_is_said_where_nothing_was_found(probed: RunRecord, make_audit: Make) -> None:
    run, audit = renamed(probed, "hagrid"), make_audit("hagrid")
    assert said([run], audit) == []
    words = audit_words([run], {"hagrid": audit})
    assert words == (
        "Splits were audited for shared pictures, pictures that look the same (hashes within 4 "
        "bits) and shared clusters. Found: in `hagrid` nothing."
    )
    assert audit_words([probed], {}) == ""  # rendered


def test_leaks_come_with_their_number_and_what_to_do(probed: RunRecord, make_audit: Make) -> None:
    run = renamed(probed, "hagrid")
    audit = make_audit("hagrid", {"hagrid": {"file": 300, "near": 20, "cluster": 1}})
    (line,) = said([run], audit)
    assert "scores flatter both sides: `hagrid`, 321 of 1,200" in line
    assert "(300 by the same picture, 20 by one that looks the same, 1 by the same subject)" in line
    assert "`sdiag audit --task hagrid=DATA --clean NAME`" in line
    assert "321 of 1,200 rows of test" in audit_words([run], {"hagrid": audit})
    (named,) = said([run], audit.model_copy(update={"opened": False}))
    assert "300 by the same name of the picture" in named
    unopened = audit_words([run], {"hagrid": audit.model_copy(update={"opened": False})})
    assert "by name, without opening a picture" in unopened


def test_what_another_task_has_seen_does_not_flatter_a_probe(
    probed: RunRecord, make_audit: Make
) -> None:
    audit = make_audit("pisc-domain", {"pisc-relationship": {"file": 700}})
    assert said([renamed(probed, "pisc-domain")], audit) == []


def test_row_lists_that_leave_leaks_out_are_named(probed: RunRecord, make_audit: Make) -> None:
    run = renamed(probed, "hagrid")
    audit = make_audit("hagrid", {"hagrid": {"cluster": 3}}, row_list="own", kept={"train": 1490})
    (line,) = said([run], audit)
    assert "`sdiag probe --task hagrid --rows own`" in line
    clean = renamed(probed, "hagrid", "own")
    (line,) = said([run, clean], audit)
    assert "The runs without these stand beside: `hagrid@own`." in line
    words = audit_words([run, clean], {"hagrid": audit})
    assert "the list `own` leaves out 10 of 1,500 rows of train" in words
    assert said([clean], audit) == []
    assert said([clean]) == []
    elsewhere = {"hagrid": make_audit("hagrid", row_list="own", kept={"train": 1490})}
    words = audit_words([clean], elsewhere)
    assert "in `hagrid` nothing, and the list `own` leaves out 10 of 1,500 rows of train" in words


def test_pictures_that_look_the_same_are_no_proof(probed: RunRecord, make_audit: Make) -> None:
    audit = make_audit("scenes-gesture", {"scenes-gesture": {"near": 14}})
    (line,) = said([probed], audit)
    assert "(hashes within 4 bits), as copies do" in line
    assert "`scenes-gesture`, 14 of 1,200" in line
    assert "flatter" not in line
    assert "`sdiag audit --task scenes-gesture --out DIR`" in line


def test_an_audit_of_other_rows_counts_for_nothing(probed: RunRecord, make_audit: Make) -> None:
    run = renamed(probed, "hagrid")
    audit = make_audit("hagrid", {"hagrid": {"file": 3}})
    moved = audit.model_copy(
        update={"splits": tuple(replace(one, digest="0" * 64) for one in audit.splits)}
    )
    (line,) = said([run], moved)
    assert "The audit of `hagrid` is of other rows than those probed" in line
    assert audit_words([run], {"hagrid": moved}) == "Not audited for leaks: `hagrid`."


def test_rows_are_known_by_how_they_were_read_not_by_what_was_left(
    probed: RunRecord, make_audit: Make
) -> None:
    """Rows that no picture could be opened for, or that a list leaves out, were audited, too."""
    splits = {
        name: card.model_copy(update={"read_digest": card.rows_digest, "rows_digest": "0" * 64})
        for name, card in probed.splits.items()
    }
    run = renamed(probed, "hagrid").model_copy(update={"splits": splits})
    assert "scores flatter" in said([run], make_audit("hagrid", {"hagrid": {"file": 3}}))[0]


def test_tasks_that_nobody_audited_share_a_line_without_the_rendered_ones(
    probed: RunRecord,
) -> None:
    runs = [probed, renamed(probed, "lam"), renamed(probed, "manifest:my table.csv")]
    (line,) = said(runs)
    assert "splits of `lam` and `manifest:my table.csv` were audited" in line
    assert "--task lam=DATA --task 'manifest:my table.csv=DATA' --clean NAME" in line
    own = probed.pair.model_copy(update={"imported": True})
    (line,) = said([renamed(probed, "mine").model_copy(update={"pair": own})])
    assert "only who made the splits can tell" in line
    assert "sdiag audit" not in line


def test_the_commands_are_ones_that_sdiag_takes(make_audit: Make) -> None:
    both = {"lam": {}, "hagrid": {}}
    audits = {
        "hagrid": make_audit("hagrid", both, row_list="own", kept={"train": 1}),
        "lam": make_audit("lam", both | {"lam": {}}, row_list="own", kept={"train": 1}),
        "affectnet": make_audit("affectnet", radius=2, opened=False),
    }
    lines = list(audit_commands(audits))
    assert len(lines) == 2
    command = typer.main.get_command(app).commands["audit"]
    asked = [command.make_context("audit", shlex.split(line)[2:]).params for line in lines]
    assert sorted(asked[0]["task"]) == ["hagrid=DATA", "lam=DATA"]
    assert (asked[0]["clean"], asked[0]["by_name"]) == ("own", False)
    assert (asked[1]["radius"], asked[1]["by_name"], asked[1]["clean"]) == (2, True, None)


# ------------------------------------------------------------------ from the disk


def test_a_report_reads_the_audits_beside_its_runs(
    tmp_path: Path, make_run: Callable[..., Path], make_audit: Make
) -> None:
    make_run(tmp_path, "tiny", "scenes-gesture")
    audit = make_audit("scenes-gesture", {"scenes-gesture": {"cluster": 7}})
    write_audits(tmp_path, [audit])
    assert load_results(tmp_path).audits == {"scenes-gesture": audit}
    write_report(tmp_path, tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "> - Rows of test were seen in training" in text
    methods = methods_section(load_results(tmp_path), margin=2.0, alpha=0.05)
    assert "7 of 1,200 rows of test" in methods
    assert "sdiag audit --task scenes-gesture\n" in methods


def sealed(audit: dict) -> dict:
    """With the digest of its content, which whoever edits it could compute as well."""
    content = {name: one for name, one in audit.items() if name != SEAL}
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return content | {SEAL: hashlib.sha256(plain.encode()).hexdigest()}


@pytest.mark.parametrize(
    "change",
    [
        lambda audit: audit | {"schema_version": 2},
        lambda audit: audit["exposed"][0].update(rows=3) or audit,
        lambda audit: {name: one for name, one in audit.items() if name != "radius"},
        lambda audit: sealed(audit | {"remark": "mine"}),
        lambda audit: audit["overlaps"][0].update(remark="mine") or sealed(audit),
        lambda audit: audit["splits"][0].update(rows="many") or sealed(audit),
        lambda audit: [audit],
    ],
)
def test_audits_that_were_edited_are_refused(
    tmp_path: Path, make_run: Callable[..., Path], make_audit: Make, change: Callable
) -> None:
    make_run(tmp_path, "tiny", "scenes-gesture")
    (path,) = write_audits(tmp_path, [make_audit("scenes-gesture", {"scenes-gesture": {}})])
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(DataError, match=r"audit\.json"):
        load_results(tmp_path)


def test_two_audits_of_a_task_are_refused(
    tmp_path: Path, make_run: Callable[..., Path], make_audit: Make
) -> None:
    make_run(tmp_path, "tiny", "scenes-gesture")
    (path,) = write_audits(tmp_path, [make_audit("lam")])
    copy = audit_path(tmp_path, "hagrid")
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="one audit of 'lam', found two"):
        load_results(tmp_path)
