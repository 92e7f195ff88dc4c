"""Reports in a folder that holds other things, and reports that were killed on their way there."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from degradation.errors import ConfigError, DataError
from reports import report
from reports.report import write_report


@pytest.fixture
def results(tmp_path: Path, make_run: Callable[..., Path]) -> Path:
    make_run(tmp_path / "r", "tiny", "scenes-gaze")
    return tmp_path / "r"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_others_put_beside_the_figures_stays(
    results: Path, tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    out = tmp_path / "out"
    write_report(results, out)
    (out / "figures" / "thesis.png").write_bytes(b"mine")
    earlier = set(contents(out))
    (results / "tiny").rename(tmp_path / "elsewhere")
    make_run(results, "other", "scenes-gaze")
    write_report(results, out)
    assert (out / "figures" / "thesis.png").read_bytes() == b"mine"
    gone = earlier - set(contents(out))
    assert gone == {one for one in earlier if "-tiny." in one}  # figures of the earlier report
    assert any("-other." in one for one in contents(out))


def drafted(folder: Path, pair: str) -> Path:
    """A folder with all parts of a report of a pair."""
    names = [f"figures/scores-{pair}.{kind}" for kind in ("csv", "png", "svg")]
    for name in (*names, "figures/map.png", "numbers.csv", "report.html", "report.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = f"![x](figures/scores-{pair}.png) ![y](figures/map.png) {name} of {pair}"
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("last", range(9))
def test_a_kill_between_any_two_files_leaves_whole_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    before = contents(drafted(tmp_path / "out", "old"))
    whole = contents(drafted(tmp_path / "draft", "new"))
    replace, moves = Path.replace, iter(range(last))

    def killed(self: Path, target: Path) -> Path:
        if next(moves, None) is None:
            raise KeyboardInterrupt  # as good as a kill: nothing is put back
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    if last < len(whole):
        with pytest.raises(KeyboardInterrupt):
            report._move_into(tmp_path / "out", tmp_path / "draft")
        found = contents(tmp_path / "out")
        assert before.keys() <= found.keys() <= whole.keys() | before.keys()
        assert all(found[one] in (before.get(one), whole.get(one)) for one in found)
        assert found["report.md"] == before["report.md"]
        monkeypatch.undo()
        drafted(tmp_path / "again", "new")
        report._move_into(tmp_path / "out", tmp_path / "again")
    else:
        report._move_into(tmp_path / "out", tmp_path / "draft")
    assert contents(tmp_path / "out") == whole


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_are_not(
    results: Path, tmp_path: Path
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for name in (f"{dead.pid}-x", f"{os.getppid()}-x", "mine"):
        (tmp_path / "out" / f"{report.DRAFT}{name}").mkdir(parents=True)
    write_report(results, tmp_path / "out")
    left = {one.name for one in (tmp_path / "out").glob(f"{report.DRAFT}*")}
    assert left == {f"{report.DRAFT}{os.getppid()}-x", f"{report.DRAFT}mine"}


def test_names_that_no_folder_can_have_are_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="File name too long"):
        write_report(results, tmp_path / ("x" * 300))
    with pytest.raises(ConfigError, match="found no folder"):
        write_report(tmp_path / ("x" * 300), tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="found a file"):
        write_report(results, tmp_path / "link")


def test_a_folder_that_may_not_be_entered_is_not_passed_over(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def guarded(path: Path | str) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    (results / "closed").mkdir()
    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match=r"Permission denied at .*closed"):
        write_report(results, tmp_path / "out")
