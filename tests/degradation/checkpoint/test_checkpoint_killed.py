"""A process that is killed while it downloads: the next one goes on where it stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from degradation.encoders.checkpoint import open_checkpoint

REPO = "Org/Model"
CHUNK = 64 * 1024  # bytes that the network library hands over at once
PATIENCE = 60.0  # seconds
READ = """
import sys
from degradation.encoders.checkpoint import open_checkpoint
checkpoint = open_checkpoint(sys.argv[1], prefixes=["visual."])
sys.stdout.write("opened\\n")
sys.stdout.flush()
sys.stdin.readline()
checkpoint.read(list(checkpoint.tensors))
"""


@pytest.fixture
def state():
    """A tower in pieces of 480 and 240 kB, with something else before and between them."""
    g = torch.Generator().manual_seed(0)
    return {
        "model.embed": torch.randn(100_000, generator=g),
        "visual.a": torch.randn(120_000, generator=g),
        "zoom.head": torch.randn(50_000, generator=g),
        "visual.b": torch.randn(120_000, generator=g).half(),
    }


@pytest.fixture
def parts(tmp_path):
    """Bytes on the disk of downloads that have not ended."""
    folder = tmp_path / "home" / "assets"
    return lambda: sum(path.stat().st_size for path in folder.rglob("*.part"))


def killed(hub, home, parts, at):
    """A process that downloads the tower is killed as soon as the hub has sent `at` bytes in all.

    The hub waits while more than half a chunk of what it sent is not on the disk: so it never
    runs ahead of a process that gets no time, and one that keeps more in memory never gets on.
    """
    source = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", READ, REPO],
        env=os.environ
        | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "PYTHONPATH": source}
        | {"HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "opened\n", process.stderr.read()
        sent, kept, deadline = hub.sent, parts(), time.monotonic() + PATIENCE

        def pace(total):
            if total >= at:
                process.send_signal(signal.SIGKILL)
                process.wait()
                raise ConnectionAbortedError
            while process.poll() is None and parts() - kept < total - sent - CHUNK // 2:
                if time.monotonic() > deadline:
                    process.terminate()  # which is not what the test expects
                hub.released.wait(0.001)

        hub.pace = pace
        _, said = process.communicate("\n")
    assert process.returncode == -signal.SIGKILL, said


def test_what_arrived_before_a_kill_is_not_fetched_again(hub, state, same, parts, tmp_path):
    hub.add(REPO, {"config.json": b"{}", "model.safetensors": save(state)})
    tower = {name: tensor for name, tensor in state.items() if name.startswith("visual.")}
    wanted = sum(tensor.nbytes for tensor in tower.values())
    lost = 0
    # Within the first piece of the tower, and within the second.
    for at in (150_000, 600_000):
        killed(hub, tmp_path / "home", parts, at)
        assert at <= hub.sent < wanted
        assert hub.sent - parts() - lost <= CHUNK
        lost = hub.sent - parts()
        assert not list((tmp_path / "home" / "assets").rglob("model-*.safetensors"))
    hub.pace = lambda total: None
    checkpoint = open_checkpoint(REPO, prefixes=["visual."])
    assert same(checkpoint.read(list(checkpoint.tensors)), tower)
    assert hub.sent <= wanted + 2 * CHUNK
    # Header once, then both pieces, each from where it stopped.
    (_, first, *rest), name = hub.spans("model.safetensors"), "model.safetensors"
    assert len([span for span in hub.spans(name) if span[0] == 0]) == 1
    assert len(rest) == 3
    assert [span[1] for span in rest].count(first[1]) == 1
    assert all(span[0] > first[0] for span in rest)
    assert parts() == 0
    assert same(open_checkpoint(REPO, offline=True).read(list(tower)), tower)
