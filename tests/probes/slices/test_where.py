"""One probe of single tokens: what was planted in a place is found there."""

from dataclasses import replace

import numpy as np
import pytest
from slice_worlds import token_world, write_tokens

from degradation.errors import ConfigError, DataError
from degradation.row_lists import row_list_path, write_row_list
from probes.diagnosis.attention import attentive_builder
from probes.problems import ClassProblem, Features
from probes.questions import declared_arm, prepare_question
from probes.runs import read_analysis
from probes.selection import Plan, Stage, read_out
from probes.slices.records import WhereRecord
from probes.slices.tokens import draw_tokens, read_tokens
from probes.slices.where import where_pair
from probes.table import open_pair


def test_the_loss_is_found_in_the_face_and_nowhere_else(token_cache, tmp_path):
    root, task, _ = token_cache
    record = where_pair(root, task.name, "planted", results=tmp_path / "results")
    by = {(one.region, one.metric): one for one in record.regions}
    face, rest = by["face", "accuracy"], by["background", "accuracy"]
    assert face.pre.value > 90
    assert face.delta.high < -25
    assert face.p < 0.01
    assert abs(rest.delta.value) < 10
    assert face.delta.low <= face.delta.value <= face.delta.high
    assert face.delta.value == pytest.approx(face.post.value - face.pre.value)
    assert by["face", "log_loss"].delta.value < 0  # an error that rose is worse
    assert face.tokens + rest.tokens == pytest.approx(16)
    assert (face.n, face.clusters) == (100, 50)
    whole, boxed = record.maps
    assert (whole.frame, whole.rows, whole.columns) == ("picture", 4, 4)
    assert (boxed.frame, boxed.rows, boxed.columns) == ("face", 8, 8)
    inside = np.array([x if x is not None else np.nan for x in boxed.delta]).reshape(8, 8)
    assert np.nanmin(inside[2:6, 2:6]) < -40
    assert set(whole.n) == {100}
    (probe,) = record.probes
    assert (probe.fitted_pictures, probe.fitted_tokens) == (170, 8 * 170)
    assert (probe.predicted_pictures, probe.predicted_tokens) == (100, 1600)
    folder = tmp_path / "results" / "planted" / task.name
    assert read_analysis(folder, "where", WhereRecord) == record
    again = where_pair(root, task.name, "planted", results=tmp_path / "again")
    assert again == record


def test_all_tokens_fitted_is_the_probe_on_all_tokens(token_cache):
    root, task, splits = token_cache
    table, _ = open_pair(root, task.name, "planted")
    question = prepare_question(table, "mood", declared_arm(task), 0)
    train = np.arange(170)
    drawn = draw_tokens(train, 16, each=99, width=6, rng=np.random.default_rng(0))
    assert drawn.cells.tolist() == list(range(16)) * 170
    found = read_tokens(table, question, "pre", 0, drawn)
    x = np.concatenate([splits[s][1].reshape(-1, 6) for s in ("train", "val", "test")])
    labels = np.repeat(table.labels["mood"], 16)
    at = np.arange(270 * 16).reshape(270, 16)
    stage = Stage(((at[:120].ravel(), at[120:170].ravel()),), at[:170].ravel(), at[170:].ravel())
    problem = ClassProblem(Features(x.astype(np.float32)), labels, 3)
    whole = read_out(problem, Plan((stage,), "all tokens"))
    assert found.strength == whole.strength
    right = (whole.scores.argmax(1) == labels[at[170:].ravel()]).reshape(100, 16)
    assert (found.hits == right).mean() > 0.999
    own = whole.scores[np.arange(1600), labels[at[170:].ravel()]].reshape(100, 16)
    assert found.losses == pytest.approx(-np.log(own), abs=2e-3)


def test_tokens_are_drawn_evenly_and_within_memory(monkeypatch):
    rows = np.arange(0, 6000, 2)
    drawn = draw_tokens(rows, 10, each=4, width=8, rng=np.random.default_rng(0))
    assert (drawn.rows.reshape(-1, 4) == rows[:, None]).all()
    shares = np.bincount(drawn.cells, minlength=10) / len(drawn.cells)
    assert shares == pytest.approx(np.full(10, 0.1), abs=0.01)
    monkeypatch.setattr("probes.slices.tokens.MOST_VALUES", 8 * 500)
    few = draw_tokens(rows, 10, each=4, width=8, rng=np.random.default_rng(0))
    assert len(few.rows) == 500
    assert (np.diff(few.rows) >= 0).all()
    assert {(r, c) for r, c in zip(few.rows, few.cells, strict=True)} <= {
        (r, c) for r, c in zip(drawn.rows, drawn.cells, strict=True)
    }


def test_row_lists_choose_the_pictures(token_cache, tmp_path):
    root, task, splits = token_cache
    for split, (one, *_) in splits.items():
        path = row_list_path(root, "few", task.name, split)
        write_row_list(path, one.ids[::2], rows_digest=one.digest(), header={})
    record = where_pair(root, task.name, "planted", results=tmp_path, row_list="few", each=3)
    (probe,) = record.probes
    assert (probe.fitted_pictures, probe.predicted_pictures) == (85, 50)
    assert probe.fitted_tokens == 3 * 85
    face = next(one for one in record.regions if one.region == "face")
    assert face.delta.high < -25
    assert (tmp_path / "planted" / f"{task.name}@few" / "where.json").exists()


def test_without_token_maps_it_says_how_to_get_them(token_cache, tmp_path, spec, rows, write_world):
    root, task, _ = token_cache
    with pytest.raises(ConfigError, match="--block"):
        where_pair(root, task.name, "planted", results=tmp_path, block=7)
    with pytest.raises(ConfigError, match="among mood; found 'age'"):
        where_pair(root, task.name, "planted", results=tmp_path, questions=["age"])
    rng = np.random.default_rng(0)
    made = spec(name="plain", label_sets={"mood": ("a", "b")}, metrics={"mood": ("accuracy",)})
    labels = {"mood": rng.integers(0, 2, 30)}
    x = {"face": rng.normal(size=(30, 1, 4))}
    other = write_world(
        made, {s: (rows(s, labels, rng=rng), x, x, None) for s in ("train", "test")}
    )
    with pytest.raises(
        ConfigError, match=r"found none. Run `sdiag extract --task plain .* --token-block 0`"
    ):
        where_pair(other, "plain", "planted", results=tmp_path)
    gaze = spec(name="look", kind="gaze", label_sets={}, metrics={"gaze": ("average_l2_error",)},
                roles=("head",))  # fmt: skip
    points = rng.random((30, 1, 2))
    heads = {
        s: (rows(s, {}, rng=rng, roles=("head",), points=points), *[{"head": x["face"]}] * 2, None)
        for s in ("train", "test")
    }
    with pytest.raises(ConfigError, match="asks for a point"):
        where_pair(write_world(gaze, heads), "look", "planted", results=tmp_path)


def test_tracks_have_token_maps_but_no_places_of_one_picture(tmp_path):
    task, splits = token_world(sizes={"train": 30, "test": 30})
    frames = {
        name: (
            replace(
                one,
                pictures=np.repeat(one.pictures, 2, axis=1),
                boxes={"face": np.repeat(one.boxes["face"], 2, axis=1)},
            ),
            *(np.concatenate([x, x], axis=1) for x in (pre, post)),
        )
        for name, (one, pre, post) in splits.items()
    }
    write_tokens(tmp_path, replace(task, kind="track"), frames)
    with pytest.raises(ConfigError, match="a track of frames"):
        where_pair(tmp_path, task.name, "planted", results=tmp_path)
    table, _ = open_pair(tmp_path, task.name, "planted")
    with pytest.raises(DataError, match="a track of 2 frames"):
        attentive_builder(table, "pre", 0, ("face",), 3, np.arange(60))
