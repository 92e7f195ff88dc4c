"""Studies planned and carried out on two small manifests, interrupted, changed and gone on with."""

import json
import shutil
import tomllib

import numpy as np
import pandas as pd
import pytest
import torch
from conflict_worlds import SIDE, drawn, small_encoder
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from degradation.cache import open_features, pairs
from degradation.encoders import registry
from degradation.errors import DataError
from probes.conflict import models
from probes.diagnosis.records import DiagnosisRecord
from probes.record_files import read_record, write_record
from reports.planned import PLANNED
from sdiag.cli import app
from sdiag.study import clocks, encoders, steps
from sdiag.study.schema import Study

N = 48
QUICK = """
[drift]
shuffles = 1
row_cap = 50
[gcd]
batch_size = 4
batches = 4
"""
PROBED = """
[probe]
draws = 100
arms = false
curve = false
refits = 0
[slices]
"""


@pytest.fixture(scope="module", autouse=True)
def small_encoders():
    with pytest.MonkeyPatch.context() as patch:
        encoders.encoder_facts.cache_clear()
        for module in (registry, models, encoders, clocks):
            patch.setattr(module, "load_encoder", small_encoder)
        patch.setattr(clocks, "TIMED", 0.01)
        yield
    encoders.encoder_facts.cache_clear()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A study, two manifests and their pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(N):
        drawn(f"picture/{i}").save(folder / f"p{i}.png")
    table = pd.DataFrame(
        {"path": [f"p{i}.png" for i in range(N)], "split": ["train"] * 24 + ["test"] * 24}
    )
    labels = [f"tone {i % 3}" for i in range(N)]
    table.assign(label=labels).to_csv(folder / "tone.csv", index=False)
    coins = np.random.default_rng(0).permutation(["heads", "tails"] * (N // 2))
    table.assign(label=coins).to_csv(folder / "coin.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def done_once(pictures, tmp_path_factory):
    """The same after the study was carried out, and what became of each step."""
    folder = tmp_path_factory.mktemp("done") / "study"
    shutil.copytree(pictures, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write(QUICK)
        found = outcomes(call())
    return folder, found


@pytest.fixture
def folder(pictures, tmp_path, monkeypatch):
    """A study of which nothing is done."""
    shutil.copytree(pictures, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    write(QUICK)
    return tmp_path


@pytest.fixture
def finished(done_once, tmp_path, monkeypatch):
    """A study of which everything is done."""
    shutil.copytree(done_once[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(stages, *, tasks=("tone", "coin"), head=""):
    named = "".join(f"[[task]]\nname = 'manifest:{one}.csv'\n" for one in tasks)
    with open("study.toml", "w", encoding="utf-8") as file:
        file.write(f"name = 'small'\n{head}[[pair]]\nmodel = 'tiny'\n{named}{stages}")


def call(*arguments):
    return CliRunner().invoke(
        app, ["study", "study.toml", "--json", "--cache", "cache", "--results", "results",
              *arguments],
    )  # fmt: skip


def outcomes(done):
    assert done.exit_code == 0, (done.output, done.exception)
    return {f"{one['stage']} {one['subject']}": one["outcome"] for one in json.loads(done.stdout)}


def done_of(found):
    return [key for key, outcome in found.items() if outcome == "done"]


def test_a_study_is_done_once_and_what_is_lost_or_changed_is_done_again(done_once, finished):
    assert set(done_once[1].values()) == {"done"}
    assert len(done_once[1]) == 2 + 2 + 1
    assert set(outcomes(call()).values()) == {"kept"}

    (finished / "results" / "tiny" / "manifest:tone.csv" / "drift.json").unlink()
    write(QUICK.replace("batches = 4", "batches = 3"))
    assert done_of(outcomes(call())) == ["drift tiny on manifest:tone.csv", "gcd tiny"]


def test_rows_that_changed_are_extracted_and_read_again(finished):
    write(QUICK.partition("[gcd]")[0])
    table = pd.read_csv("tone.csv")
    table[table["path"] != "p30.png"].to_csv("tone.csv", index=False)
    assert done_of(outcomes(call())) == [
        f"{stage} tiny on manifest:tone.csv" for stage in ("extract", "drift")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("draws = 120", ["probe", "slices"]),
        ("curve = true", ["probe"]),
        ("refits = 3", ["probe"]),
        ("arms = true", ["probe"]),
    ],
)
def test_every_setting_of_a_run_is_told_from_its_record(folder, change, redone):
    write(PROBED, tasks=("tone",))
    assert done_of(outcomes(call()))
    assert set(outcomes(call()).values()) == {"kept"}
    name = change.partition(" ")[0]
    lines = [change if line.startswith(name) else line for line in PROBED.splitlines()]
    write("\n".join(lines), tasks=("tone",))
    stages = [key.partition(" ")[0] for key in done_of(outcomes(call()))]
    assert stages[0] == "probe"
    assert set(redone) >= set(stages) - {"slices"}
    assert set(outcomes(call()).values()) == {"kept"}


@pytest.mark.slow
def test_records_that_cannot_be_read_or_are_of_another_version_are_made_anew(folder):
    write("[diagnose]\nquick = true\ndraws = 100\n" + PROBED, tasks=("tone",))
    outcomes(call())
    assert set(outcomes(call()).values()) == {"kept"}
    place = folder / "results" / "tiny" / "manifest:tone.csv"
    (place / "record.json").write_text("{}")
    record = read_record(place / "diagnose.json", DiagnosisRecord, "diagnose")
    write_record(place / "diagnose.json", record.model_copy(update={"tool_version": "0.0.1"}))
    redone = done_of(outcomes(call()))
    assert redone == [f"{one} tiny on manifest:tone.csv" for one in ("probe", "diagnose")]


def test_the_record_of_another_task_in_its_place_is_made_anew(finished):
    place = finished / "results" / "tiny"
    shutil.copy(place / "manifest:coin.csv" / "drift.json", place / "manifest:tone.csv")
    assert done_of(outcomes(call())) == ["drift tiny on manifest:tone.csv"]


def test_the_resolved_study_has_no_defaults_left_and_is_the_same_study(finished):
    text = (finished / "results" / PLANNED).read_text(encoding="utf-8")
    study = Study.model_validate(tomllib.loads(text))
    assert study.pair[0].size == SIDE
    assert study.pair[0].blocks == (0, 1, 2)
    assert 'parameters = "encoder"' in text
    (finished / "study.toml").write_text(text, encoding="utf-8")
    assert set(outcomes(call()).values()) == {"kept"}


def test_an_interruption_costs_only_what_was_in_flight(folder, monkeypatch):
    real, calls = steps.drift_pair, []

    def stopped(cache, task, *rest, **options):
        calls.append(task)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(cache, task, *rest, **options)

    monkeypatch.setattr(steps, "drift_pair", stopped)
    write(QUICK.partition("[gcd]")[0])
    assert call().exit_code == 130
    found = outcomes(call())
    assert done_of(found) == ["drift tiny on manifest:coin.csv"]


def test_a_step_that_fails_stops_only_those_that_need_it(folder):
    write(QUICK, tasks=("tone", "absent"))
    done = call()
    assert isinstance(done.exception, DataError)
    assert "1 of 5 steps failed, first: extract tiny on manifest:absent.csv" in str(done.exception)
    found = {
        f"{one['stage']} {one['subject']}": one["outcome"]
        for one in json.loads(done.stdout[done.stdout.index("[\n") :].rpartition("]")[0] + "]")
    }
    assert found == {
        "extract tiny on manifest:tone.csv": "done",
        "extract tiny on manifest:absent.csv": "failed",
        "drift tiny on manifest:tone.csv": "done",
        "drift tiny on manifest:absent.csv": "left out",
        "gcd tiny": "left out",
    }


def test_a_dry_run_writes_nothing_and_foretells_what_comes(folder, done_once):
    done = call("--dry-run")
    assert done.exit_code == 0, done.exception
    plan = {f"{one['stage']} {one['subject']}": one for one in json.loads(done.stdout)["steps"]}
    assert not (folder / "cache").exists()
    assert not (folder / "results").exists()
    assert {one["state"] for one in plan.values()} == {"to do"}
    assert list(plan) == list(done_once[1])
    extraction = plan["extract tiny on manifest:tone.csv"]
    assert extraction["pictures"] == N
    assert extraction["seconds"] > 0
    assert plan["gcd tiny"]["pictures"] == 2 * 4 * 4
    cache = done_once[0] / "cache"
    stored = [
        open_features(cache, address).pooled(block, ("image",)).size * 2
        for entry in pairs(cache)
        if entry.task == "manifest:tone.csv"
        for address in (entry.pre, entry.post)
        for block in (0, 1, 2)
    ]
    assert extraction["bytes"] == sum(stored)


def test_a_dry_run_of_what_is_done_costs_nothing(finished):
    plan = json.loads(call("--dry-run").stdout)
    assert {one["state"] for one in plan["steps"]} == {"there"}
    assert plan["speed"] == {}


def test_the_plan_reads_for_people(folder):
    done = CliRunner().invoke(
        app, ["study", "study.toml", "--dry-run", "--cache", "cache", "--results", "results"]
    )
    summed = [line.split() for line in done.stdout.split("\n\n")[0].splitlines()]
    assert [line[:3] for line in summed] == [
        ["stage", "steps", "there"], ["extract", "2", "2"], ["drift", "2", "2"], ["gcd", "1", "1"],
        ["all", "5", "5"],
    ]  # fmt: skip
    assert summed[-1][3] == "128"
    assert "FLOP/s, from a few batches of it." in done.stdout


def test_operations_are_those_that_torch_counts():
    encoder = small_encoder("tiny:pre")
    facts = encoders.encoder_facts("tiny:pre")
    pixels = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter:
        encoder(pixels, [facts.blocks - 1])
    assert facts.flops(SIDE) == pytest.approx(counter.get_total_flops(), rel=0.15)


def test_without_data_a_dry_run_says_what_is_to_do_but_not_how_long_it_takes(finished):
    for path in ("tone.csv", "coin.csv", "results/tiny/manifest:tone.csv/drift.json"):
        (finished / path).unlink()
    write(QUICK.partition("[gcd]")[0])
    plan = json.loads(call("--dry-run").stdout)["steps"]
    (drift,) = [one for one in plan if one["state"] != "there"]
    assert (drift["stage"], drift["state"], drift["seconds"]) == ("drift", "to do", None)
    assert "tone.csv" in drift["not_known"]


def test_features_without_their_data_are_kept(finished):
    for path in ("tone.csv", "coin.csv"):
        (finished / path).unlink()
    write(QUICK.partition("[gcd]")[0])
    assert set(outcomes(call()).values()) == {"kept"}
