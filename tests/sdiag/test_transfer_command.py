"""`sdiag transfer` and `sdiag ablate` on a small cache: every run is trained, and none twice."""

import json
import shutil

import pytest
from fusion_runs import fake_trainer
from typer.testing import CliRunner
from worded_caches import CLASSES, fill

from degradation.errors import ConfigError, PairingError
from probes.table import open_pair
from sdiag.cli import app
from sdiag.commands.trainings import record_name
from socialfusion.defaults import default_settings
from socialfusion.transfer.records import ablation_path, read_ablation, read_transfer, transfer_path

SETTINGS = ("connector_width=8", "lora_rank=2", "batch_size=4", "language_model=tiny")
SMALL = ["--seeds", "1", "--steps", "1", "--encoder", "planted:pre", "--set", "dtype=float32"]
SMALL += [f"--set={one}" for one in SETTINGS]
TWO = [part for task in CLASSES for part in ("--task", task)]


@pytest.fixture
def folders(tmp_path):
    fill(tmp_path / "cache")
    return ["--cache", str(tmp_path / "cache"), "--results", str(tmp_path / "results")]


@pytest.fixture
def trained(folders, tmp_path, monkeypatch):
    """Runs that nobody trained, of the rows and weights in the cache."""
    splits = {}
    for task in CLASSES:
        table, _ = open_pair(tmp_path / "cache", task, "planted")
        splits[task] = table.cards()
    train = fake_trainer(
        tmp_path / "results", lambda task, settings: 0.8, digest="digest of planted:pre",
        splits=splits,
    )  # fmt: skip
    monkeypatch.setattr("sdiag.commands.trainings.trainer", lambda **options: train)
    return train.calls


def sdiag(*arguments):
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_sweep_is_trained_once_reported_and_refused_on_other_rows(trained, folders, tmp_path):
    arguments = ["transfer", *TWO, *SMALL, *folders, "--name", "small", "--pairwise"]
    done = sdiag(*arguments)
    assert done.exit_code == 0
    assert "Fewer than three seeds: no verdicts." in done.stdout
    assert "Positive transfer in" in done.stdout
    assert "with scenes-gesture" in done.stdout
    record = read_transfer(transfer_path(tmp_path / "results", "small"))
    samples, steps = record.variants
    assert (samples.name, steps.name) == ("equal-samples", "equal-steps")
    assert {len(one.tasks) for one in samples.runs} == {1, 2}
    assert {one.word for one in samples.joint} == {"not judged"}
    assert len(trained) == 4  # each alone, and together by both budgets

    again = sdiag(*arguments, "--json")
    assert json.loads(again.stdout) == record.model_dump(mode="json")
    ablated = sdiag("ablate", "box-masks", *TWO, *SMALL, *folders)
    assert ablated.exit_code == 0
    assert "without box masks" in ablated.stdout
    found = read_ablation(ablation_path(tmp_path / "results", "box-masks-planted-pre"))
    assert found.runs[0] in samples.runs  # the joint run is the reference
    assert found.ablated[0].changes == {"box_masks": False}
    assert len(trained) == 5

    shutil.rmtree(tmp_path / "cache")
    fill(tmp_path / "cache", seed=1)
    with pytest.raises(PairingError, match=r"rows of scenes-looking in .* changed since"):
        sdiag(*arguments)


def test_every_other_cached_side_is_an_encoder_to_ablate(trained, folders):
    done = sdiag("ablate", "encoder", *TWO, *SMALL, *folders)
    assert "encoder planted:post" in done.stdout
    assert len(trained) == 2


MISTAKES = {
    "two or more different tasks": ["transfer", "--task", "scenes-looking"],
    "NAME=VALUE": ["transfer", *TWO, "--set", "lora"],
    "Use its option": ["transfer", *TWO, "--set", "seed=3"],
    "found 'lora'": ["transfer", *TWO, "--set", "lora=3"],
    "found 'colour'": ["ablate", "colour", *TWO],
    "with --value": ["ablate", "lora-rank", "--value", "32", *TWO, "--set", "lora_rank=32"],
}


def test_mistakes_are_said_before_anything_is_trained(trained, folders):
    for words, arguments in MISTAKES.items():
        with pytest.raises(ConfigError, match=words):
            sdiag(*arguments, *folders, "--encoder", "planted:pre")
    assert trained == []


def test_records_have_names_that_any_file_system_takes():
    one = default_settings("open_clip:ViT-L/14")
    assert record_name(default_settings("tiny:pre")) == "tiny-pre"
    assert record_name(one) == "open_clip-ViT-L-14"
    vlm = one.model_copy(update={"vlm": True, "language_model": "Qwen/Qwen2-VL"})
    assert record_name(vlm) == "Qwen-Qwen2-VL"


@pytest.mark.slow
def test_a_sweep_trains_for_real(folders, tmp_path):
    arguments = ["transfer", *TWO, *SMALL, *folders, "--name", "real", "--budget", "per-task"]
    done = sdiag(*arguments)
    assert done.exit_code == 0
    record = read_transfer(transfer_path(tmp_path / "results", "real"))
    (variant,) = record.variants
    assert {one.steps_run for one in variant.runs} == {1}
    assert len(variant.joint) == 2
    files = sorted((tmp_path / "results" / "socialfusion").glob("*/fusion.json"))
    times = [one.stat().st_mtime_ns for one in files]
    assert sdiag(*arguments).stdout == done.stdout
    assert [one.stat().st_mtime_ns for one in files] == times
