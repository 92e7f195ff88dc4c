"""`accelerate launch -m sdiag extract`: several processes fill the same cache as one.

Its own --cpu starts one process however many are asked for (accelerate #2741); --multi_gpu starts
them through torchrun, and needs no GPU to do so.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from degradation.ranks import joined
from sdiag.cli import app

N = 20
LAUNCH = [
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
    *("--main_process_port", "0"),
]


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """The command and its options but for the cache: a few pictures, in five shards."""
    lines = ["path,label"]
    for i in range(N):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"p{i}.png")
        lines.append(f"p{i}.png,{'ab'[i % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    return [
        *("extract", "--model", "rotation", "--task", f"manifest:{tmp_path / 'labels.csv'}"),
        *("--data-root", str(tmp_path), "--shard-rows", "4", "--workers", "1", "--json"),
    ]


def content(cache: Path) -> dict[str, bytes]:
    """Bytes of all files below `cache`, but for the locks."""
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in sorted(cache.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def test_two_launched_processes_write_what_one_writes(options: list[str], tmp_path: Path) -> None:
    alone = CliRunner().invoke(
        app, [*options, "--cache", str(tmp_path / "alone")], catch_exceptions=False
    )
    assert alone.exit_code == 0
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ACCELERATE_", "MASTER_")) and name != "PYTHONWARNINGS"
    }
    done = subprocess.run(
        [
            *(sys.executable, *LAUNCH, "--log_dir", str(tmp_path / "logs"), "--tee", "3"),
            *("-m", "sdiag", *options, "--cache", str(tmp_path / "together")),
        ],
        cwd=Path(__file__).parents[2],
        # A home without accelerate's default_config.yaml, whatever this machine has.
        env=inherited
        | {"HF_HOME": str(tmp_path / "home"), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "together") == content(tmp_path / "alone")
    # Two processes took part, of which the first one speaks.
    said = {path.parent.name: path.read_text() for path in tmp_path.glob("logs/*/*/*/stdout.log")}
    assert said.keys() == {"0", "1"}
    (summary,) = json.loads(said["0"])
    assert summary["rows"] == N
    assert said["1"] == ""
    assert f"0/{N // 5 * 3} " in done.stdout + done.stderr  # three of five shards are its own


def test_one_process_where_several_were_asked_for_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")  # as accelerate launch --cpu leaves it
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with joined() as ranks:
        assert ranks.count == 1
    assert not caplog.records
    monkeypatch.setenv("MASTER_PORT", "29500")  # more than one process was asked for
    with joined() as ranks:
        assert ranks.count == 1
    assert "give --multi_gpu in place of --cpu" in caplog.text
