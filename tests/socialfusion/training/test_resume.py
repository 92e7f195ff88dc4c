"""A run that stops and goes on ends bit for bit where it would have ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from degradation.errors import ConfigError, InterruptedRun, PairingError
from socialfusion.records import read_fusion, run_folder

TIMELESS = {"run": "", "seconds": 0.0}


def after(calls: int):
    """Asks to stop when it is asked for so many times."""
    left = iter(range(calls - 1, -1, -1))
    return lambda: next(left) == 0


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for name in ("model.safetensors", "adapter/adapter_model.safetensors", "optimizer.safetensors"):
        found |= {f"{name}:{key}": value for key, value in load_file(folder / name).items()}
    return found


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"eval_every": 3, "patience": 2}, id="equal"),
        pytest.param(
            {"mixing": "temperature", "accumulation": 2, "budget": "total"},
            id="temperature",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_ten_steps_are_five_and_five(train, tmp_path, changes) -> None:
    options = {"steps": 10, "lora_dropout": 0.3, **changes}
    whole = train("whole", save_every=5, **options)
    torch.rand(3)  # what else draws numbers makes no difference
    with pytest.raises(InterruptedRun, match=r"after step 5 of 10.*--resume"):
        train("parts", asked=after(5), **options)
    assert read_fusion(run_folder(tmp_path, "parts")) is None
    parts = train("parts", resume=True, **options)
    one, two = (run_folder(tmp_path, name) / "checkpoint-000010" for name in ("whole", "parts"))
    left, right = tensors(one), tensors(two)
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert any("exp_avg_sq" in name for name in left)
    assert whole.model_copy(update=TIMELESS) == parts.model_copy(update=TIMELESS)


def test_what_is_resumed_has_to_be_the_same_run(train, tmp_path, world) -> None:
    with pytest.raises(InterruptedRun):
        train(asked=after(2))
    with pytest.raises(ConfigError, match=r"learning_rate was 0.005 and is now 0.1.*another --run"):
        train(resume=True, learning_rate=0.1)
    with pytest.raises(ConfigError, match=r"found one\. Give --resume"):
        train()
    with pytest.raises(PairingError, match="Expected tokens of tiny:pre"):
        train(resume=True, root=world(digest="of other weights"))
    with pytest.raises(ConfigError, match=r"rows of scenes-looking/looking.*others now"):
        train(resume=True, root=world(train=18))
    whole = train(resume=True)
    assert train(resume=True) == whole
    with pytest.raises(ConfigError, match="steps was 4 and is now 5"):
        train(resume=True, steps=5)


def test_a_plain_name_is_asked_for(train) -> None:
    with pytest.raises(ConfigError, match="plain name"):
        train("a/b")


@pytest.mark.slow
def test_sigterm_saves_and_stops(cache, tmp_path) -> None:
    command = [
        sys.executable, "-m", "sdiag", "train-socialfusion", "--cache", str(cache),
        "--results", str(tmp_path), "--run", "r", "--task", "scenes-looking", "--steps", "100000",
        "--connector-width", "12", "--lora-rank", "2", "--save-every", "2", "--batch-size", "2",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    folder = run_folder(tmp_path, "r")
    while not (folder / "checkpoint-000002").exists():
        assert running.poll() is None, running.stderr.read()
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=120)
    assert running.returncode == 130
    assert out == ""
    assert "Traceback" not in err
    assert "Stopped as asked after step" in err
    step = int(err.rpartition("after step ")[2].split()[0])
    assert (folder / f"checkpoint-{step:06d}" / "state.json").exists()
