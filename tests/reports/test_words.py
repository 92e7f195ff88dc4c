"""Formats, names, Markdown and the terminal's table, each alone."""

import html
import re
from pathlib import Path

import pytest

from probes.records import Estimate
from reports import formats, markdown, names
from reports.load import read_records
from reports.verdicts.tables import verdict_table


@pytest.mark.parametrize(
    ("value", "text"),
    [(-6.06, "−6.1"), (0.04, "0.0"), (-0.04, "0.0"), (0.0, "0.0"), (2.0, "+2.0"), (-0.06, "−0.1")],
)
def test_signed(value: float, text: str) -> None:
    assert formats.signed(value) == text


def test_other_formats() -> None:
    assert formats.points(-0.01) == "0.0"
    assert formats.points(71.25) == "71.2"
    assert formats.count(12345) == "12,345"
    assert formats.p_value(0.0004) == "<0.001"
    assert formats.p_value(0.04449) == "0.044"
    assert formats.p_value(None) == formats.p_value(float("nan")) == "–"
    one = Estimate(value=-6.1, low=-8.0, high=0.0)
    assert formats.estimate(one, delta=True) == "−6.1 [−8.0, 0.0]"


def test_terminal_table_is_narrow_and_whole(one_pair: Path) -> None:
    table = formats.terminal_table(verdict_table(read_records(one_pair)))
    assert len(table) == 9
    assert table.iloc[0]["delta [95 %]"] == "−6.1 [−8.0, −4.2]"
    assert max(map(len, table.to_string(index=False).splitlines())) <= 120


@pytest.mark.parametrize("text", ["a_b*c*", "[x](y)", "`code`", "<i>x</i>", "a\\b", "~~x~~", "$x$"])
def test_escape_reads_as_itself(text: str) -> None:
    escaped = markdown.escape(text)
    assert not re.search(r"(?<!\\)(\\\\)*[`*_\[\]~$<>]", escaped.replace("\\\\", ""))
    assert html.unescape(re.sub(r"\\(.)", r"\1", escaped)) == text


def test_fences_are_longer_than_what_they_hold() -> None:
    assert markdown.code("a") == "`a`"
    assert markdown.code("a``b`") == "``` a``b` ```"
    assert markdown.fenced(["x", "````"]).splitlines()[0] == "`````text"
    assert markdown.table(("a",), [("x|y",)]).splitlines()[-1] == "| x\\|y |"


def test_file_stems_differ_where_names_differ() -> None:
    given = ["tiny", "Tiny", "tiny:post", "tiny_post", "../tiny", "a" * 50, "a" * 51, ""]
    stems = [names.file_stem("map", name) for name in given]
    assert len({stem.lower() for stem in stems}) == len(given)
    assert all(re.fullmatch(r"map-[a-z0-9_-]{0,60}", stem) for stem in stems)


@pytest.mark.parametrize(
    ("name", "found"),
    [("tiny@000400", ("tiny", 400)), ("a@b@7", ("a@b", 7)), ("tiny", None), ("tiny@x", None)],
)
def test_training_step(name: str, found: tuple[str, int] | None) -> None:
    assert names.training_step(name) == found


def test_questions_of_the_same_name_are_told_apart(one_pair: Path) -> None:
    first = read_records(one_pair)[0]
    second = first.model_copy(update={"task": first.task.model_copy(update={"name": "affectnet"})})
    labels = names.question_labels([first, second])
    assert labels["affectnet", "expression"] == "expression (affectnet)"
    assert names.question_labels([first])["scenes-expression", "expression"] == "expression"


def test_metric_labels(one_pair: Path) -> None:
    gaze = next(r for r in read_records(one_pair) if r.task.kind == "gaze")
    one = gaze.comparisons[0]
    assert names.metric_label(gaze.task, one) == "L2 to the mean point"
    assert names.metric_label(gaze.task, one.model_copy(update={"metric": "new"})) == "new"
