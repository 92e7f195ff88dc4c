"""Labels that another task gives away: the table that PISC's two label sets make."""

import numpy as np
import pytest

from degradation.audit import audit_tasks

FINE = ("friends", "family", "couple", "professional", "commercial", "none")
COARSE = ("intimate", "non-intimate", "none")
GROUP = (0, 0, 0, 1, 1, 2)
A, B, C = (0.1, 0.1, 0.3, 0.9), (0.4, 0.1, 0.6, 0.9), (0.7, 0.1, 0.9, 0.9)


def pair(row, picture, one, two, label):
    return row(picture, label=label, boxes={"person_a": one, "person_b": two})


def implied(tasks, album, tmp_path):
    found = audit_tasks(
        [(task, album.root) for task in tasks], cache=tmp_path, open_pictures=False
    ).implied
    return {("/".join(one.evaluated[:2]), "/".join(one.seen[:2])): one for one in found}


def test_fine_labels_give_coarse_ones_away_and_the_other_way_only_the_group(album, row, tmp_path):
    """Planted: how many pairs were met, how many labels disagree."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 200)
    pairs = [(f"{i // 2}.jpg", (A, B) if i % 2 else (B, C)) for i in range(200)]
    fine = [
        pair(row, name, *boxes, label) for (name, boxes), label in zip(pairs, labels, strict=True)
    ]
    coarse = [
        pair(row, name, *boxes[::-1], GROUP[label])  # the two people in the other order
        for (name, boxes), label in zip(pairs, labels, strict=True)
    ]
    coarse[0].label = (coarse[0].label + 1) % 3
    relation = album.task("relation", {"train": fine[:150], "test": fine[150:]}, classes=FINE)
    domain = album.task("domain", {"train": coarse[120:], "test": coarse[:120]}, classes=COARSE)
    found = implied([relation, domain], album, tmp_path)
    assert set(found) == {("domain/test", "relation/train"), ("relation/test", "domain/train")}

    full = found["domain/test", "relation/train"]
    assert (full.rows, full.of_rows) == (120, 120)
    assert full.agreement == pytest.approx(119 / 120)
    assert full.implied == pytest.approx(119 / 120)
    assert dict(full.mapping) == {
        fine: COARSE[group] for fine, group in zip(FINE, GROUP, strict=True)
    }
    groups = np.bincount([one.label for one in coarse[:120]], minlength=3)
    assert full.majority == pytest.approx(groups.max() / 120)

    group_only = found["relation/test", "domain/train"]
    assert (group_only.rows, group_only.of_rows) == (50, 50)
    assert group_only.backward == 1.0
    best = sum(
        max(np.sum(labels[150:] == fine) for fine in range(6) if GROUP[fine] == group)
        for group in range(3)
    )
    assert group_only.agreement == pytest.approx(best / 50)


def test_only_the_same_boxes_of_the_same_picture_are_the_same_thing(album, row, tmp_path):
    moved = tuple(side + 0.01 for side in A)
    rounded = tuple(side + 0.001 for side in A)
    seen = [pair(row, "1.jpg", A, B, 1)]
    evaluated = [
        pair(row, "1.jpg", rounded, B, 1),  # met
        pair(row, "1.jpg", B, A, 2),  # met
        pair(row, "1.jpg", moved, B, 1),
        pair(row, "1.jpg", A, C, 1),
        pair(row, "2.jpg", A, B, 1),
        pair(row, "1.jpg", A, B, -1),  # no label
    ]
    task = album.task("t", {"train": seen, "test": evaluated})
    (one,) = implied([task], album, tmp_path).values()
    assert (one.rows, one.of_rows, one.agreement, one.implied) == (2, 5, 0.5, 0.2)


def test_rows_without_a_seen_label_or_of_other_roles_say_nothing(album, row, tmp_path):
    hand = row("1.jpg", boxes={"hand": A})
    face = row("1.jpg", boxes={"face": A})
    tasks = [
        album.task("hands", {"train": [hand], "test": [row("2.jpg", boxes={"hand": A})]}),
        album.task("faces", {"train": [row("2.jpg", label=-1, boxes={"face": A})], "test": [face]}),
        album.task("faces2", {"train": [face], "test": [row("2.jpg", boxes={"face": A})]}),
    ]
    assert set(implied(tasks, album, tmp_path)) == {("faces/test", "faces2/train")}


def test_tasks_without_boxes_match_by_picture_and_repeats_count_once(album, row, tmp_path):
    train = [row("1.jpg", label=0), row("1.jpg", label=0), row("2.jpg", label=1)]
    test = [row("1.jpg", label=2), row("2.jpg", label=1), row("3.jpg", label=1)]
    (one,) = implied([album.task("t", {"train": train, "test": test})], album, tmp_path).values()
    assert (one.rows, one.of_rows, one.agreement) == (2, 3, 1.0)
    assert dict(one.mapping) == {"a": "c", "b": "b"}
