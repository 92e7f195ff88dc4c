"""The contents list of the Markdown: links to its sections, in one line."""

import re
from collections.abc import Sequence

__all__ = ["contents_line", "without_contents"]

MARKER = "<!-- contents -->"
"""Stands before the list, where no reader sees it."""


def contents_line(parts: Sequence[str]) -> str:
    """Links to the headings of the second level.

    Anchors are made as most viewers of Markdown make them: small letters, blanks as hyphens,
    without other punctuation, equal ones numbered.

    Args:
        parts: Of the report; each heading is a part of its own.
    """
    links: list[str] = []
    taken: dict[str, int] = {}
    for part in parts:
        if not re.match(r"#{1,6} ", part):
            continue
        level, _, heading = part.partition(" ")
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        before = taken[slug] = taken.get(slug, -1) + 1
        if level == "##":
            links.append(f"[{heading}](#{slug}{f'-{before}' if before else ''})")
    return f"{MARKER}\nContents: {' · '.join(links)}"


def without_contents(markdown: str) -> str:
    """The report without the list, for the page, which has its own."""
    return re.sub(rf"^{re.escape(MARKER)}\n.*\n\n", "", markdown, count=1, flags=re.MULTILINE)
