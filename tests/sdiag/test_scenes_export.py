"""`sdiag scenes export`: a miniature on disk, what to do with it, and what it cannot do."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from degradation.errors import ConfigError
from degradation.scenes.export.registry import MINIATURES, quirks_of
from degradation.tasks import get_task
from sdiag.cli import app


def export(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["scenes", "export", *arguments], catch_exceptions=False)


def test_a_miniature_is_written_and_read_by_its_tasks(tmp_path: Path) -> None:
    folder = tmp_path / "my miniature"
    done = export("--as", "pisc", str(folder), "--scale", "0.1", "--seed", "3")
    assert done.exit_code == 0
    for task in MINIATURES["pisc"]:
        assert len(get_task(task, data_root=folder).read("train"))
        assert f"--task {task}" in done.stdout
    assert f"sdiag doctor --task pisc-relationship --data-root '{folder}'" in done.stdout


def test_json_says_what_was_written(tmp_path: Path) -> None:
    arguments = ("--as", "pisc", str(tmp_path / "pisc"), "--scale", "0.1", "--json")
    written = json.loads(export(*arguments, "--quirk", "json-empty").stdout)
    assert written == {
        "as": "pisc",
        "folder": str(tmp_path / "pisc"),
        "tasks": ["pisc-relationship", "pisc-domain"],
        "quirks": {"json-empty": quirks_of("pisc")["json-empty"]},
        "scale": 0.1,
        "seed": 0,
    }
    assert (tmp_path / "pisc" / "annotation_image_info.json").read_bytes() == b""


@pytest.mark.parametrize("name", MINIATURES)
def test_quirks_are_listed_where_nothing_is_to_be_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = export("--as", name).stdout
    listed = json.loads(export("--as", name, "--json").stdout)
    assert listed == {"as": name, "quirks": dict(quirks_of(name))}
    assert all(f"{quirk} " in text for quirk in listed["quirks"])
    assert not any(tmp_path.iterdir())


def test_every_data_set_is_named_in_the_help() -> None:
    text = export("--help").stdout
    assert all(name in text for name in MINIATURES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--as", "pics", "new"), "Did you mean pisc"),
        (("--as", "pisc", "new", "--quirk", "box-outsid"), "Did you mean box-outside"),
        (("--as", "pisc", "."), "empty folder"),
        (("--as", "pisc", "file"), "empty folder"),
    ],
)
def test_a_mistake_writes_nothing(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match=words):
        export(*arguments)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
