"""The report as one HTML page that opens offline: text, figures, look and behaviour in one file.

The page is made from the report's own Markdown, so that the two cannot disagree. HTML in Markdown
is text to the renderer, but for the three lines of `reports.markdown.folded`; whatever a name
holds, it stays text. A content security policy forbids all but what the page brings along.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain, count, pairwise, takewhile
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup
from PIL import Image

from reports.contents import without_contents

__all__ = ["PAGE_MARKER", "page"]

PAGE_MARKER = "<!doctype html>\n<!-- sdiag report -->"
"""Start of every page: by it an earlier one is known and may be replaced."""

DENSITY = 1.6
"""Pixels of a figure for each of the page, where it has 100 an inch."""
SHORT = 14
"""Characters of a cell that is not broken into lines: a verdict with its mark, for one."""
LONG = 100
"""Characters of a cell from which on it is kept from becoming a narrow pillar."""
ROOMY = 7
"""Columns of a table up to which letters are large."""
SUMMARY = re.compile(r"<summary>(.*)</summary>")
INTERVAL = re.compile(r"\[([+−\d.]+|open), ([+−\d.]+|open)\]")


@dataclass(frozen=True, slots=True)
class _Heading:
    """An entry of the contents list: its depth from 2, its anchor and its text."""

    depth: int
    anchor: str
    text: str


def page(markdown: str, folder: Path) -> str:
    """The page of a report; equal text and figures give equal bytes.

    Args:
        markdown: The whole report.
        folder: Where the paths of its figures begin.

    Returns:
        HTML, to be written as UTF-8.
    """
    parser = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    parser.block.ruler.before("html_block", "folded", _folded, {"alt": []})
    tokens = parser.parse(without_contents(re.sub(r"\A<!--[^\n]*-->\n", "", markdown)))
    headings = _headings(tokens)
    body = parser.renderer.render(tokens, parser.options, {"folder": folder})
    style, script = (_template(name) for name in ("report.css", "report.js"))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    # What is marked as safe here is our own, or comes from the renderer above.
    return environment.from_string(_template("report.html.j2")).render(
        marker=Markup(PAGE_MARKER),
        title=_title(tokens),
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        headings=headings,
        body=Markup(body),
    )


def _template(name: str) -> str:
    """A file of the package's `templates`."""
    return (files("reports") / "templates" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """A content security policy under which nothing is fetched and only our own code runs."""
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests[0]}'; "
        f"script-src 'sha256-{digests[1]}'; base-uri 'none'; form-action 'none'"
    )


def _folded(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Block rule for the lines of `reports.markdown.folded`, which no name can write.

    Names have their `<` escaped, or stand behind a backtick.
    """
    line = state.src[state.bMarks[start] : state.eMarks[start]]
    summary = SUMMARY.fullmatch(line)
    if line not in ("<details>", "</details>") and not summary:
        return False
    if silent:
        return True
    state.line = start + 1
    if summary:
        state.push("summary_open", "summary", 1)
        inline = state.push("inline", "", 0)
        inline.content, inline.map, inline.children = summary[1], [start, start + 1], []
        state.push("summary_close", "summary", -1)
    else:
        opens = line == "<details>"
        token = state.push("details_open" if opens else "details_close", "details", opens * 2 - 1)
        token.block = True
    return True


def _headings(tokens: Sequence[Token]) -> list[_Heading]:
    """The headings below the title, each given its anchor on the way."""
    found: list[_Heading] = []
    taken: set[str] = set()
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = _plain(inline)
        stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section"
        # Below several pairs the same headings come again, and a name may look like a number.
        names = chain([stem], (f"{stem}-{i}" for i in count(2)))
        anchor = next(name for name in names if name not in taken)
        taken.add(anchor)
        opening.attrSet("id", f"s-{anchor}")
        if opening.tag != "h1":
            found.append(_Heading(int(opening.tag[1]), f"s-{anchor}", text))
    return found


def _plain(inline: Token) -> str:
    """The text of a heading without its marks."""
    return "".join(child.content for child in inline.children or [])


def _title(tokens: Sequence[Token]) -> str:
    """The text of the first heading."""
    found = (_plain(text) for one, text in pairwise(tokens) if one.type == "heading_open")
    return next(found, "Report")


class _Renderer(RendererHTML):
    """Markdown's HTML with boxes around tables, inlined figures and no style attributes."""

    def table_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        """A table scrolls sideways in its own box, by keyboard too."""
        columns = [one.type for one in takewhile(_in_head, tokens[idx:])].count("th_open")
        looks = ' class="dense"' if columns > ROOMY else ""
        return (
            f'<div class="scroll" role="group" aria-label="Table" tabindex="0">\n<table{looks}>\n'
        )

    def table_close(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        """The end of `table_open`."""
        return "</table>\n</div>\n"

    def th_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A heading of a column."""
        return f'<th scope="col"{_aligned(tokens, idx)}>'

    def td_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A cell."""
        return f"<td{_aligned(tokens, idx)}>"

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Text in which an interval stays on one line, so that a narrow cell breaks before it."""
        return INTERVAL.sub("[\\1,\N{NO-BREAK SPACE}\\2]", super().text(tokens, idx, options, env))

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A figure with its alternative text; one that is not there leaves that text."""
        token = tokens[idx]
        alt = self.renderInlineAsText(token.children, options, env)
        path = env["folder"] / str(token.attrGet("src"))
        with Image.open(path) as picture:
            width, height = (round(side / DENSITY) for side in picture.size)
        source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        shown = f'<img src="{source}" width="{width}" height="{height}" alt="{_attribute(alt)}">'
        return f'<span class="scroll" role="group" aria-label="Figure" tabindex="0">{shown}</span>'


def _in_head(token: Token) -> bool:
    """Whether the head of a table goes on."""
    return token.type != "thead_close"


def _aligned(tokens: Sequence[Token], idx: int) -> str:
    """The looks of a cell as a class, for styles are allowed by digest only."""
    if "right" in str(tokens[idx].attrGet("style") or ""):
        return ' class="number"'
    letters = len(_plain(tokens[idx + 1]))
    return ' class="short"' if letters <= SHORT else ' class="long"' if letters > LONG else ""


def _attribute(text: str) -> str:
    """Text as the value of an attribute."""
    return str(Markup.escape(text))
