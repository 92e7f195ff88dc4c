"""The ready studies on the rendered world, from nothing to their reports."""

import json
import os
import subprocess
import sys

import pytest

from sdiag.study.reading import ready_studies


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One cache for all, so that each only extracts what those before it did not."""
    return tmp_path_factory.mktemp("studies")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ready_studies()))
def test_a_ready_study_runs_tiny_and_is_then_done(folder, name):
    command = [
        sys.executable, "-m", "sdiag", "study", name, "--tiny", "--json",
        "--cache", "cache", "--results", f"results-{name}",
    ]  # fmt: skip
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    for outcomes in ({"done", "kept"}, {"kept"}):
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, env=env
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert {one["outcome"] for one in json.loads(done.stdout)} <= outcomes
    report = folder / ready_studies()[name].report.out
    assert (report / "report.html").exists()
    again = f"sdiag study results-{name}/study.resolved.toml"
    assert again in (report / "report.md").read_text(encoding="utf-8")
