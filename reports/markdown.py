"""Markdown from values: names are escaped here, and only here."""

import html
import re
from collections.abc import Sequence

__all__ = ["code", "escape", "fenced", "folded", "picture", "table"]

_PUNCTUATION = re.compile(r"([\\`*_{}\[\]~$])")


def escape(text: str) -> str:
    """Text that reads as itself anywhere but at the start of a line: no HTML, no Markdown."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return _PUNCTUATION.sub(r"\\\1", plain)


def code(text: str) -> str:
    """Text as inline code, with a fence longer than any run of backticks in it."""
    plain = " ".join(text.split())
    fence = _fence(plain, 1)
    pad = " " if fence != "`" or not plain else ""
    return f"{fence}{pad}{plain}{pad}{fence}"


def fenced(lines: Sequence[str], language: str = "text") -> str:
    """Lines as a code block that none of them can end."""
    content = "\n".join(" ".join(line.splitlines()) for line in lines)
    fence = _fence(content, 3)
    return f"{fence}{language}\n{content}\n{fence}"


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
