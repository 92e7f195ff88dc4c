"""`sdiag train-socialfusion` refuses what cannot be, in plain words."""

import pytest
from typer.testing import CliRunner

from degradation.errors import SdiagError
from sdiag.cli import app


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--mixing", "warm"], 2, ["temperature:2", "'warm'"]),
        (["--mixing", "temperature:x"], 2, ["temperature:x"]),
        (["--patience", "2"], 2, ["--eval-every"]),
        (["--augment"], 2, ["--online"]),
        (["--run", "a/b"], 2, ["plain name"]),
        (["--steps", "0"], 2, ["steps of at least 1"]),
        (["--task", "scenes-gaze", "--task", "scenes-gaze"], 2, ["given twice"]),
        (["--encoder", "qwen2-vl:post"], 4, ["qwen2-vl:post", "--token-block"]),
        (["--device", "cuda:99"], 2, ["cuda:99"]),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, code, words) -> None:
    base = ["train-socialfusion", "--cache", str(tmp_path / "c"), "--results", str(tmp_path / "r")]
    if "--encoder" not in options:
        base += ["--encoder", "hf:nobody/nothing", "--dtype", "float32"]
    done = CliRunner().invoke(app, [*base, *options])
    assert isinstance(done.exception, SdiagError)
    assert done.exception.exit_code == code
    assert all(word in str(done.exception) for word in words)
    assert done.stdout == ""
