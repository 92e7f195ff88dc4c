"""PISC's miniature against its own files, its quirks, and the task that reads it."""

import json
import logging
from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pytest

from degradation.errors import DataError
from degradation.scenes.export.registry import export, quirks_of
from degradation.tasks import get_task
from degradation.tasks.pisc import ABOUT, DOMAIN_OF, DOMAINS, RELATIONSHIPS
from probes.metrics import resolve

TASKS = ("pisc-relationship", "pisc-domain")
SPLITS = ("train", "val", "test")
SMALL = 0.25
QUIRKS = quirks_of("pisc")
REFUSED = [name for name, text in QUIRKS.items() if text.startswith("refused:")]
SURVIVED = [name for name in QUIRKS if name not in REFUSED]


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pisc") / "clean"
    export("pisc", folder)
    return folder


def rows_of(folder, name):
    task = get_task(name, data_root=folder)
    return {split: task.read(split) for split in task.splits}


def question(name):
    return name.removeprefix("pisc-")


# ------------------------------------------------------------------ against the files


@pytest.mark.parametrize("name", TASKS)
def test_every_labelled_pair_is_a_row_with_its_label_and_boxes(clean, name):
    labels = json.loads((clean / f"{question(name)}.json").read_text())
    info = {e["id"]: e for e in json.loads((clean / "annotation_image_info.json").read_text())}
    stems = {"train": "trainidx", "val": "validx", "test": "testidx"}
    prefix = {"relationship": "relation", "domain": "domain"}[question(name)]
    for split, rows in rows_of(clean, name).items():
        place = clean / f"{question(name)}_split" / f"{prefix}_{stems[split]}.json"
        expected = {
            (number, pair): label
            for number in json.loads(place.read_text())
            for pair, label in labels[number].items()
        }
        assert len(rows) == len(expected)
        assert not rows.left_out
        for row, id_ in enumerate(rows.ids):
            number, pair = id_.split(":")
            first, second = pair.split("-")
            assert rows.labels[question(name)][row] == expected[number, f"{first} {second}"] - 1
            entry = info[int(number)]
            size = np.array([entry["imgW"], entry["imgH"]] * 2)
            a, b = (np.array(entry["bbox"][int(person) - 1]) / size for person in (first, second))
            np.testing.assert_allclose(rows.boxes["person_a"][row, 0], a, rtol=1e-6)
            np.testing.assert_allclose(rows.boxes["person_b"][row, 0], b, rtol=1e-6)
            union = [*np.minimum(a, b)[:2], *np.maximum(a, b)[2:]]
            np.testing.assert_allclose(rows.boxes["union"][row, 0], union, rtol=1e-6)
            assert rows.pictures[row, 0] == rows.clusters[row] == f"image/{number.zfill(5)}.jpg"


@pytest.mark.parametrize("name", TASKS)
def test_rows_of_one_picture_follow_one_another(clean, name):
    for rows in rows_of(clean, name).values():
        runs = [picture for picture, _ in groupby(rows.pictures[:, 0])]
        assert len(runs) == len(set(runs)) < len(rows)


@pytest.mark.parametrize("name", TASKS)
def test_every_class_is_in_every_split_and_some_pairs_are_unknown(clean, name):
    info = json.loads((clean / "annotation_image_info.json").read_text())
    people = {entry["id"]: len(entry["bbox"]) for entry in info}
    possible = labelled = 0
    for rows in rows_of(clean, name).values():
        labels = rows.labels[question(name)]
        classes = len(RELATIONSHIPS if name == "pisc-relationship" else DOMAINS)
        assert set(labels) == set(range(classes))
        for number in {int(id_.partition(":")[0]) for id_ in rows.ids}:
            possible += people[number] * (people[number] - 1) // 2
        labelled += len(rows)
    assert labelled < possible


def test_the_two_splits_overlap_as_those_of_the_release_do(clean):
    relationship, domain = (rows_of(clean, name) for name in TASKS)

    def shared(rows, other):
        pictures, seen = set(rows.clusters), set(other.clusters)
        return len(pictures & seen) / len(pictures)

    assert shared(domain["test"], relationship["train"]) == pytest.approx(0.80, abs=0.03)
    assert shared(domain["val"], relationship["train"]) == pytest.approx(0.79, abs=0.03)
    assert shared(relationship["test"], domain["train"]) == pytest.approx(0.61, abs=0.03)
    assert shared(relationship["val"], domain["train"]) == pytest.approx(0.62, abs=0.03)
    for splits in (relationship, domain):  # within one label set no picture is shared
        for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
            assert not set(splits[first].clusters) & set(splits[second].clusters)

    learned = dict(
        zip(relationship["train"].ids, relationship["train"].labels["relationship"], strict=True)
    )
    test = domain["test"]
    leaked = [
        (DOMAIN_OF[RELATIONSHIPS[learned[id_]]], DOMAINS[label])
        for id_, label in zip(test.ids, test.labels["domain"], strict=True)
        if id_ in learned
    ]
    wrong = sum(implied != found for implied, found in leaked)
    assert 0.6 < len(leaked) / len(test) < 0.85
    assert 1 <= wrong <= 0.05 * len(leaked)


def test_pictures_open_in_several_shapes(clean):
    task = get_task("pisc-relationship", data_root=clean)
    rows = task.read("train")
    shapes = {task.open(picture).size for picture in dict.fromkeys(rows.pictures[:, 0])}
    assert len(shapes) > 8
    assert any(width > height for width, height in shapes)
    assert any(height > width for width, height in shapes)


def test_a_larger_and_another_world_differ_and_the_same_is_the_same(tmp_path):
    digests = {}
    for name, scale, seed in (("a", 0.1, 1), ("b", 0.1, 1), ("c", 0.1, 2), ("d", 0.2, 1)):
        export("pisc", tmp_path / name, scale=scale, seed=seed)
        digests[name] = [rows.digest() for rows in rows_of(tmp_path / name, TASKS[0]).values()]
    assert digests["a"] == digests["b"]
    for first, second in pairwise("acd"):
        assert not set(digests[first]) & set(digests[second])


# ------------------------------------------------------------------ quirks


REASONS = {
    "box-missing": "no box for a person of the pair",
    "entry-missing": "no entry in annotation_image_info.json",
    "both-orders": "pair is listed twice",
    "label-out-of-range": "label is none of 1 to",
    "picture-missing": "no such file",
    "split-unknown": "no pair of the picture has a label",
    "split-overlap": "also in the split test",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Rows of a small clean miniature, by task."""
    folder = tmp_path_factory.mktemp("pisc") / "small"
    export("pisc", folder, scale=SMALL)
    return {name: rows_of(folder, name) for name in TASKS}


@pytest.mark.parametrize("quirk", SURVIVED)
def test_a_quirk_costs_rows_that_are_counted_and_changes_no_other(small, tmp_path, quirk):
    export("pisc", tmp_path / "miniature", scale=SMALL, quirks=[quirk])
    reasons = Counter()
    for name in TASKS:
        before, after = small[name], rows_of(tmp_path / "miniature", name)
        reasons.update(one.reason for rows in after.values() for one in rows.left_out)
        for split in SPLITS:
            old, new = before[split], after[split]
            assert set(new.ids) <= set(old.ids)
            place = {id_: row for row, id_ in enumerate(old.ids)}
            kept = old.take(np.array([place[id_] for id_ in new.ids], dtype=np.int64))
            assert kept.labels[question(name)].tolist() == new.labels[question(name)].tolist()
            assert (new.digest() == kept.digest()) == (quirk != "box-outside")
    wanted = REASONS.get(quirk)
    assert bool(reasons) == bool(wanted)
    assert all(reason.startswith(wanted) for reason in reasons)


def test_boxes_outside_are_cut_at_the_border(small, tmp_path):
    folder = tmp_path / "miniature"
    export("pisc", folder, scale=SMALL, quirks=["box-outside"])
    info = json.loads((folder / "annotation_image_info.json").read_text())
    assert min(value for entry in info for box in entry["bbox"] for value in box) < -100
    for split, rows in rows_of(folder, TASKS[0]).items():
        assert rows.ids.tolist() == small[TASKS[0]][split].ids.tolist()
        boxes = np.concatenate(list(rows.boxes.values()))
        assert boxes.min() == 0
        assert boxes.max() <= 1


def test_all_survivable_quirks_at_once_are_counted_by_few_reasons(tmp_path, caplog):
    export("pisc", tmp_path / "miniature", scale=0.5, quirks=SURVIVED)
    for name in TASKS:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            rows = rows_of(tmp_path / "miniature", name)
        reasons = Counter(one.reason for part in rows.values() for one in part.left_out)
        assert set(REASONS.values()) <= {reason.rstrip("0123456789 ") for reason in reasons}
        assert len(reasons) <= len(REASONS) + 1
        assert all(len(part) > 5 for part in rows.values())
        for part in rows.values():
            tally = Counter(one.reason for one in part.left_out)
            assert all(f"{count} x {reason}" in caplog.text for reason, count in tally.items())


WORDS = {
    "labels-from-0": "labels from 1 to",
    "people-from-0": "people counted from 1",
    "labels-swapped": "these are domains|from 1 to 3 .* others",
    "json-empty": "empty file",
    "json-twice": "one JSON document",
    "splits-packed": r"unzip (relationship|domain)_split\.zip",
    "images-in-parts": r"Run `cat images-00 images-01 images-02 images-03 \| tar xz`",
}


@pytest.mark.parametrize("quirk", REFUSED)
def test_what_is_wrong_as_a_whole_is_refused(tmp_path, quirk):
    # Enough pairs to tell domains from relationships that happen to be low.
    scale = 0.5 if quirk == "labels-swapped" else SMALL
    export("pisc", tmp_path / "miniature", scale=scale, quirks=[quirk])
    for name in TASKS:
        with pytest.raises(DataError, match=WORDS[quirk]):
            rows_of(tmp_path / "miniature", name)


def test_missing_image_parts_are_named(tmp_path):
    for part in (0, 1, 3):
        (tmp_path / f"images-0{part}").write_bytes(b"piece")
    for name in ("annotation_image_info.json", "domain.json"):
        (tmp_path / name).write_text("[]")
    with pytest.raises(DataError, match="Download images-02 as well, then run"):
        get_task("pisc-domain", data_root=tmp_path)


# ------------------------------------------------------------------ the task


@pytest.mark.parametrize("name", TASKS)
def test_the_task_says_what_it_is(clean, name):
    task = get_task(name, data_root=clean)
    spec = task.spec
    assert (spec.kind, spec.cluster, task.splits) == ("pair-classes", "picture", SPLITS)
    assert set(spec.roles) <= set(spec.regions)
    (metrics,) = spec.metrics.values()
    (classes,) = spec.label_sets.values()
    assert all(resolve(metric, classes) for metric in metrics)
    assert set(task.known) == set(SPLITS)
    assert "1059155" in ABOUT.page
    with pytest.raises(DataError, match="train, val, test"):
        task.read("validation")


def test_files_are_read_once_whatever_is_asked_for(clean, monkeypatch):
    calls = Counter()
    import degradation.tasks.pisc as module

    for name in ("read_people", "read_labels", "read_split"):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, n=name, r=real: (calls.update([n]), r(*a))[1])
    task = get_task("pisc-domain", data_root=clean)
    assert not calls
    for split in (*SPLITS, *SPLITS):
        task.read(split)
    assert calls == {"read_people": 1, "read_labels": 1, "read_split": 3}
