"""`--json`: every command has it, and prints one strict JSON document and nothing else."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from slice_worlds import token_world, write_tokens
from typer.testing import CliRunner

import sdiag
from probes.run import probe_pair
from sdiag.cli import app
from sdiag.commands.options import emit

COMMANDS = Path(sdiag.__file__).parent / "commands"
PLACES = ("--cache", "cache", "--results", "results")
QUICK = {
    "cache import": (
        *("--pre", "pre.npy", "--post", "pre.npy", "--rows", "rows.csv", "--cache", "imported"),
    ),
    "cache ls": ("--cache", "cache"),
    "cache verify": ("--cache", "cache"),
    "cache prune": ("--cache", "cache"),
    "slices": PLACES,
    "where": (*PLACES, "--tokens", "4"),
    "plan": ("--pilot", "results"),
    "compare": ("results", "results", "--max-drop", "2"),
    "encoders": (),
    "scenes export": ("--as", "pisc"),
    "study": ("--list",),
}
"""Commands that take a moment on the made-up world, with their arguments."""
SLOWER = {
    "probe": (*PLACES, "--draws", "100", "--refits", "0", "--no-arms"),
    "drift": (*PLACES, "--shuffles", "2"),
    "diagnose": (*PLACES, "--quick", "--draws", "100"),
    "report": (*PLACES, "--out", "report"),
    "doctor": ("--task", "scenes-gaze"),
    "scenes preview": ("--out", "sheet.png"),
}
"""Commands that take seconds."""
EXCUSED = {
    "extract": "reads pictures with encoders: tests/sdiag/test_extract_options.py",
    "gcd": "differentiates encoders: tests/sdiag/test_gcd_command.py",
    "audit": "opens the pictures of two tasks: tests/sdiag/test_doctor_and_audit.py",
    "provenance": "reads weights of two encoders: tests/sdiag/test_provenance_command.py",
    "train-socialfusion": "trains: tests/socialfusion/training/test_fusion_records.py",
    "transfer": "trains several models: tests/sdiag/test_transfer_command.py",
    "ablate": "trains several models: tests/sdiag/test_transfer_command.py",
    "scenes train": "trains for hours",
}
"""Why a command is not run here, and what runs it."""


def leaves(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """All commands below a group, by their words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, one in below.items():
        yield from leaves(one, f"{name} {word}".strip())


EVERY = dict(leaves(typer.main.get_command(app)))


def strict(text: str) -> Any:
    """The document, or a failure where a token is not JSON."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a small cache, in which commands run."""
    folder = tmp_path_factory.mktemp("json")
    task, splits = token_world(sizes={"train": 60, "val": 20, "test": 40})
    write_tokens(folder / "cache", task, splits)
    places = (folder / "cache", task.name, "planted")
    probe_pair(*places, results=folder / "results", draws=100, curve=False, refits=0)
    np.save(folder / "pre.npy", np.random.default_rng(0).normal(size=(8, 3)))
    lines = [f"row-{i},{'ab'[i % 2]}" for i in range(8)]
    (folder / "rows.csv").write_text("\n".join(["id,label", *lines]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def test_every_command_is_run_here_or_excused() -> None:
    assert sorted(EVERY) == sorted([*QUICK, *SLOWER, *EXCUSED])


@pytest.mark.parametrize("name", EVERY)
def test_every_command_has_the_option(name: str) -> None:
    options = [option for one in EVERY[name].params for option in one.opts]
    assert "--json" in options


@pytest.mark.parametrize(
    ("name", "arguments"),
    [*QUICK.items(), *(pytest.param(*one, marks=pytest.mark.slow) for one in SLOWER.items())],
    ids=[*QUICK, *SLOWER],
)
def test_stdout_is_one_strict_document(
    name: str, arguments: tuple[str, ...], world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Libraries that write past Python's stdout are seen, too."""
    done = CliRunner().invoke(app, [*name.split(), *arguments, "--json"])
    assert done.exit_code == 0, done.output
    strict(done.stdout)
    assert capfd.readouterr().out == ""


def test_a_mistake_goes_to_stderr_and_leaves_stdout_empty(world: Path) -> None:
    done = CliRunner().invoke(app, ["slices", *PLACES, "--task", "gone", "--json"])
    assert done.exit_code != 0
    assert done.stdout == ""


def test_numbers_that_are_not_finite_are_null(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"a": float("nan"), "b": [float("inf"), -np.inf, 1.5], "c": (np.nan, {"d": np.nan})}
    emit(data, "", as_json=True)
    assert strict(capsys.readouterr().out) == {
        "a": None, "b": [None, None, 1.5], "c": [None, {"d": None}],
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted(COMMANDS.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_but_emit_writes_to_stdout(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    printed = [
        node
        for node in calls
        if ast.unparse(node.func) in ("print", "typer.echo", "click.echo", "sys.stdout.write")
        and not any(word.arg in ("file", "err") for word in node.keywords)
    ]
    assert len(printed) == (path.stem == "options")
