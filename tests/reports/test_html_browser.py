"""The page in a real browser, wide and narrow: it fits, sorts, folds, prints, and stays offline."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.report import write_report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="chromium and chromedriver are not installed"
    ),
]
WIDE, NARROW, PAPER = 1280, 390, 720


class Browser:
    """A WebDriver session, as much of one as this file needs."""

    def __init__(self, port: int, profile: Path) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.wait()
        arguments = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
        ]  # fmt: skip
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.base += f"/session/{made['sessionId']}"

    def wait(self) -> None:
        for _ in range(100):
            try:
                if self.call("GET", "/status")["ready"]:
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("chromedriver did not start")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def run(self, script: str) -> Any:
        return self.call("POST", "/execute/sync", {"script": script, "args": []})

    def cdp(self, command: str, **parameters: object) -> Any:
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, page: Path, width: int, height: int = 900) -> None:
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.call("POST", "/url", {"url": page.as_uri()})

    def messages(self) -> list[str]:
        return [one["message"] for one in self.call("POST", "/se/log", {"type": "browser"})]

    def requested(self) -> list[str]:
        found = [
            json.loads(one["message"])["message"]
            for one in self.call("POST", "/se/log", {"type": "performance"})
        ]
        return [
            one["params"]["request"]["url"]
            for one in found
            if one["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    driver = subprocess.Popen(
        [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        session = Browser(port, tmp_path_factory.mktemp("profile"))
        try:
            yield session
        finally:
            session.call("DELETE", "")
    finally:
        driver.terminate()
        driver.wait(timeout=30)


@pytest.fixture(scope="module")
def page(one_pair: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report alone in its folder: nothing that it would need lies beside it."""
    out = tmp_path_factory.mktemp("page")
    summary = write_report(one_pair, out / "whole", command="sdiag report")
    return summary.page.rename(out / "alone.html")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_and_asks_for_nothing(browser: Browser, page: Path, width: int) -> None:
    browser.open(page, width)
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    unfolded = """
      for (const one of document.querySelectorAll("main details")) one.open = true;
      return document.documentElement.scrollWidth <= innerWidth"""
    assert browser.run(unfolded)
    assert not browser.messages()
    asked = {url.partition(":")[0] for url in browser.requested()}
    assert "file" in asked
    assert not asked & {"http", "https", "ws", "wss", "ftp"}
    drawn = "return [...document.images].every((one) => one.complete && one.naturalWidth > 100)"
    assert browser.run(drawn)
    assert browser.run("return [...document.images].every((one) => one.alt.length > 20)")


def test_wide_has_the_contents_beside_and_narrow_has_them_folded(
    browser: Browser, page: Path
) -> None:
    browser.open(page, WIDE)
    where = """
      scrollTo(0, 2000);
      const one = document.querySelector(".contents").getBoundingClientRect();
      return [one.top >= 0, one.bottom <= innerHeight, one.right <= document.querySelector("main")
        .getBoundingClientRect().left, document.querySelector(".contents").open]"""
    assert browser.run(where) == [True, True, True, True]
    browser.open(page, NARROW)
    assert browser.run("return document.querySelector('.contents').open") is False
    links = """
      return [...document.querySelectorAll(".contents a")].every((one) =>
        document.getElementById(one.hash.slice(1)))"""
    assert browser.run(links)


COLUMN = """
  const table = document.querySelector("main table");
  const place = [...table.tHead.rows[0].cells].findIndex((one) => one.innerText.includes("%s"));
  const heading = table.tHead.rows[0].cells[place];
"""


def shown(browser: Browser, column: str, action: str) -> tuple[list[str], str | None]:
    """A column of the first table after an action, and what its heading says of its order."""
    script = COLUMN % column + action
    browser.run(script)
    texts = browser.run(
        COLUMN % column
        + "return [[...table.tBodies[0].rows].map((row) => row.cells[place].innerText),"
        + "heading.getAttribute('aria-sort')]"
    )
    return texts[0], texts[1]


def value(text: str) -> float:
    return float(text.split()[0].replace("−", "-").replace("<", ""))


def test_tables_sort_by_value_with_mouse_and_keyboard(browser: Browser, page: Path) -> None:
    browser.open(page, WIDE)
    click = "heading.querySelector('button').click()"
    before, direction = shown(browser, "Delta", "")
    assert direction is None
    rising, direction = shown(browser, "Delta", click)
    assert direction == "ascending"
    assert rising == sorted(before, key=value) != before
    browser.run(COLUMN % "Delta" + "heading.querySelector('button').focus()")
    enter = {"type": "key", "id": "keys", "actions": [
        {"type": "keyDown", "value": "\ue007"}, {"type": "keyUp", "value": "\ue007"},
    ]}  # fmt: skip
    browser.call("POST", "/actions", {"actions": [enter]})
    falling, direction = shown(browser, "Delta", "")
    assert (falling, direction) == (sorted(before, key=value, reverse=True), "descending")
    assert shown(browser, "Delta", click) == (before, None)
    words, direction = shown(browser, "Question", click)
    assert (words, direction) == (sorted(words), "ascending")
    assert shown(browser, "Delta", "")[1] is None


def test_paper_shows_what_is_folded(browser: Browser, page: Path) -> None:
    browser.open(page, WIDE)
    assert browser.run("return document.querySelectorAll('main details:not([open])').length") > 0
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("return document.querySelectorAll('main details:not([open])').length") == 0
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run("return document.querySelectorAll('main details[open]').length") == 0
    browser.open(page, PAPER)
    browser.cdp("Emulation.setEmulatedMedia", media="print")
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    browser.cdp("Emulation.setEmulatedMedia", media="")
    pdf = base64.b64decode(browser.call("POST", "/print", {}))
    assert pdf.startswith(b"%PDF")


def test_text_has_contrast_enough(browser: Browser, page: Path) -> None:
    """WCAG 2 AA: 4.5 to 1 for text, against the nearest background that is not transparent."""
    browser.open(page, WIDE)
    script = """
      const parts = (text) => text.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
        .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = (one) => {
        for (; one; one = one.parentElement) {
          const found = parts(getComputedStyle(one).backgroundColor);
          if (found.length < 4 || found[3] > 0) return found;
        }
        return [255, 255, 255];
      };
      let least = 99;
      for (const one of document.querySelectorAll("body *:not(script)")) {
        for (const look of [null, "::after"]) {
          const style = getComputedStyle(one, look);
          if (look && ["none", "normal"].includes(style.content)) continue;
          const pair = [light(parts(style.color)), light(ground(one))].sort((a, b) => b - a);
          least = Math.min(least, (pair[0] + 0.05) / (pair[1] + 0.05));
        }
      }
      return least"""
    assert browser.run(script) >= 4.5
