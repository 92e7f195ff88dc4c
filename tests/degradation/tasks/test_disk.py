"""What cannot be read is named with its reason; what is there is known without opening it."""

import os
from pathlib import Path

import pytest

from degradation.errors import ConfigError, DataError
from degradation.tasks.disk import Pictures, data_folder, read_json, refused_json


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty file"),
        (b" \r\n", "empty file"),
        (b'{"a": [1, 2', "cut off"),
        (b'{"a": x}', "damaged"),
        (b'{"a": 1}{"a": 1}', "appends was probably run twice"),
        (b'{"a": 1}\r\n{"b": 2}\r\n', "appends was probably run twice"),
        (b"\xff\xfe{}", "found"),
    ],
)
def test_json_that_is_none_is_refused_with_its_fault(tmp_path: Path, content: bytes, words: str):
    file = tmp_path / "labels.json"
    file.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        read_json(file)
    assert str(file) in str(caught.value)


def test_json_with_windows_line_ends_is_read(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_bytes(b'{"a":\r\n [1, 2]}\r\n')
    assert read_json(tmp_path / "labels.json") == {"a": [1, 2]}


def test_one_document_that_a_stricter_parser_refuses_is_not_called_two(tmp_path: Path) -> None:
    error = refused_json(tmp_path / "a.json", b'{"x": NaN}', "invalid number")
    assert "invalid number" in str(error)
    assert "another text" not in str(error)


def test_missing_files_and_folders_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="fully unpacked"):
        read_json(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="sdiag doctor --task hagrid"):
        data_folder(None, "hagrid")
    with pytest.raises(DataError, match="found nothing"):
        data_folder(tmp_path / "none", "hagrid")


def test_pictures_are_known_by_listing_and_never_outside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "1.jpg").touch()
    (tmp_path / "2.jpg").touch()
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to(tmp_path)
    paths = ["a/1.jpg", "a/3.jpg", "b/1.jpg", "", "../2.jpg", "up/2.jpg", "loop/1.jpg", "a/.."]
    faults = Pictures(root).faults(paths)
    outside = "path leaves the data root"
    assert faults[:6] == ["", "no such file", "no such file", "no path", outside, outside]
    assert faults[6] in ("no such file", outside)
    assert faults[7] == outside


def test_a_folder_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda place: listed.append(place) or scandir(place))
    pictures = Pictures(tmp_path)
    pictures.faults([f"a/{i}.jpg" for i in range(100)])
    pictures.faults(["a/1.jpg"])
    assert len(listed) == 1
