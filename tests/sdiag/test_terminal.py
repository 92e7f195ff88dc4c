"""What a terminal is sent: no name moves the cursor, and options that mean nothing are refused."""

import pytest
import typer
from typer.testing import CliRunner

from degradation.errors import ConfigError
from sdiag import cli
from sdiag.commands.options import emit

NAME = "\x1b[2Jgone \x07\u202e\udcff"


def test_a_message_sends_no_control_characters(monkeypatch, capsys):
    def refused() -> None:
        raise ConfigError(f"Expected a name, found {NAME}.\nName another.")

    monkeypatch.setattr(cli, "app", refused)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == ConfigError.exit_code
    assert capsys.readouterr().err == "sdiag: Expected a name, found �[2Jgone ���.\nName another.\n"


def test_a_result_for_people_sends_none_and_json_keeps_the_name(capsys):
    emit({"name": NAME}, f"name\n{NAME}", as_json=False)
    assert capsys.readouterr().out == "name\n�[2Jgone ���\n"
    emit({"name": NAME}, "", as_json=True)
    assert "\\u001b[2Jgone" in capsys.readouterr().out


def seeded(command, path=()):
    """Every command of the tree that takes a seed."""
    for name, one in getattr(command, "commands", {}).items():
        yield from seeded(one, (*path, name))
    if any("--seed" in one.opts for one in command.params):
        yield path


@pytest.mark.parametrize("path", list(seeded(typer.main.get_command(cli.app))), ids=" ".join)
def test_a_seed_is_not_negative(path):
    done = CliRunner().invoke(cli.app, [*path, "--seed", "-1"])
    assert done.exit_code == 2
    assert "Invalid value for '--seed'" in done.output
