"""How it was measured: every clause is a record's, and every command is one that sdiag takes."""

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import typer.main

from probes.conflict.records import ConflictRecord, QuestionCard
from probes.slices.records import WhereRecord
from reports.load import Analyses, Conflict, Results, load_results
from reports.methods import commands, methods_section
from sdiag.cli import app


def told(results: Results) -> str:
    return methods_section(results, margin=2.0, alpha=0.05)


def parsed(line: str) -> dict[str, object]:
    """What sdiag understands of a command line; refused options raise."""
    name, *arguments = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[name]
    return command.make_context(name, list(arguments)).params


def test_the_paragraph_repeats_the_records(one_pair: Path) -> None:
    text = told(load_results(one_pair))
    assert "`tiny`, `tiny:pre` (weights `a1a1a1a1a1a1`) before and `tiny:post` (weights" in text
    assert "paired-native-grid v1" in text
    assert "1,500 train, 1,200 test rows, the last in 300 clusters by subject" in text
    assert "declared beforehand at block 5" in text
    assert "2,000 draws" in text
    assert "±2 points" in text
    assert "Measured with sdiag 0.1.0." in text
    assert "fitted" not in text.partition("Verdicts")[0].partition("draws")[2]  # no refits here


def test_every_command_is_one_that_sdiag_takes(world: Path) -> None:
    lines = [parsed(line) | {"line": line} for line in commands(load_results(world))]
    features, (probe,) = lines[:-1], lines[-1:]
    assert all(one["line"].startswith("sdiag extract ") for one in features)
    assert list(features[0]["model"]) == ["tiny"]
    assert {one["name"] for one in features[1:]} >= {"tiny@400", "erased"}
    assert "scenes-gaze" in features[0]["task"]
    assert probe["line"].startswith("sdiag probe ")
    assert {"tiny", "tiny@400", "erased"} <= set(probe["model"])
    assert probe["draws"] == 2000


def test_options_row_lists_and_folders_are_those_of_the_records(
    tmp_path: Path, make_run: Callable[..., Path], edit_record: Callable[..., None]
) -> None:
    folder = make_run(tmp_path, "own pair; rm", "scenes-gesture")
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    task = record["task"] | {"name": "pisc-domain", "row_list": "joint"}
    pair = record["pair"] | {"protocol": "paired(geometry=pad)-0f3c9a1e v1"}
    edit_record(folder, task=task, pair=pair, seed=3, draws=500)
    results = load_results(tmp_path)
    lines = list(commands(results))
    assert lines[0] == "# own pair; rm: with the options that give paired(geometry=pad)-0f3c9a1e v1"
    asked = parsed(lines[1])
    assert (asked["pre"], asked["post"], asked["name"]) == (
        "own pair; rm:pre", "own pair; rm:post", "own pair; rm",
    )  # fmt: skip
    assert not asked["model"]
    assert str(asked["data_root"]) == "DATA"
    assert lines[2] == "# The row lists joint: sdiag audit, with --clean joint"
    probe = parsed(lines[3])
    assert (probe["rows"], probe["seed"], probe["draws"]) == ("joint", 3, 500)
    assert "stands for the folder of the data set" in told(results)


def test_imported_features_are_said_to_be_so(
    tmp_path: Path, make_run: Callable[..., Path], edit_record: Callable[..., None]
) -> None:
    folder = make_run(tmp_path, "own", "scenes-gesture")
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    edit_record(folder, pair=record["pair"] | {"imported": True})
    results = load_results(tmp_path)
    assert next(commands(results)) == "# The features of own were imported: sdiag cache import"
    assert "as computed elsewhere and imported" in told(results)


def test_gradient_conflict_is_a_command_too(one_pair: Path) -> None:
    runs = load_results(one_pair)
    asked = QuestionCard(
        label="gazefollow/gaze", task="gazefollow", question="gaze", social=True, kind="gaze",
        block=1, n=64, clusters=64, available=99, rows_digest="",
    )  # fmt: skip
    record = ConflictRecord(
        tool_version="0.1.0", pair=runs.records[0].pair, model="tiny", definition="", reduction="",
        parameters="blocks:1,2", split="test", row_list="joint", batch_size=8, batches=4,
        batches_asked=32, arithmetic="bfloat16", exact=False, sketch=64,
        preconditioner="Adam's second moment", seed=2, draws=99, questions=(asked,), sides=(),
        changes=(),
    )  # fmt: skip
    results = Results(records=(), unfinished=(), conflicts=(Conflict(record),))
    features, line = commands(results)
    assert features == "sdiag extract --model tiny --task gazefollow --data-root DATA"
    found = parsed(line)
    assert found["task"] == ["gazefollow=DATA"]
    assert (found["batches"], found["seed"], found["dtype"]) == (32, 2, "bfloat16")
    assert (found["parameters"], found["rows"], found["sketch_only"]) == (
        "blocks:1,2", "joint", True,
    )  # fmt: skip
    assert found["precondition"] == "adam"
    assert "Measured with sdiag 0.1.0." in told(results)


def test_token_maps_are_extracted_where_they_were_read(one_pair: Path) -> None:
    runs = load_results(one_pair)
    card = {name: getattr(runs.records[0], name) for name in ("tool_version", "task", "pair")}
    where = WhereRecord(
        **card, seed=1, splits={}, block=4, grid=(8, 8), tokens_a_picture=8, probes=(),
        regions=(), maps=(), undefined={},
    )  # fmt: skip
    lines = list(commands(replace(runs, analyses=Analyses(where=(where,)))))
    assert parsed(lines[0])["token_block"] == [4]
    assert parsed(lines[-1])["block"] == 4


def test_without_a_run_there_are_no_methods() -> None:
    assert told(Results(records=(), unfinished=())) == ""


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed("sdiag slices --seed 0")
