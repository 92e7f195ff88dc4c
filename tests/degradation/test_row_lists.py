"""Row lists: what was written is read, and what does not fit is refused by name."""

import pytest

from degradation.errors import ConfigError, DataError
from degradation.row_lists import (
    read_row_list,
    row_list_names,
    row_list_path,
    write_row_list,
)

IDS = ["b", "# not a comment", " a with blanks ", "ä:1-2"]


def write(root, name="joint", task="pisc-domain", split="train", ids=IDS):
    path = row_list_path(root, name, task, split)
    write_row_list(path, ids, rows_digest="d" * 64, header={"rule": "some\nrule"})
    return path


@pytest.mark.parametrize("task", ["pisc-domain", "manifest:some/labels.csv"])
def test_ids_are_read_as_written(tmp_path, task):
    path = write(tmp_path, task=task)
    assert read_row_list(tmp_path, "joint", task, "train") == set(IDS)
    assert read_row_list(tmp_path, "joint", task, "train", rows_digest="d" * 64) == set(IDS)
    assert path.read_text(encoding="utf-8").startswith("# rule: some rule\n# rows digest: ddd")
    assert row_list_names(tmp_path) == ["joint"]


def test_the_place_is_what_a_reader_expects(tmp_path):
    assert write(tmp_path) == tmp_path / "rows" / "joint" / "pisc-domain" / "train.txt"


def test_no_rows_are_no_rows(tmp_path):
    write(tmp_path, ids=[])
    assert read_row_list(tmp_path, "joint", "pisc-domain", "train") == frozenset()


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"none at all.*sdiag audit --clean joint"):
        read_row_list(tmp_path, "joint", "pisc-domain", "train")
    write(tmp_path)
    with pytest.raises(ConfigError, match=r"'jiont'.*Did you mean joint.*Known: joint"):
        read_row_list(tmp_path, "jiont", "pisc-domain", "train")


@pytest.mark.parametrize(("task", "split"), [("lam", "train"), ("pisc-domain", "test")])
def test_an_unknown_task_or_split_lists_what_there_is(tmp_path, task, split):
    write(tmp_path)
    with pytest.raises(ConfigError, match=f"{task}, split {split}; it has pisc-domain/train"):
        read_row_list(tmp_path, "joint", task, split)


def test_other_rows_are_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match=r"digest eeeeeeeeeeee.*digest dddddddddddd.*Audit again"):
        read_row_list(tmp_path, "joint", "pisc-domain", "train", rows_digest="e" * 64)


@pytest.mark.parametrize("name", ["", "Joint", "a/b", "..", "a b"])
def test_names_are_plain(tmp_path, name):
    with pytest.raises(ConfigError, match="lower-case letters"):
        row_list_path(tmp_path, name, "lam", "train")


@pytest.mark.parametrize("one", ["a\nb", "", "a\r", "a\u2028b"])
def test_ids_that_do_not_fit_in_a_line_are_refused(tmp_path, one):
    with pytest.raises(ConfigError, match="line breaks"):
        write(tmp_path, ids=["x", one])


@pytest.mark.parametrize("text", [b"", b"a\nb\n", b"# ids:\na\n", b"\xff\xfe"])
def test_another_file_in_its_place_is_refused(tmp_path, text):
    write(tmp_path).write_bytes(text)
    with pytest.raises(DataError, match="row list"):
        read_row_list(tmp_path, "joint", "pisc-domain", "train")
