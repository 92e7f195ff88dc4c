"""The Python interface: names that are found lazily, tidy frames, and the page that shows it."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "python.md"
PACKAGES = ("degradation", "probes", "socialfusion", "reports")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_of_a_package_is_found_where_it_says(package):
    module = importlib.import_module(package)
    for name in module.__all__:
        assert callable(getattr(module, name))
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = module.nothing_of_the_kind


@pytest.mark.parametrize("package", PACKAGES)
def test_the_page_lists_every_name(package):
    (line,) = [
        one for one in PAGE.read_text(encoding="utf-8").splitlines() if f"| `{package}` |" in one
    ]
    listed = set(re.findall(r"`(\w+)`", line)) - {package}
    assert listed == set(importlib.import_module(package).__all__)


def test_importing_the_packages_imports_nothing_heavy():
    code = (
        f"import sys, {', '.join(PACKAGES)}\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def run_blocks(page: Path, folder: Path) -> str:
    """What the Python blocks of a page print, run as one program in a folder."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    (folder / "page.py").write_text("\n".join(blocks), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_example_of_the_readme_runs_and_prints_what_it_shows(tmp_path):
    printed = run_blocks(ROOT / "README.md", tmp_path)
    assert "scenes-objects test 1200 rows" in printed
    (shown,) = re.findall(
        r"^```\n(block.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S
    )
    numbers = [line.split() for line in printed.splitlines()]
    assert all(line.split() in numbers for line in shown.splitlines())
    assert (tmp_path / "report" / "report.html").exists()


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path):
    printed = run_blocks(PAGE, tmp_path)
    assert "scenes-gesture test 120 rows" in printed
    assert "scenes-expression/expression" in printed
