"""Two trained models side by side: what changed, how far it is certain, and what is missing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fusion_runs import classes, gaze, record_of

from degradation.errors import ConfigError, DataError
from probes.metrics import resolve
from probes.predictions import encode
from probes.questions import Prediction
from probes.summary import summarise
from reports.compare import text as compare_text
from reports.compare.compare import compare_runs
from reports.compare.text import comparison_text
from socialfusion.records import FusionSettings, run_folder, write_fusion

MOODS, MOOD, GAZE = "moods/mood", "moods", "a-gaze"
CLASSES = ("sad", "glad", "mad")


def mood(right: float) -> Prediction:
    """The same rows are right as far as the share allows."""
    return classes(right, np.random.default_rng(1), n=300)


def looks(error: float) -> Prediction:
    return gaze(error, np.random.default_rng(2))


def write(
    results: Path, *said: Prediction, name: str = "joint", changes: dict[str, Any] | None = None,
    **settings: object,
) -> Path:  # fmt: skip
    """A run with these predictions."""
    tasks = tuple(one.question.partition("/")[0] for one in said)
    plain = {"encoder": "tiny:pre", "tasks": tasks, "language_model": "tiny", "steps": 40}
    data = encode(said)
    record = record_of(name, FusionSettings(**(plain | settings)), data)
    folder = run_folder(results, name)
    write_fusion(folder, record.model_copy(update=changes or {}), data)
    return folder


@pytest.fixture
def then(tmp_path: Path) -> Path:
    write(tmp_path / "then", mood(0.8), looks(0.1))
    return tmp_path / "then"


def test_a_model_against_itself_has_no_difference(then: Path) -> None:
    found = compare_runs(then, then, max_drop=0.0)
    assert found.settings == found.absent == found.new == found.unshown == ()
    assert {one.change.value for one in found.trainings} == {0.0}
    assert found.passed


def test_only_declared_scores_close_the_gate(then: Path, tmp_path: Path) -> None:
    write(tmp_path / "now", mood(0.6), looks(0.2), seed=1)
    found = compare_runs(then, tmp_path / "now", max_drop=2.0)
    told = {(one.question, one.metric): one for one in found.trainings}
    assert told[MOODS, "accuracy"].word == "fell"
    assert told[MOODS, "macro F1"].word == ""
    assert told[MOODS, "macro F1"].change.high < -2
    error = told["a-gaze/gaze", "L2 to the mean point"]
    assert error.scores[1] > error.scores[0]
    assert error.change.value == pytest.approx(error.scores[0] - error.scores[1])
    assert found.fell == (f"{MOODS} by joint", "a-gaze/gaze by joint")
    assert [(one.name, one.first, one.second) for one in found.settings] == [("seed", "0", "1")]
    assert compare_runs(tmp_path / "now", then, max_drop=2.0).passed
    text = comparison_text(found)
    assert "Fell by more than 2 points: moods/mood by joint, a-gaze/gaze by joint." in text
    assert "another training seed" in text


def test_the_interval_is_that_of_two_sides_of_one_run(then: Path, tmp_path: Path) -> None:
    write(tmp_path / "now", mood(0.7), looks(0.1))
    found = compare_runs(then, tmp_path / "now")
    (change,) = (one for one in found.trainings if one.metric == "accuracy")
    before, after = mood(0.8), mood(0.7)
    sides = [
        Prediction("mood", 2, "p", side, one.ids, one.clusters, one.outcome, one.scores)
        for side, one in (("pre", before), ("post", after))
    ]
    whole = summarise(sides, [resolve("accuracy", CLASSES)], draws=100, seed=0)
    expected = whole.numbers[2, "p", "accuracy"].delta
    assert change.unpaired == ""
    assert change.change.model_dump() == pytest.approx(expected.model_dump())


def test_other_rows_are_not_paired(then: Path, tmp_path: Path) -> None:
    fewer = classes(0.8, np.random.default_rng(1), n=270)
    write(tmp_path / "now", fewer, looks(0.1))
    found = compare_runs(then, tmp_path / "now")
    reasons = {one.question: one.unpaired for one in found.trainings}
    assert reasons == {MOODS: "other rows: 300 and 270, 270 in both", "a-gaze/gaze": ""}
    text = comparison_text(found)
    assert "Not paired, moods/mood by joint: other rows: 300 and 270, 270 in both." in text


def test_the_folder_of_a_model_is_enough_and_its_name_does_not_matter(
    then: Path, tmp_path: Path
) -> None:
    now = write(tmp_path / "now", mood(0.8), looks(0.1), name="other")
    (folder,) = (then / "socialfusion").iterdir()
    assert len(compare_runs(folder, now.rename(tmp_path / "moved")).trainings) == 5


def test_what_is_missing_is_named_and_closes_the_gate(then: Path, tmp_path: Path) -> None:
    write(tmp_path / "fewer", mood(0.8))
    found = compare_runs(then, tmp_path / "fewer", max_drop=50.0)
    assert found.absent == ("a-gaze/gaze by joint, average_l2_error: the second was not asked it",)
    assert len(found.unshown) == 2
    assert not found.passed
    assert compare_runs(tmp_path / "fewer", then).new[0] == "a-gaze/gaze by joint, average_l2_error"
    write(tmp_path / "two", mood(0.8), looks(0.1))
    write(tmp_path / "two", mood(0.8), name="mood")
    lacking = compare_runs(tmp_path / "two", then, max_drop=50.0)
    assert lacking.absent == ("mood: the second has no such trained model",)
    settings = FusionSettings(encoder="", tasks=(MOOD, GAZE), language_model="", steps=1)
    scores = record_of("", settings, b"").scores
    undefined = {"scores": scores[1:], "undefined": {f"{MOODS} accuracy": "no row decides it"}}
    write(tmp_path / "undefined", mood(0.8), looks(0.1), changes=undefined)
    (reason,) = compare_runs(then, tmp_path / "undefined").absent
    assert reason == f"{MOODS} by joint, accuracy: no row decides it"


def test_of_many_metrics_the_text_tells_what_changed(
    then: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "now", mood(0.5), looks(0.1))
    found = compare_runs(then, tmp_path / "now")
    assert len(found.trainings) == 5
    monkeypatch.setattr(compare_text, "MOST", 4)
    text = comparison_text(found)
    assert text.count(MOODS) == 2
    assert "a-gaze/gaze" not in text
    assert "Not changed for certain, and only in --json: 3." in text


def test_damage_is_refused(then: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "now", mood(0.8), looks(0.1))
    path = folder / "fusion.json"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole.replace('"schema_version": 1', '"schema_version": 2'), encoding="utf-8")
    with pytest.raises(DataError, match="schema version 1"):
        compare_runs(then, tmp_path / "now")
    path.write_text(whole[: len(whole) // 2], encoding="utf-8")
    with pytest.raises(DataError, match="JSON"):
        compare_runs(then, tmp_path / "now")
    path.write_text(whole, encoding="utf-8")
    (folder / "fusion-predictions.parquet").write_bytes(b"changed")
    with pytest.raises(DataError, match="SHA-256"):
        compare_runs(then, tmp_path / "now")


def test_predictions_that_do_not_fit_their_record_are_refused(then: Path, tmp_path: Path) -> None:
    """As after an edit of a record that is older than its own digest."""
    write(tmp_path / "lost", mood(0.8), looks(0.1))
    swapped = mood(0.8)
    swapped = Prediction("a-gaze/gaze", 2, "socialfusion", "pre", swapped.ids, swapped.clusters,
                         swapped.outcome, swapped.scores)  # fmt: skip
    write(tmp_path / "swapped", mood(0.8), swapped)
    with pytest.raises(DataError, match=r"no classes for a-gaze/gaze by joint.*found 3"):
        compare_runs(tmp_path / "lost", tmp_path / "swapped")
    write(tmp_path / "empty", mood(0.8), name="joint", tasks=(MOOD, GAZE))
    with pytest.raises(DataError, match="Expected predictions of a-gaze/gaze"):
        compare_runs(tmp_path / "lost", tmp_path / "empty")


def test_records_of_other_kinds_are_refused(then: Path, tmp_path: Path, make_run: Any) -> None:
    make_run(tmp_path / "probes", "tiny", "scenes-gaze")
    with pytest.raises(ConfigError, match=r"trained models \(joint\) and probes \(tiny scenes-gaz"):
        compare_runs(then, tmp_path / "probes")
