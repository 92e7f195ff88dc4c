"""`sdiag cache ls` and `prune`: the pictures that `--cache-pictures` keeps."""

import json
from pathlib import Path

from typer.testing import CliRunner

from sdiag.cli import app


def cache(root: Path, *arguments: str) -> str:
    done = CliRunner().invoke(
        app, ["cache", *arguments, "--cache", str(root)], catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.stdout


def test_kept_pictures_are_listed_and_removed_when_asked_for(tmp_path: Path) -> None:
    picture = tmp_path / "pictures" / "0123" / "ab" / "cdef"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"x" * 3 * 2**20)
    assert "pictures  1 scaled  3.0 MB  (sdiag cache prune --pictures)" in cache(tmp_path, "ls")
    (line,) = json.loads(cache(tmp_path, "ls", "--json"))
    assert line == {"address": "pictures", "pictures": 1, "bytes": 3 * 2**20}
    assert cache(tmp_path, "prune", "--yes") == "Nothing to remove.\n"
    said = cache(tmp_path, "prune", "--pictures")
    assert said.startswith(f"Would remove (give --yes) {tmp_path / 'pictures'}: pictures that can")
    assert picture.exists()
    cache(tmp_path, "prune", "--pictures", "--yes")
    assert not picture.exists()
    assert cache(tmp_path, "ls", "--json") == "[]\n"
