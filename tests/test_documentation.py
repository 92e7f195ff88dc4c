"""The commands that the documentation shows exist, and those for a newcomer run as shown."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from page_commands import PAGES, ROOT, in_sentences, shown

from sdiag.cli import app

NEWCOMER = ("sdiag extract", "sdiag probe", "sdiag report", "sdiag scenes preview")


def of(lines: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Each command of `sdiag` once, with its page; also one that a launcher starts."""
    found: dict[str, str] = {}
    for page, commands in lines.items():
        for line in commands:
            _, _, words = f" {line}".partition(" sdiag ")
            if words:
                found.setdefault(words, page)
    return [(page, words) for words, page in found.items()]


def parser_of(words: list[str]) -> tuple[Any, list[str], Any]:
    """The parser of a command, what is left for it to parse, and what it belongs to."""
    parser, context = typer.main.get_command(app), None
    while hasattr(parser, "commands"):
        name, *words = words
        assert name in parser.commands
        context = parser.make_context(name, [], parent=context, resilient_parsing=True)
        parser = parser.commands[name]
    return parser, words, context


@pytest.mark.parametrize(
    ("page", "command"), of({page.name: shown(page) for page in PAGES}), ids=lambda text: text[:60]
)
def test_commands_shown_are_understood(page: str, command: str) -> None:
    parser, words, context = parser_of(shlex.split(command))
    parser.make_context(parser.name, words, parent=context)


@pytest.mark.parametrize(
    ("page", "command"),
    of({page.name: in_sentences(page) for page in PAGES}),
    ids=lambda text: text[:60],
)
def test_commands_named_in_sentences_have_the_options_that_they_are_named_with(
    page: str, command: str
) -> None:
    parser, words, _ = parser_of(command.split())
    known = {name for option in parser.params for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_readme_shows_the_newcomers_commands() -> None:
    assert set(NEWCOMER) <= set(shown(ROOT / "README.md"))


@pytest.mark.slow
def test_the_newcomers_commands_run_in_an_empty_folder(tmp_path: Path) -> None:
    for command in NEWCOMER:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    report = (tmp_path / "sdiag-report" / "report.md").read_text(encoding="utf-8")
    for picture in re.findall(r"\]\((figures/[^)]+)\)", report):
        assert (tmp_path / "sdiag-report" / picture).is_file()
    for question in ("expression", "gaze", "gesture", "looking", "relation", "kind"):
        assert f"| {question} |" in report
