"""Several processes, and curves that are sent elsewhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from degradation.errors import ConfigError
from socialfusion.records import read_fusion, run_folder
from socialfusion.run import Machine, train_socialfusion


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "final" / "model.safetensors")


def test_curves_go_to_a_tracker(cache, settings, tmp_path) -> None:
    pytest.importorskip("tensorboard")
    machine = Machine(quiet=True, tracker="tensorboard")
    few = settings.model_copy(update={"steps": 2})
    train_socialfusion("run", few, cache=cache, results=tmp_path, machine=machine)
    events = run_folder(tmp_path, "run").rglob("events.out.tfevents*")
    assert b"loss/scenes-gaze/gaze" in b"".join(one.read_bytes() for one in events)


def test_a_tracker_that_is_not_installed_is_refused(cache, settings, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    machine = Machine(quiet=True, tracker="wandb")
    with pytest.raises(ConfigError, match=r"sdiag\[tracking\]"):
        train_socialfusion("run", settings, cache=cache, results=tmp_path, machine=machine)


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(cache, tmp_path) -> None:
    # Without --run, which torchrun takes for one of its own options; accelerate launch does not.
    options = [
        "train-socialfusion", "--cache", str(cache), "--steps", "6",
        "--task", "scenes-looking", "--task", "scenes-gaze", "--connector-width", "12",
        "--lora-rank", "2", "--batch-size", "5", "--eval-every", "3", "--mixing", "temperature:1",
    ]  # fmt: skip
    alone = [sys.executable, "-m", "sdiag", *options]
    both = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port",
        "29533", "-m", "sdiag", *options,
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for name, command in (("one", alone), ("two", both)):
        done = subprocess.run(
            [*command, "--results", str(tmp_path / name)],
            capture_output=True,
            text=True,
            timeout=500,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("scenes-gaze/gaze") == 2
    one, two = (read_fusion(run_folder(tmp_path / name, "joint-seed0")) for name in ("one", "two"))
    assert one.samples_seen == two.samples_seen
    left, right = (weights(run_folder(tmp_path / name, "joint-seed0")) for name in ("one", "two"))
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=1e-3, atol=1e-4)
    for first, second in zip(one.scores, two.scores, strict=True):
        assert second.estimate.value == pytest.approx(first.estimate.value, abs=0.5)
