"""Records come back as they were written, or not at all."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest

from degradation.errors import DataError
from probes.record_files import SEAL, read_record, write_record
from probes.records import Estimate, FileRecord


class Card(FileRecord):
    schema_version: Literal[1] = 1
    name: str
    numbers: dict[str, Estimate]
    labels: tuple[str, ...] = ()


CARD = Card(
    tool_version="0.1.0",
    name="naïve 名",
    numbers={"a": Estimate(value=0.1 + 0.2, low=-1e-300, high=12.0)},
    labels=("x",),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_record(tmp_path / "card.json", CARD)
    return tmp_path / "card.json"


def edited(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | changes), encoding="utf-8")


def test_a_record_comes_back_and_may_be_laid_out_anew(path: Path) -> None:
    assert read_record(path, Card, "probe") == CARD
    edited(path)
    assert read_record(path, Card, "probe") == CARD
    content = json.loads(path.read_text(encoding="utf-8"))
    assert list(content)[-1] == SEAL
    del content[SEAL]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_record(path, Card, "probe") == CARD  # as older versions wrote it


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"tool_version": "0.2.0"},
        {"numbers": {"a": {"value": 0.3, "low": -1e-300, "high": 12.0}}},
        {"numbers": {}},
        {"labels": ["x", "y"]},
        {"unknown": 1},
        {SEAL: ""},
        {SEAL: 3},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_a_record_that_was_changed_by_hand_is_refused(path: Path, changes: dict[str, Any]) -> None:
    edited(path, **changes)
    with pytest.raises(DataError, match="changed since.*Run `sdiag probe` again"):
        read_record(path, Card, "probe")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "[" * 100_000,
        lambda text: '{"schema_version": ' + '{"a": ' * 100_000,
        lambda text: text.replace("12.0", "1e400"),
        lambda text: text.replace("12.0", "NaN"),
        lambda text: text.replace("12.0", "-Infinity"),
        lambda text: text.replace("12.0", "9" * 5000),
        lambda text: text[:-30],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
    ],
    ids=range(10),
)
def test_what_is_no_record_is_refused_in_one_message(path: Path, damage: Any) -> None:
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=r"card\.json.*out of the results"):
        read_record(path, Card, "probe")
