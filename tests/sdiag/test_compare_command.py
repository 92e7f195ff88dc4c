"""`sdiag compare`: what differs, how far it is certain, and when the gate closes."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from degradation.errors import ConfigError, DataError
from probes.metrics import GAZE_METRICS, ClassOutcome, GazeOutcome, resolve
from probes.predictions import encode
from probes.questions import Prediction
from probes.records import Comparison, PairCard, RunRecord, SplitCard, TaskCard
from probes.runs import read_run, write_run
from probes.summary import summarise
from reports.compare.compare import compare_runs
from sdiag.cli import app
from sdiag.commands.compare import DROPPED

N = 240


def said(side: str, wrong: Sequence[int], ids: np.ndarray, shuffled: bool = False) -> Prediction:
    """A prediction that is wrong on the rows of these numbers."""
    number = np.array([int(one.split("-")[1]) for one in ids])
    labels = number % 2
    guess = np.where(np.isin(number, wrong), 1 - labels, labels)
    scores = np.where(np.eye(2)[guess] > 0, 0.8, 0.2).astype(np.float32)
    order = np.random.default_rng(5).permutation(len(ids)) if shuffled else np.arange(len(ids))
    clusters = np.array([f"person-{one // 3}" for one in number], dtype=object)
    outcome = ClassOutcome(labels[order].astype(np.int64), scores[order])
    return Prediction(
        "mood", 2, "logistic-l2", side, ids[order], clusters[order], outcome, scores[order]
    )


def rows(first: int = 0, count: int = N) -> np.ndarray:
    return np.array([f"row-{i}" for i in range(first, first + count)], dtype=object)


def write(
    folder: Path, pre: Prediction, post: Prediction, *, metric: str = "accuracy", **changes: object
) -> Path:
    """A run whose numbers are those of its predictions."""
    numbers = summarise([pre, post], [resolve(metric, ("calm", "cross"))], draws=100, seed=0)
    comparison = Comparison(
        **dict(numbers.numbers[2, "logistic-l2", metric]), question="mood", block=2,
        probe="logistic-l2", metric=metric, higher_is_better=True, confirmatory=True,
        strength_pre=1, strength_post=1, selection="validation split, log-loss",
        signature=f"task=moods|block=2|pool=face|metric={metric}|sdiag=1",
    )  # fmt: skip
    content = encode([pre, post])
    fields: dict[str, object] = {
        "tool_version": "1", "seed": 0, "draws": 100, "baselines": (), "comparisons": (comparison,),
        "splits": {"test": SplitCard(rows_digest="d4" * 32, read_digest="d4" * 32, n=N,
                                     clusters=N // 3, left_out={})},
        "predictions_sha256": hashlib.sha256(content).hexdigest(),
        "task": TaskCard(
            name="moods", kind="classes", social=True, label_sets={"mood": ("calm", "cross")},
            regions=("face",), metrics={"mood": (metric,)}, cluster="subject", source="moods.csv",
        ),
        "pair": PairCard(
            name="own", pre="a", post="b", pre_digest="a1" * 32, post_digest="b2" * 32,
            lineage="", source="", protocol="paired-native-grid v1", imported=False,
        ),
    }  # fmt: skip
    write_run(folder, RunRecord(**(fields | changes)), content)
    return folder


def some(share: float, seed: int) -> list[int]:
    return np.flatnonzero(np.random.default_rng(seed).random(N) < share).tolist()


BEFORE, AFTER = some(0.1, 0), some(0.2, 1)
WORSE = sorted({*AFTER, *some(0.25, 2)})


@pytest.fixture
def yesterday(tmp_path: Path) -> Path:
    return write(
        tmp_path / "yesterday" / "own" / "moods", said("pre", BEFORE, rows()),
        said("post", AFTER, rows()),
    )  # fmt: skip


def today(tmp_path: Path, wrong: Sequence[int], **changes: object) -> Path:
    return write(
        tmp_path / "today" / "own" / "moods", said("pre", BEFORE, rows()),
        said("post", wrong, rows()), **changes,
    )  # fmt: skip


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_a_run_against_itself_has_no_difference(yesterday: Path) -> None:
    done = run(yesterday, yesterday, "--max-drop", 0)
    assert done.exit_code == 0
    assert "All settings are the same." in done.stdout
    assert "0.0 [0.0, 0.0]" in done.stdout
    assert "held" in done.stdout


def test_a_certain_fall_closes_the_gate_and_an_uncertain_one_does_not(
    yesterday: Path, tmp_path: Path
) -> None:
    now = today(tmp_path, WORSE)
    (change,) = compare_runs(yesterday, now).changes
    fall = 100 * (len(WORSE) - len(AFTER)) / N
    assert change.change.value == pytest.approx(-fall)
    assert change.change.low < -fall < change.change.high < -2
    assert run(yesterday, now).exit_code == 0
    closed = run(yesterday, now, "--max-drop", 2.0)
    assert closed.exit_code == DROPPED == 10
    assert "Fell by more than 2 points: mood of own on moods." in closed.stdout
    near = run(yesterday, now, "--max-drop", fall - 0.5, "--json")
    assert near.exit_code == 0  # it fell by more, but not for certain
    told = json.loads(near.stdout)
    assert (told["passed"], told["changes"][0]["word"]) == (True, "open")
    far = json.loads(run(yesterday, now, "--max-drop", 60, "--json").stdout)
    assert far["changes"][0]["word"] == "held"
    better = run(now, yesterday, "--max-drop", 0)
    assert better.exit_code == 0
    assert f"+{fall:.1f} [+" in better.stdout


def test_the_paired_interval_is_that_of_the_same_two_sides_in_a_run(
    yesterday: Path, tmp_path: Path
) -> None:
    """Two posts as the sides of one run have the interval of a record, whatever their order."""
    shuffled = write(
        tmp_path / "shuffled", said("pre", BEFORE, rows(), True), said("post", WORSE, rows(), True)
    )
    (change,) = compare_runs(yesterday, shuffled).changes
    sides = [said("pre", AFTER, rows()), said("post", WORSE, rows())]
    metric = resolve("accuracy", ("calm", "cross"))
    whole = summarise(sides, [metric], draws=100, seed=0).numbers[2, "logistic-l2", "accuracy"]
    assert change.unpaired == ""
    for end in ("value", "low", "high"):
        assert getattr(change.change, end) == pytest.approx(getattr(whole.delta, end))
    assert change.change_pre.value == change.change_pre.low == change.change_pre.high == 0


def test_other_rows_are_not_paired_and_have_a_wider_interval(
    yesterday: Path, tmp_path: Path
) -> None:
    paired = compare_runs(yesterday, today(tmp_path, WORSE)).changes[0].change
    moved = rows(first=1)
    now = write(tmp_path / "moved", said("pre", BEFORE, moved), said("post", WORSE, moved))
    (change,) = compare_runs(yesterday, now).changes
    assert change.unpaired == "other rows: 240 and 240, 239 in both"
    assert change.change.high - change.change.low > 1.2 * (paired.high - paired.low)
    # Each score's own variance by clusters of three rows, which are as good as independent here.
    shares = [1 - len(AFTER) / N, 1 - change.post[1] / 100]
    rough = 1.96 * 100 * np.sqrt(sum(p * (1 - p) / N for p in (shares[0], 1 - shares[1])))
    assert (change.change.high - change.change.low) / 2 == pytest.approx(rough, rel=0.2)
    assert "unpaired" in run(yesterday, now).stdout


def gaze(side: str, error: float) -> Prediction:
    """Gaze points that lie about so far off."""
    ids = rows()
    errors = error + 0.02 * np.random.default_rng(3).standard_normal(N)
    outcome = GazeOutcome(dict.fromkeys(GAZE_METRICS, errors))
    clusters = np.array([f"person-{i // 3}" for i in range(N)], dtype=object)
    heat, points = np.full((N, 4), 0.25, np.float32), np.zeros((N, 2))
    return Prediction("gaze", 2, "gaze-logit-l2", side, ids, clusters, outcome, heat, points)


def test_an_error_that_grows_is_a_fall(tmp_path: Path) -> None:
    metric = "average_l2_error"
    folders = []
    for name, error in (("then", 0.2), ("now", 0.25)):
        sides = gaze("pre", 0.2), gaze("post", error)
        numbers = summarise(sides, [resolve(metric, ())], draws=100, seed=0).numbers
        folder = write(
            tmp_path / name, said("pre", BEFORE, rows()), said("post", AFTER, rows()),
        )  # fmt: skip
        record = read_run(folder)
        comparison = record.comparisons[0].model_copy(
            update=dict(numbers[2, "gaze-logit-l2", metric])
            | {"question": "gaze", "probe": "gaze-logit-l2", "metric": metric}
            | {"higher_is_better": False}
        )
        content = encode(sides)
        task = record.task.model_copy(
            update={"kind": "gaze", "label_sets": {}, "metrics": {"gaze": (metric,)}}
        )
        changed = {"task": task, "comparisons": (comparison,)}
        changed["predictions_sha256"] = hashlib.sha256(content).hexdigest()
        write_run(folder, record.model_copy(update=changed), content)
        folders.append(folder)
    (change,) = compare_runs(*folders, max_drop=2.0).changes
    assert change.post == pytest.approx((20, 25), abs=0.5)
    assert change.change.value == pytest.approx(-5)
    assert change.word == "fell"
    assert compare_runs(*reversed(folders), max_drop=2.0).changes[0].word == "held"


def test_settings_that_differ_are_named(yesterday: Path, tmp_path: Path) -> None:
    record = json.loads((yesterday / "record.json").read_text(encoding="utf-8"))
    pair = PairCard(**(record["pair"] | {"post": "c", "post_digest": "c3" * 32}))
    now = today(tmp_path, AFTER, tool_version="2", seed=7, pair=pair)
    settings = {one.name: (one.first, one.second) for one in compare_runs(yesterday, now).settings}
    assert settings == {
        "sdiag": ("1", "2"), "post": ("b", "c"), "post weights": ("b2" * 6, "c3" * 6),
        "seed": ("0", "7"),
    }  # fmt: skip
    assert "different versions" in run(yesterday, now).stdout


def test_a_question_that_went_missing_closes_the_gate(yesterday: Path, tmp_path: Path) -> None:
    now = today(tmp_path, AFTER, comparisons=())
    assert run(yesterday, now).exit_code == 0
    closed = run(yesterday, now, "--max-drop", 2)
    assert closed.exit_code == DROPPED
    assert "mood of own on moods: the second has no declared comparison of it" in closed.stdout
    other = write(
        tmp_path / "f1", said("pre", BEFORE, rows()), said("post", AFTER, rows()),
        metric="macro_f1",
    )  # fmt: skip
    assert "declared in accuracy first and in macro_f1 second" in run(yesterday, other).stdout


def test_folders_are_matched_by_pair_and_task(yesterday: Path, tmp_path: Path) -> None:
    today(tmp_path, WORSE)
    whole = compare_runs(tmp_path / "yesterday", tmp_path / "today")
    assert [one.question for one in whole.changes] == ["mood"]
    task = TaskCard(
        name="others", kind="classes", social=True, label_sets={"mood": ("calm", "cross")},
        regions=("face",), metrics={"mood": ("accuracy",)}, cluster="subject", source="",
    )  # fmt: skip
    more = said("pre", BEFORE, rows()), said("post", AFTER, rows())
    write(tmp_path / "yesterday" / "own" / "others", *more, task=task)
    fewer = compare_runs(tmp_path / "yesterday", tmp_path / "today", max_drop=50.0)
    assert fewer.absent == ("own on others: the second has no such run",)
    assert not fewer.passed
    assert compare_runs(tmp_path / "today", tmp_path / "yesterday").new == ("own on others",)


def test_several_pairs_are_told_apart(yesterday: Path, tmp_path: Path) -> None:
    record = json.loads((yesterday / "record.json").read_text(encoding="utf-8"))
    for day, post, wrong in (("yesterday", "b2", AFTER), ("today", "c3", WORSE)):
        pair = PairCard(**(record["pair"] | {"name": "other", "post_digest": post * 32}))
        sides = said("pre", BEFORE, rows()), said("post", wrong, rows())
        write(tmp_path / day / "other" / "moods", *sides, pair=pair)
    today(tmp_path, AFTER)
    done = run(tmp_path / "yesterday", tmp_path / "today", "--max-drop", 2)
    assert done.exit_code == DROPPED
    assert "Fell by more than 2 points: mood of other on moods.\n" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [words[0] for words in lines if words[-1:] in (["fell"], ["held"])] == ["other", "own"]
    (setting,) = compare_runs(tmp_path / "yesterday", tmp_path / "today").settings
    assert (setting.name, setting.where) == ("post weights", ("other on moods",))


def test_other_classes_and_runs_that_did_not_finish_are_named(
    yesterday: Path, tmp_path: Path
) -> None:
    task = TaskCard(
        name="moods", kind="classes", social=True, label_sets={"mood": ("calm", "angry")},
        regions=("face",), metrics={"mood": ("accuracy",)}, cluster="subject", source="moods.csv",
    )  # fmt: skip
    today(tmp_path, AFTER, task=task)
    begun = tmp_path / "today" / "own" / "begun"
    begun.mkdir()
    (begun / "predictions.parquet").write_bytes(b"")
    found = compare_runs(tmp_path / "yesterday", tmp_path / "today", max_drop=50.0)
    assert found.absent == ("mood of own on moods: asked with other classes",)
    assert found.unshown == ("own/begun: in the second it did not finish",)
    assert not found.passed


def test_what_cannot_be_compared_is_refused(yesterday: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        compare_runs(yesterday, tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="--max-drop 2"):
        compare_runs(yesterday, yesterday, max_drop=float("nan"))
    now = today(tmp_path, AFTER)
    path = now / "record.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(record | {"schema_version": 2}), encoding="utf-8")
    with pytest.raises(DataError, match="schema version 1"):
        compare_runs(yesterday, now)
    path.write_text(json.dumps(record), encoding="utf-8")
    (now / "predictions.parquet").write_bytes(b"changed")
    with pytest.raises(DataError, match="SHA-256"):
        compare_runs(yesterday, now)
