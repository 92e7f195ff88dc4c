"""Figures for print: the same drawing as SVG, with the signature and without the time."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from reports.style import figure_style, new_figure, save_figure

NOTES = {"Software": "sdiag 1", "Signature": "task=<a & b>|block=2\ntask=c"}


def draw(stem: Path) -> Path:
    """A figure with markers, hatching and a name that XML has to escape."""
    with figure_style():
        figure = new_figure(4.0, 3.0)
        axes = figure.subplots()
        axes.plot([0, 1, 2], [3, 1, 2], marker="o")
        axes.bar([0, 1], [1, 2], hatch="//")
        axes.set_title("<script> & co")
        return save_figure(figure, pd.DataFrame({"x": [1.5]}), stem, NOTES)


def test_the_drawing_is_there_three_times(tmp_path: Path) -> None:
    png = draw(tmp_path / "tiny@200")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tiny@200.csv", "tiny@200.png", "tiny@200.svg",
    ]  # fmt: skip
    root = ET.parse(tmp_path / "tiny@200.svg").getroot()
    with Image.open(png) as picture:
        assert picture.text == NOTES
        inches = [float(root.attrib[side].removesuffix("pt")) / 72 for side in ("width", "height")]
        assert [round(160 * side) for side in inches] == list(picture.size)


def test_it_is_laid_out_once_and_drawn_once_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def counted(owner: type, name: str) -> None:
        whole = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *given, **more: (done.append(name), whole(*given, **more))[1]
        )

    counted(Figure, "draw")
    counted(ConstrainedLayoutEngine, "execute")
    draw(tmp_path / "one")
    assert done == ["execute", "draw", "draw"]


def test_few_colours_are_kept_and_many_nearly(tmp_path: Path) -> None:
    steps = np.linspace(0, 1, 60)

    def kept(colours: np.ndarray) -> np.ndarray:
        with figure_style():
            figure = new_figure(3.0, 3.0)
            figure.subplots().imshow(colours, interpolation="none")
            png = save_figure(figure, pd.DataFrame({"x": [1]}), tmp_path / "map", NOTES)
            whole = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
        with Image.open(png) as picture:
            return np.abs(np.asarray(picture.convert("RGB")).astype(int) - whole)

    few = np.zeros((4, 60, 3))
    few[..., 0] = steps
    assert kept(few).max() <= 1
    many = np.zeros((60, 60, 3))
    many[..., 0], many[..., 2] = steps, steps[:, None]
    assert 0 < kept(many).max() <= 60
    assert kept(many).mean() <= 8


def test_it_says_what_is_behind_it_and_not_when_it_was_drawn(tmp_path: Path) -> None:
    draw(tmp_path / "one")
    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    said = [part.text for part in ET.fromstring(text).iter() if part.text and part.text.strip()]
    assert f"Signature: {NOTES['Signature']}" in said
    assert any("sdiag 1" in part for part in said)
    assert "<dc:date>" not in text
    assert "<script>" not in text
    assert "<text" not in text  # outlines: no font is needed to see it as it is


def test_the_bytes_are_the_same_again(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw(tmp_path / name)
    for kind in ("svg", "png", "csv"):
        one, two = (tmp_path / f"{name}.{kind}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    draw(tmp_path / "here")
    code = (
        "import importlib.util, sys; from pathlib import Path;"
        f"spec = importlib.util.spec_from_file_location('drawn', {str(Path(__file__))!r});"
        "made = importlib.util.module_from_spec(spec); spec.loader.exec_module(made);"
        "made.draw(Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "there")], check=True, cwd=root,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(root), "HOME": str(tmp_path)},
    )  # fmt: skip
    for kind in ("svg", "png", "csv"):
        here, there = (tmp_path / f"{name}.{kind}" for name in ("here", "there"))
        assert here.read_bytes() == there.read_bytes()
