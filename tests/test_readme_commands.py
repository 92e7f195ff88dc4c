"""Commands of the pages that work on the embedded pair, run as they are shown, in order."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
ELSEWHERE = re.compile(
    r"qwen|molmo|llava|sail|clip-l|dfn|hf:|timm:|/data|labels\.csv|photographs|HaGRID|AffectNet|PISC/"
    r"|--model (?!tiny|erased)|three-families|mine|launch|torchrun|pre\.npy|--checkpoint|yesterday"
)
"""Commands that need weights, data, GPUs or trained models that the tests have not."""
LONG = ("sdiag transfer", "sdiag ablate", "sdiag train-socialfusion", "sdiag scenes train")
"""Trainings, which have tests of their own: these are shown at full length here."""


def commands():
    """Every command of the pages once, in the order of the pages, that can be run anywhere."""
    found = {}
    for page in PAGES:
        blocks = "\n".join(FENCE.findall(page.read_text(encoding="utf-8"))).replace("\\\n", " ")
        for line in blocks.splitlines():
            words = shlex.split(line.strip().removeprefix("$ "), comments=True)
            if words[:1] == ["sdiag"] and not any(mark in words for mark in (">", "|", "&&")):
                found.setdefault(shlex.join(words), page.name)
    return {
        line: page
        for line, page in found.items()
        if not ELSEWHERE.search(line) and not line.startswith(LONG)
    }


def test_there_are_commands_to_run():
    lines = list(commands())
    assert len(lines) > 15
    assert {"sdiag extract", "sdiag probe", "sdiag report"} <= set(lines)


@pytest.mark.slow
def test_every_command_for_the_embedded_pair_runs(tmp_path):
    failed = []
    for line, page in commands().items():
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(line)], cwd=tmp_path, capture_output=True,
            text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        if done.returncode:
            failed.append(f"{page}: {line}\n{done.stderr[-500:]}")
    assert not failed, "\n\n".join(failed)
