"""A record as a file: the same bytes come back, and nothing else is read."""

import hashlib
import json
from typing import Literal

import pytest

from degradation.errors import DataError
from probes.record_files import check_predictions, read_record, write_record
from probes.records import FileRecord


class Small(FileRecord):
    schema_version: Literal[2] = 2
    scores: dict[str, float | None]


def sealed(**fields):
    """A file with the digest of its content, computed here anew."""
    content = {"schema_version": 2, "tool_version": "1"} | fields
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps(content | {"content_sha256": hashlib.sha256(plain.encode()).hexdigest()})


def test_a_record_comes_back_and_names_its_schema_first(tmp_path):
    path = tmp_path / "deep" / "small.json"
    record = Small(tool_version="1", scores={"a": 0.1, "b": None})
    write_record(path, record)
    assert read_record(path, Small, "probe") == record
    first, second = path.read_text().splitlines()[1:3]
    assert (first, second) == (' "schema_version": 2,', ' "tool_version": "1",')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expected a JSON result record"),
        ("[]", "found other JSON"),
        ('{"schema_version": 1, "tool_version": "0.9"}', r"version 2 .* found 1 .*sdiag 0\.9"),
        ('{"schema_version": 2, "tool_version": "1", "scores": {}}', "has no content_sha256"),
        (sealed(scores=3), "1 fault.*first at scores"),
        (sealed(scores={}, more=1), "first at more"),
    ],
)
def test_anything_else_is_refused_with_the_command_that_writes_it_anew(tmp_path, text, message):
    path = tmp_path / "small.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_record(path, Small, "probe")
    assert "sdiag probe" in str(caught.value) or "Move the file" in str(caught.value)


def test_predictions_are_those_of_the_record_or_refused(tmp_path):
    path, record = tmp_path / "p.parquet", tmp_path / "small.json"
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with pytest.raises(DataError, match=r"No such file.*sdiag probe"):
        check_predictions(path, empty, record=record, command="probe")
    path.write_bytes(b"")
    check_predictions(path, empty, record=record, command="probe")
    path.write_bytes(b"x")
    with pytest.raises(DataError, match=r"not the file that .*small\.json was made from"):
        check_predictions(path, empty, record=record, command="probe")
