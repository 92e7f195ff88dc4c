"""The commands that the pages show, in their fenced blocks and in their sentences."""

import re
import shlex
from pathlib import Path

__all__ = ["PAGES", "ROOT", "in_sentences", "shown"]

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = ("sdiag", "accelerate", "torchrun", "make", "pip", "python")
SHELL = ("", "sh", "bash", "console")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(sdiag [a-z][^`]*)`")


def shown(page: Path) -> list[str]:
    """The commands in the fenced blocks of a page, without comments, continued lines joined."""
    blocks = _FENCE.findall(page.read_text(encoding="utf-8"))
    text = "".join(block for language, block in blocks if language in SHELL).replace("\\\n", " ")
    lines = (line.strip().removeprefix("$ ") for line in text.splitlines())
    return [
        shlex.join(shlex.split(line, comments=True))
        for line in lines
        if line.split(" ")[0] in PROGRAMS
    ]


def in_sentences(page: Path) -> list[str]:
    """What a page calls a command of `sdiag` outside of its blocks, such as `sdiag cache ls`."""
    return _SPAN.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
