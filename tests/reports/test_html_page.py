"""The page: the report's text and nothing else, whatever the names in the records are."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from degradation.errors import ConfigError
from reports import markdown
from reports.contents import contents_line, without_contents
from reports.html import page
from reports.report import write_report

HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</details></main><h1>gone",
    "<details>\n<summary>x</summary>",
    "[click](javascript:alert(1))",
    "![x](http://example.com/x.png)",
    "`</code><b>bold</b>",
    '" onclick="alert(1)',
    "| a | b |",
    "# heading",
    "</style><style>*{display:none}",
    "&lt;script&gt;",
    "{{ 7 * 7 }}{% raw %}",
)
TAGS = {
    "html", "head", "meta", "title", "style", "body", "a", "details", "summary", "nav", "ol", "li",
    "main", "h1", "h2", "h3", "p", "strong", "em", "code", "pre", "blockquote", "ul", "div",
    "table", "thead", "tbody", "tr", "th", "td", "span", "img", "footer", "script", "br",
}  # fmt: skip


class Read(HTMLParser):
    """Tags, attributes and text of a page, and whether its tags are balanced."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.inside: dict[str, list[str]] = {}
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.inside.setdefault(self.open[-1] if self.open else "", []).append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def report(make_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    make_run(folder / "results", "tiny", "scenes-relation")
    return write_report(folder / "results", folder / "out").path.parent


@pytest.fixture(scope="module")
def read(report: Path) -> Read:
    return Read((report / "report.html").read_text(encoding="utf-8"))


def test_everything_is_in_the_page_and_only_its_own_code_may_run(report: Path, read: Read) -> None:
    policy = read.of("meta")[1]["content"] or ""
    for kind in ("style", "script"):
        (text,) = read.inside[kind]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert all(
        (image["src"] or "").startswith("data:image/png;base64,") for image in read.of("img")
    )
    assert not [tag for tag, _ in read.tags if tag in ("link", "iframe", "object", "form", "base")]
    assert not [name for _, found in read.tags for name in found if name.startswith("on")]
    assert not [found for _, found in read.tags if "style" in found]
    links = {str(link["href"]) for link in read.of("a")}
    assert all((report / one).exists() for one in links if not one.startswith("#"))


def test_the_page_tells_what_the_markdown_tells(report: Path, read: Read) -> None:
    text = (report / "report.md").read_text(encoding="utf-8")
    assert len(read.of("img")) == len(re.findall(r"^!\[", text, flags=re.MULTILINE)) == 3
    assert len(read.of("table")) == len(re.findall(r"^\| :?---", text, flags=re.MULTILINE))
    assert len(read.of("details")) == text.count("<details>") + 1  # the contents
    headings = re.findall(r"^##+ (.*)$", text, flags=re.MULTILINE)
    anchors = [str(found["id"]) for tag, found in read.tags if re.fullmatch(r"h[23]", tag)]
    assert len(anchors) == len(set(anchors)) == len(headings)
    contents = [str(link["href"]) for link in read.of("a") if str(link["href"]).startswith("#s-")]
    assert contents == [f"#{anchor}" for anchor in anchors]
    alts = [str(image["alt"]) for image in read.of("img")]
    assert alts[0].startswith("Scores of tiny: relation ")
    assert "; domain" in alts[0]
    assert "<!-- sdiag report -->" in (report / "report.html").read_text(encoding="utf-8")[:99]


def test_figures_keep_their_looks_in_few_bytes(report: Path, read: Read) -> None:
    for image, path in zip(read.of("img"), ("scores", "map", "baselines"), strict=True):
        png = report / "figures" / f"{path}-tiny.png"
        assert base64.b64decode(str(image["src"]).partition(",")[2]) == png.read_bytes()
        with Image.open(png) as whole:
            assert int(str(image["width"])) == round(whole.width / 1.6)
            assert whole.mode == "P"
            assert whole.convert("RGB").getpixel((0, 0)) == (255, 255, 255)
    assert (report / "report.html").stat().st_size < 5e6


def test_wide_tables_are_dense_and_intervals_stay_whole(tmp_path: Path) -> None:
    cells = ["−1.0 \\[−2.0, +0.5\\]", "a [b, c]", "x" * 101, *"defgh"]
    wide = markdown.table(cells, [cells], right=(0,))
    made = page(f"# T\n\n{wide}\n\n{markdown.table(['a'], [['b']])}\n", tmp_path)
    assert made.count('<table class="dense">') == 1
    assert made.count("<table>") == 1
    assert '<td class="number">−1.0 [−2.0,\N{NO-BREAK SPACE}+0.5]</td>' in made
    assert "a [b, c]" in made
    assert f'<td class="long">{"x" * 101}</td>' in made


def test_the_contents_of_the_markdown_stay_out_of_the_page(tmp_path: Path) -> None:
    parts = ["## A `b`, c", "### deep", "text", "## A b c", "## A `b`, c"]
    line = contents_line(parts)
    assert line == (
        "<!-- contents -->\nContents: [A `b`, c](#a-b-c) · [A b c](#a-b-c-1) · [A `b`, c](#a-b-c-2)"
    )
    whole = "\n\n".join(["# T", line, *parts])
    assert without_contents(whole) == "\n\n".join(["# T", *parts])
    assert "Contents: " not in page(whole, tmp_path)


def test_a_page_that_is_not_a_report_is_not_replaced(one_pair: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>mine", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"found a report\.html that sdiag did not write"):
        write_report(one_pair, tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "<p>mine"


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("write", ["escape", "code", "fenced", "table", "folded", "picture"])
def test_hostile_text_stays_text(name: str, write: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    made = {
        "escape": lambda: f"- **{markdown.escape(name)}** and more",
        "code": lambda: f"Of {markdown.code(name)} it is said",
        "fenced": lambda: markdown.fenced([name, name]),
        "table": lambda: markdown.table(
            (markdown.escape(name), "b"), [(markdown.code(name), markdown.escape(name))], right=(1,)
        ),
        "folded": lambda: markdown.folded(name, markdown.escape(name)),
        "picture": lambda: markdown.picture(name, "x.png"),
    }[write]()
    read = Read(page(f"# Title\n\n## {markdown.escape(name)}\n\n{made}\n\nThe end.", tmp_path))
    assert {tag for tag, _ in read.tags} <= TAGS
    assert len(read.of("script")) == len(read.of("style")) == 1
    assert len(read.of("details")) == 1 + (write == "folded")
    assert len(read.of("img")) == (write == "picture")
    assert {str(link["href"])[0] for link in read.of("a")} == {"#"}
    assert not [k for _, found in read.tags for k in found if k.startswith("on")]
    words = " ".join(name.split())
    said = [text for tag, texts in read.inside.items() if tag != "script" for text in texts]
    if write == "picture":
        assert read.of("img")[0]["alt"] == words
    assert any(words in " ".join(text.split()) for text in said)  # the heading, at least


def test_hostile_names_in_records_come_out_as_text(
    tmp_path: Path, make_run: Callable[..., Path], edit_record: Callable[..., None]
) -> None:
    name = " ".join(HOSTILE)
    folder = make_run(tmp_path / "results", "pair", "scenes-expression")
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    pair = record["pair"] | dict.fromkeys(("name", "pre", "lineage", "source", "protocol"), name)
    task = record["task"] | {"source": name, "cluster": name}
    edit_record(folder, pair=pair, task=task, tool_version=name)
    summary = write_report(tmp_path / "results", tmp_path / "out", command=f"sdiag {HOSTILE[0]}")
    text = summary.page.read_text(encoding="utf-8")
    read = Read(text)
    assert {tag for tag, _ in read.tags} <= TAGS
    assert len(read.of("script")) == len(read.of("style")) == 1
    assert not [link for link in read.of("a") if re.match(r"\w+:", str(link["href"]))]
    assert all(str(one["src"]).startswith("data:") for one in read.of("img"))
    assert not [k for _, found in read.tags for k in found if k.startswith("on")]
    assert HOSTILE[0] in "".join(read.inside["code"])
