"""The front door: quick help, one message for a mistake, JSON for machines."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = (
    ("extract",),
    ("probe",),
    ("drift",),
    ("slices",),
    ("where",),
    ("diagnose",),
    ("gcd",),
    ("plan",),
    ("train-socialfusion",),
    ("transfer",),
    ("ablate",),
    ("study",),
    ("report",),
    ("compare",),
    ("doctor",),
    ("audit",),
    ("encoders",),
    ("provenance",),
    ("scenes", "preview"),
    ("scenes", "export"),
    ("scenes", "train"),
    ("cache", "ls"),
    ("cache", "verify"),
    ("cache", "prune"),
    ("cache", "import"),
)


def sdiag(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "sdiag", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_help_imports_neither_torch_nor_any_other_heavy_library() -> None:
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from sdiag.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'transformers', 'pandas', 'sklearn', 'matplotlib', 'h5py', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(command: tuple[str, ...]) -> None:
    from typer.testing import CliRunner

    from sdiag.cli import app

    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0
    assert "Example" in done.stdout
    assert f"sdiag {' '.join(command)}" in done.stdout
    assert "--json" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["extract", "--model", "tinny"], 2, ["tinny", "tiny"]),
        (["extract", "--task", "scenes-gase"], 2, ["scenes-gase", "scenes-gaze"]),
        (["extract", "--pre", "tiny:pre"], 2, ["--post"]),
        (
            ["extract", "--model", "tiny", "--pre", "tiny:pre", "--post", "tiny:post"],
            2,
            ["--model"],
        ),
        (["extract", "--pre", "hf:./nowhere", "--post", "hf:./nowhere"], 6, ["nowhere"]),
        (["extract", "--task", "manifest:absent.csv"], 3, ["absent.csv"]),
        (["extract", "--device", "warp9"], 2, ["warp9"]),
        (["probe", "--task", "scenes-gaze"], 2, ["sdiag extract"]),
        (["report", "--results", "absent"], 2, ["absent"]),
        (["cache", "import", "--pre", "x.npy"], 2, ["--rows"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_ends_with_one_message_and_its_exit_code(
    arguments: list[str], code: int, words: list[str], tmp_path: Path
) -> None:
    done = sdiag(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert not done.stdout


def test_an_empty_cache_is_listed_checked_and_tidied_without_a_word_of_error(
    tmp_path: Path,
) -> None:
    for command in ("ls", "verify", "prune"):
        done = sdiag("cache", command, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == []


def test_the_version_is_printed() -> None:
    from importlib.metadata import version

    assert sdiag("--version").stdout.strip() == version("sdiag")


def test_the_contact_sheet_is_a_picture(tmp_path: Path) -> None:
    from PIL import Image

    done = sdiag("scenes", "preview", "--json", cwd=tmp_path)
    written = json.loads(done.stdout)
    with Image.open(tmp_path / written["file"]) as sheet:
        assert list(sheet.size) == written["size"]
