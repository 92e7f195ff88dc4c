"""`sdiag extract` itself, killed at random moments and run again."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

KILLS = 20
PICTURES = 200


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder with a manifest of noisy pictures of two classes."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lines = ["path,label,split"]
    for number in range(PICTURES):
        Image.fromarray(rng.integers(0, 256, (128, 128, 3), np.uint8)).save(
            folder / f"{number}.png"
        )
        lines.append(f"{number}.png,{'ab'[number % 2]},{('train', 'test')[number % 3 == 0]}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def start(photographs: Path, cache: Path) -> subprocess.Popen:
    task = ("--task", f"manifest:{photographs / 'labels.csv'}", "--data-root", str(photographs))
    return subprocess.Popen(
        [sys.executable, "-m", "sdiag", "extract", *task, "--shard-rows", "8",
         "--cache", str(cache)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


def files(root: Path) -> dict[str, bytes]:
    """Bytes of all files below `root`, but for the locks."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.slow
def test_the_command_killed_at_random_moments_leaves_the_same_cache(
    tmp_path: Path, photographs: Path
) -> None:
    started = time.monotonic()
    finish(start(photographs, tmp_path / "undisturbed"))
    seconds = time.monotonic() - started
    expected = files(tmp_path / "undisturbed")
    rng, kills, rounds, stages = random.Random(3), 0, 0, set()
    while kills < KILLS:
        cache = tmp_path / f"killed {rounds}"
        process = start(photographs, cache)
        time.sleep(rng.uniform(0, seconds))
        process.kill()
        code = process.wait()
        process.stderr.close()
        assert code in (0, -9)
        if code:
            kills += 1
            stages.add(len(files(cache)))
        else:
            rounds += 1
    for number in range(rounds + 1):
        finish(start(photographs, tmp_path / f"killed {number}"))
        assert files(tmp_path / f"killed {number}") == expected
    assert len(stages) >= 3
