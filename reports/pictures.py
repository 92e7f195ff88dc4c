"""How a figure stands in the text: picture, caption and a link to its numbers, in one paragraph."""

from pathlib import Path

from reports.markdown import picture

__all__ = ["captioned"]


def captioned(alt: str, png: Path, caption: str) -> str:
    """A figure in `figures/` as Markdown.

    Args:
        alt: What it shows, in plain text, for those who do not see it.
        png: Its path; the plotted numbers lie beside it as CSV.
        caption: Markdown, first what it shows in bold.
    """
    path = f"{png.parent.name}/{png.name}"
    return f"{picture(alt, path)}\n{caption} ([numbers]({path.removesuffix('.png')}.csv))"
