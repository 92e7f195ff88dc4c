"""Markdown from values: names are escaped here, and only here."""

import html
import re
from collections.abc import Sequence

__all__ = ["code", "escape", "fenced", "folded", "picture", "table", "visible"]

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]~$])")
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufffe\uffff]"
)
"""Characters without a look of their own that break XML, act on a terminal or turn text around."""


def visible(text: str) -> str:
    """The text with every control character but tabs and line breaks as `\ufffd`."""
    return _UNSEEN.sub("\ufffd", text)


def escape(text: str) -> str:
    """Text that reads as itself anywhere but at the start of a line: no HTML, no Markdown."""
    plain = html.escape(_line(text), quote=False)
    return _PUNCTUATION.sub(r"\\\1", plain)


def code(text: str) -> str:
    """Text as inline code, with a fence longer than any run of backticks in it."""
    plain = _line(text)
    fence = _fence(plain, 1)
    pad = " " if fence != "`" or not plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def fenced(lines: Sequence[str], language: str = "text") -> str:
    """Lines as a code block that none of them can end."""
    content = "\n".join(visible(" ".join(line.splitlines())) for line in lines)
    fence = _fence(content, 3)
    return f"{fence}{language}\n{content}\n{fence}"


def _line(text: str) -> str:
    """The text on one line."""
    return visible(" ".join(text.split()))


def _fence(content: str, shortest: int) -> str:
    """Backticks, more than any run of them in the content."""
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    return "`" * max(shortest, longest + 1)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A table of cells that are Markdown already; only their bars are escaped.

    Args:
        header: One heading a column.
        rows: Cells by row.
        right: Columns that are aligned to the right: numbers.
    """
    rule = ["---:" if i in right else ":---" for i in range(len(header))]
    lines = ([cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def picture(alt: str, path: str) -> str:
    """A picture by its path within the report, with a text for those who do not see it."""
    return f"![{escape(alt)}]({path})"


def folded(summary: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details>\n<summary>{escape(summary)}</summary>\n\n{content}\n\n</details>"
