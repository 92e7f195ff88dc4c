"""The commands that the documentation shows exist, and those for a newcomer run as shown."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from sdiag.cli import app

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
NEWCOMER = ("sdiag extract", "sdiag probe", "sdiag report", "sdiag scenes preview")


def shown(page: Path) -> list[str]:
    """The `sdiag` commands in the fenced blocks of a page, continued lines joined."""
    blocks = "\n".join(FENCE.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in blocks.splitlines())
    return [shlex.join(shlex.split(line, comments=True)) for line in lines if line[:6] == "sdiag "]


@pytest.mark.parametrize(
    ("page", "command"),
    [(page.name, command) for page in PAGES for command in shown(page)],
    ids=lambda value: value[:60],
)
def test_commands_shown_are_understood(page: str, command: str) -> None:
    parser, words = typer.main.get_command(app), shlex.split(command)[1:]
    context = None
    while hasattr(parser, "commands"):
        name = words.pop(0)
        assert name in parser.commands, f"{page}: {command}"
        context = parser.make_context(name, [], parent=context, resilient_parsing=True)
        parser = parser.commands[name]
    parser.make_context(parser.name, words, parent=context)


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
