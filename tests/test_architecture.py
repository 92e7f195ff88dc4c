"""The import order of the packages, read from the source."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORDER = ("degradation", "probes", "socialfusion", "reports", "sdiag")


def imports(file: Path) -> set[str]:
    """Top-level project packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found |= {name.split(".")[0] for name in names}
    return found & set(ORDER)


def test_packages_import_only_downwards() -> None:
    for rank, package in enumerate(ORDER):
        above = set(ORDER[rank + 1 :])
        for file in (ROOT / package).rglob("*.py"):
            assert not imports(file) & above, f"{file} looks upward: {imports(file) & above}"


def test_every_package_is_listed_for_the_wheel() -> None:
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for package in ORDER
        for file in (ROOT / package).rglob("__init__.py")
    }
    assert listed == found


def test_no_weights_are_unpickled_and_no_remote_code_is_run() -> None:
    for package in ORDER:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call):
                    options = {word.arg: word.value for word in node.keywords}
                    if ast.unparse(node.func) == "torch.load":
                        assert ast.unparse(options["weights_only"]) == "True", file
                    if "trust_remote_code" in options:
                        assert ast.unparse(options["trust_remote_code"]) == "False", file
