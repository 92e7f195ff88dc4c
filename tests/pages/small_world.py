"""sdiag as it is, in a world so small that one core runs every command of the pages in minutes.

The rendered tasks have few rows, published encoders are as small as the checkpoints that
`stand_ins` writes, and the task that docs/adding-a-task.md tells how to add has been added.

    python -m small_world extract --model qwen2-vl      in place of `sdiag extract ...`
"""

import os
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import timm
from family_fixtures import CHECKPOINTS, DEPTH, PATCH, SIZE, WIDTH, Tiny
from page_commands import ROOT

from degradation.encoders.catalogue import ENCODERS, PAIRS
from degradation.tasks import scenes
from degradation.tasks.registry import _TASKS, _Entry
from sdiag.cli import main

__all__ = ["PUBLISHED", "TIMM", "run", "shrink", "stand_in"]

PUBLISHED = {
    "clip-l-336": "clip",
    "dfn-h-378": "clip",
    "dfn-h-224": "clip",
    "internvit-300m": "internvit",
    "internvit-300m-v2.5": "internvit",
    "qwen2-vl:post": "qwen2_vl",
    "molmoe:post": "molmo",
    "sail-vl:post": "sail-vl",
    "llava-1.5:post": "llava",
}
"""The published encoders that the pages use, and the tiny checkpoint that stands for each."""
BLOCK = 1
"""The block of their confirmatory comparison."""
TIMM = {"depth": DEPTH, "embed_dim": WIDTH, "num_heads": 4}
"""The size of every tower of timm."""


def stand_in(name: str) -> Tiny:
    """The checkpoint that stands for a published encoder."""
    return CHECKPOINTS[PUBLISHED[name]]()


def shrink() -> None:
    """Make the world of this process small."""
    scenes.STILL.update(train=120, val=40, test=100)
    scenes.CLIPS.update(train=60, val=30, test=60)
    for name, fixture in PUBLISHED.items():
        known = ENCODERS[name]
        depth = 5 if fixture == "molmo" else DEPTH
        size = known.size if fixture == "qwen2_vl" else SIZE  # which takes any
        ENCODERS[name] = replace(known, width=WIDTH, patch=PATCH, size=size, blocks=depth, files=())
    for name, row in PAIRS.items():
        if row.post in PUBLISHED:
            PAIRS[name] = replace(row, block=BLOCK)
    timm.create_model = partial(timm.create_model, **TIMM)
    _add_moods()


def _add_moods() -> None:
    page = (ROOT / "docs" / "adding-a-task.md").read_text(encoding="utf-8")
    moods = ModuleType("moods")
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], moods.__dict__)
    sys.modules["moods"] = moods
    _TASKS["moods"] = _Entry("moods:moods_task", on_disk=True)


def run(words: list[str], folder: Path, said: Path) -> None:
    """Run `sdiag WORDS` in a folder, its output into a file; for a process of its own."""
    shrink()
    os.chdir(folder)
    with said.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["sdiag", *words]
    main()


if __name__ == "__main__":
    shrink()
    main()
