"""A report of a partial study names what the study asked for and the results lack."""

from collections.abc import Callable
from pathlib import Path

import pytest

from degradation.errors import DataError
from reports.load import load_results
from reports.sentences import incomplete
from reports.unfinished import lacking

Make = Callable[..., Path]
STUDY = """
name = "mine"
rows = ""
[[pair]]
model = "tiny"
size = 64
[[pair]]
pre = "a"
post = "b"
name = "own"
[[task]]
name = "scenes-gesture"
[[task]]
name = "scenes-gaze"
[extract]
pool = "mean"
"""


def write(results: Path, more: str = "", study: str = STUDY) -> list[str]:
    (results / "study.resolved.toml").write_text(study + more, encoding="utf-8")
    return lacking(load_results(results))


@pytest.fixture
def results(tmp_path: Path, make_run: Make) -> Path:
    """`tiny` was probed on both tasks, `own` on one."""
    for pair, task in (("tiny", "scenes-gesture"), ("tiny", "scenes-gaze"),
                       ("own", "scenes-gaze")):  # fmt: skip
        make_run(tmp_path, pair, task)
    return tmp_path


def test_a_folder_without_a_study_lacks_nothing(results: Path) -> None:
    assert lacking(load_results(results)) == []


def test_each_stage_names_its_missing_records(results: Path) -> None:
    probe, drift = write(results, "[probe]\ndraws = 200\n[drift]\n")
    assert probe == (
        "The study `mine` asks for `sdiag probe` of `own` on `scenes-gesture`; there is no record "
        "of it."
    )
    assert drift.startswith(
        "The study `mine` asks for `sdiag drift` of `tiny` on `scenes-gesture`, `tiny` on "
        "`scenes-gaze`, `own` on `scenes-gesture`, `own` on `scenes-gaze`; there is no record of "
    )
    assert drift.endswith("`sdiag study` goes on with what is missing.")
    assert drift in incomplete(load_results(results))


def test_places_have_no_classes_to_look_for(results: Path) -> None:
    (where,) = write(results, "[where]\n")
    assert "of `tiny` on `scenes-gesture`, `own` on `scenes-gesture`;" in where


def test_conflict_and_trainings_count_by_pair_and_side(results: Path) -> None:
    more = (
        '[gcd]\nagainst_transfer = true\n[transfer]\nsides = ["post"]\n[train]\nsides = ["pre"]\n'
        '[[ablate]]\nsetting = "connector-depth"\nsides = ["pre", "post"]\n'
    )
    said = write(results, more)
    assert [one.split("asks for ")[1].split(";")[0] for one in said] == [
        "`sdiag gcd` of `tiny`, `own`",
        "`sdiag train-socialfusion` of `tiny:pre`, `own:pre`",
        "`sdiag transfer` of `tiny:post`, `own:post`",
        "`sdiag ablate connector-depth` of `tiny:pre`, `tiny:post`, `own:pre`, `own:post`",
    ]


def test_rows_of_a_list_are_other_records(results: Path) -> None:
    (probe,) = write(results, "[probe]\n", STUDY.replace('rows = ""', 'rows = "clean"'))
    assert "`tiny` on `scenes-gesture@clean`" in probe


def test_names_stay_text(results: Path) -> None:
    said = write(results, "[probe]\n", STUDY.replace('"own"', '"<b>`x`"'))
    assert all("`` <b>`x` ``" in one for one in said)


@pytest.mark.parametrize("content", ["name = ", "name = 3\n", "[probe]\n", b"\xff\xfe"])
def test_a_file_that_is_no_study_is_refused(results: Path, content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    (results / "study.resolved.toml").write_bytes(data)
    with pytest.raises(DataError, match=r"study\.resolved\.toml, found a file that cannot be read"):
        load_results(results)
