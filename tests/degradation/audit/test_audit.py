"""Planted leaks are found, counted and removed; nothing else is."""

from pathlib import Path

import numpy as np
import pytest

from degradation.audit import audit_tasks, write_clean_lists
from degradation.errors import ConfigError
from degradation.row_lists import read_row_list
from degradation.tasks.task import Rows


def counts(audit) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Units and rows by evaluated split, seen split and kind, where there are any."""
    return {
        ("/".join(one.evaluated), "/".join(one.seen), one.kind): (one.units, one.rows)
        for one in audit.overlaps
        if one.units or one.rows
    }


def kept(cache: Path, name: str, task: str, split: str) -> set[str]:
    return {one.rpartition("/")[2] for one in read_row_list(cache, name, task, split)}


def test_files_near_duplicates_and_clusters_within_a_task(album, row, tmp_path):
    album.picture("a.jpg", 1)
    album.picture("a again.jpg", 1)  # the same bytes under another name
    album.picture("b.jpg", 2)
    album.picture("b small.jpg", 2, quality=60, scale=0.6)
    for name, seed in (("c.jpg", 3), ("d.jpg", 4), ("e.jpg", 5), ("f.jpg", 6)):
        album.picture(name, seed)
    task = album.task(
        "t",
        {
            "train": [
                row("a.jpg", cluster="1"),
                row("b.jpg", cluster="2"),
                row("c.jpg", cluster="3"),
                row("d.jpg", cluster="4"),
            ],
            "val": [row("d.jpg", cluster="5"), row("e.jpg", cluster="6")],
            "test": [
                row("a again.jpg", cluster="7"),
                row("a again.jpg", cluster="8"),
                row("b small.jpg", cluster="9"),
                row("f.jpg", cluster="3"),
                row("f.jpg", cluster="6"),
            ],
        },
        cluster="subject",
    )
    audit = audit_tasks([(task, album.root)], cache=tmp_path)
    assert counts(audit) == {
        ("t/test", "t/train", "file"): (1, 2),
        ("t/test", "t/train", "near"): (1, 1),
        ("t/test", "t/train", "cluster"): (1, 1),
        ("t/test", "t/val", "cluster"): (1, 1),
        ("t/val", "t/train", "file"): (1, 1),
    }
    examples = {one.kind: one.examples for one in audit.overlaps if one.units and one.rows}
    assert examples["near"] == (("t/test/2", "t/train/1"),)
    exposed = {one.evaluated[1]: (one.rows, one.of_rows, one.ways) for one in audit.exposed}
    assert exposed == {
        "val": (1, 2, {"file": 1, "near": 0, "cluster": 0}),
        "test": (5, 5, {"file": 2, "near": 1, "cluster": 2}),
    }
    totals = {one.kind: (one.of_units, one.of_rows) for one in audit.overlaps[-3:]}
    assert totals == {"file": (3, 5), "near": (3, 5), "cluster": (5, 5)}
    written = write_clean_lists(audit, "clean", tmp_path)
    assert kept(tmp_path, "clean", "t", "train") == set()
    assert kept(tmp_path, "clean", "t", "val") == {"0"}
    assert kept(tmp_path, "clean", "t", "test") == {"0", "1", "2", "3", "4"}
    assert [(one.split, one.kept, one.rows) for one in written] == [
        ("train", 0, 4), ("val", 1, 2), ("test", 5, 5),
    ]  # fmt: skip
    digest = task.read("train").digest()
    assert read_row_list(tmp_path, "clean", "t", "train", rows_digest=digest) == frozenset()


def test_by_name_opens_nothing_and_looks_at_names_only(album, row, tmp_path):
    task = album.task(
        "t",
        {
            "train": [row("a.jpg"), row("b.jpg"), row("copy of c.jpg")],
            "test": [row("b.jpg"), row("c.jpg")],
        },
    )
    audit = audit_tasks([(task, album.root)], cache=tmp_path, open_pictures=False)
    assert counts(audit) == {("t/test", "t/train", "file"): (1, 1)}
    assert {one.kind for one in audit.overlaps} == {"file"}
    write_clean_lists(audit, "clean", tmp_path)
    assert kept(tmp_path, "clean", "t", "train") == {"0", "2"}
    assert not (tmp_path / "audit").exists()


def test_leaks_across_tasks_and_roots(album, row, tmp_path):
    """What is in one task's test goes from the other's train, whatever it is called there."""
    album.picture("x.jpg", 1)
    album.picture("y.jpg", 2)
    other = type(album)(tmp_path / "elsewhere")
    other.root.mkdir()
    other.picture("same as x.jpg", 1)
    other.picture("z.jpg", 3)
    one = album.task("one", {"train": [row("y.jpg")], "test": [row("x.jpg")]}, cluster="subject")
    two = other.task(
        "two",
        {"train": [row("same as x.jpg", cluster="x.jpg"), row("z.jpg", cluster="y.jpg")],
         "test": [row("z.jpg")]},
        cluster="subject",
    )  # fmt: skip
    audit = audit_tasks([(one, album.root), (two, other.root)], cache=tmp_path)
    assert counts(audit) == {
        ("one/test", "two/train", "file"): (1, 1),
        ("two/test", "two/train", "file"): (1, 1),
    }  # and no clusters: equal names of subjects in two data roots mean nothing
    write_clean_lists(audit, "joint", tmp_path)
    assert kept(tmp_path, "joint", "one", "train") == {"0"}
    assert kept(tmp_path, "joint", "two", "train") == set()


def test_subjects_of_one_root_are_the_same_in_two_tasks(album, row, tmp_path):
    tasks = [
        (
            album.task(
                name,
                {"train": [row(f"{name}1.jpg", cluster="s1"), row(f"{name}2.jpg", cluster=own)],
                 "test": [row(f"{name}3.jpg", cluster="s2")]},
                cluster="subject",
            ),
            album.root,
        )
        for name, own in (("one", "s2"), ("two", "s3"))
    ]  # fmt: skip
    audit = audit_tasks(tasks, cache=tmp_path, open_pictures=False)
    assert counts(audit) == {
        ("one/test", "one/train", "cluster"): (1, 1),
        ("two/test", "one/train", "cluster"): (1, 1),
    }


def test_folds_leak_what_lies_in_two_clusters(album, row, tmp_path):
    for name, seed in (("a.jpg", 1), ("b.jpg", 2), ("c.jpg", 3), ("d.jpg", 4)):
        album.picture(name, seed)
    album.picture("c small.jpg", 3, quality=50, scale=0.5)
    rows = [
        row("a.jpg", cluster="1"), row("a.jpg", cluster="2"),  # one picture in two folds, perhaps
        row("b.jpg", cluster="1"), row("b.jpg", cluster="1"),  # always in the same
        row("c.jpg", cluster="3"), row("c small.jpg", cluster="4"),
        row("d.jpg", cluster="5"),
    ]  # fmt: skip
    audit = audit_tasks([(album.task("t", {"all": rows}), album.root)], cache=tmp_path)
    assert counts(audit) == {
        ("t/all", "t/all", "file"): (1, 2),
        ("t/all", "t/all", "near"): (2, 2),
    }
    examples = {one.kind: set(one.examples) for one in audit.overlaps}
    assert examples["file"] == {("t/all/0", "t/all/1")}
    assert examples["near"] == {("t/all/4", "t/all/5"), ("t/all/5", "t/all/4")}


def test_flat_and_unreadable_pictures_are_counted_and_compared_by_file(album, row, tmp_path):
    from PIL import Image

    for name, shade in (("white.png", 255), ("grey.png", 128), ("white again.png", 255)):
        Image.new("RGB", (40, 40), (shade,) * 3).save(album.root / name)
    (album.root / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    task = album.task(
        "t",
        {
            "train": [row("white.png"), row("broken.jpg"), row("absent.jpg")],
            "test": [row("grey.png"), row("white again.png"), row("broken.jpg")],
        },
    )
    audit = audit_tasks([(task, album.root)], cache=tmp_path)
    assert counts(audit) == {("t/test", "t/train", "file"): (2, 2)}
    assert [(one.flat, one.unreadable) for one in audit.splits] == [(1, 2), (2, 1)]


def test_of_a_track_the_middle_frame_counts(album, row, tmp_path):
    task = album.task("t", {"train": [row("a.jpg")], "test": [row("a.jpg")]}, frames=3)
    audit = audit_tasks([(task, album.root)], cache=tmp_path, open_pictures=False)
    assert counts(audit) == {("t/test", "t/train", "file"): (1, 1)}


def test_splits_that_mean_nothing_are_refused(album, row, tmp_path):
    task = album.task("t", {"dev": [row("a.jpg")]})
    with pytest.raises(ConfigError, match="'dev' in t"):
        audit_tasks([(task, album.root)], cache=tmp_path)


def test_lists_of_an_earlier_audit_are_replaced(album, row, tmp_path):
    tasks = [
        (album.task(name, {"train": [row("a.jpg")], "test": [row("b.jpg")]}), album.root)
        for name in ("one", "two")
    ]
    for some in (tasks, tasks[:1]):
        write_clean_lists(audit_tasks(some, cache=tmp_path, open_pictures=False), "x", tmp_path)
    with pytest.raises(ConfigError, match="it has one/test, one/train"):
        read_row_list(tmp_path, "x", "two", "train")


# ------------------------------------------------------------------ against a direct search


def directly(tasks: list, of: str) -> set[tuple[str, str, str]]:
    """Ids of evaluated rows that share a picture name or a cluster, with task and split seen."""
    order = {"train": 0, "val": 1, "test": 2}
    found = set()
    for evaluated in tasks:
        for seen in tasks:
            for late in ("val", "test"):
                for early in ("train", "val"):
                    if order[late] <= order[early]:
                        continue
                    names = {str(one) for one in column(seen.read(early), of)}
                    for i, one in enumerate(column(evaluated.read(late), of)):
                        if str(one) in names:
                            found.add((evaluated.read(late).ids[i], seen.spec.name, early))
    return found


def column(rows: Rows, of: str) -> np.ndarray:
    return rows.pictures[:, 0] if of == "file" else rows.clusters


@pytest.mark.parametrize("seed", range(5))
def test_random_tasks_agree_with_a_direct_search(album, row, tmp_path, seed):
    rng = np.random.default_rng(seed)
    tasks = [
        album.task(
            name,
            {
                split: [
                    row(f"{rng.integers(60)}.jpg", cluster=f"s{rng.integers(50)}")
                    for _ in range(int(rng.integers(1, 25)))
                ]
                for split in ("train", "val", "test")
            },
            cluster="subject",
        )
        for name in ("one", "two", "three")
    ]
    audit = audit_tasks([(task, album.root) for task in tasks], cache=tmp_path, open_pictures=False)
    for kind in ("file", "cluster"):
        direct = directly(tasks, kind)
        for one in audit.overlaps:
            if one.kind == kind:
                prefix = "/".join(one.evaluated) + "/"
                hits = [h for h in direct if h[0].startswith(prefix) and h[1:] == one.seen]
                assert one.rows == len(hits)
    hits = {hit[:2] for kind in ("file", "cluster") for hit in directly(tasks, kind)}
    for one in audit.exposed:
        prefix = "/".join(one.evaluated) + "/"
        assert one.rows == sum(h[0].startswith(prefix) and h[1] == one.seen for h in hits)
    write_clean_lists(audit, "clean", tmp_path)
    for task in tasks:
        for split, later in (("train", ("val", "test")), ("val", ("test",))):
            taken = {
                (of, str(one))
                for other in tasks
                for name in later
                for of in ("file", "cluster")
                for one in column(other.read(name), of)
            }
            rows = task.read(split)
            clean = {
                identity
                for i, identity in enumerate(rows.ids)
                if not any((of, str(column(rows, of)[i])) in taken for of in ("file", "cluster"))
            }
            assert read_row_list(tmp_path, "clean", task.spec.name, split) == clean
