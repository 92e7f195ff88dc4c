"""From leaks that were planted in a data set to what a report says of them."""

import json
import shutil

import pytest
from conflict_worlds import small_encoder
from typer.testing import CliRunner

from degradation.encoders import registry
from sdiag.cli import app
from sdiag.study import encoders

pytestmark = pytest.mark.slow

PROBE = "[probe]\nblocks = [2]\ndraws = 100\narms = false\ncurve = false\nrefits = 0\n"


@pytest.fixture(scope="module", autouse=True)
def small_encoders():
    with pytest.MonkeyPatch.context() as patch:
        encoders.encoder_facts.cache_clear()
        for module in (registry, encoders):
            patch.setattr(module, "load_encoder", small_encoder)
        yield
    encoders.encoder_facts.cache_clear()


@pytest.fixture(scope="module")
def leaking(tmp_path_factory):
    """A miniature with a subject in two splits, and a test picture that is in training, too."""
    folder = tmp_path_factory.mktemp("leaking")
    data = folder / "hagrid"
    run("scenes", "export", "--as", "hagrid", data, "--quirk", "shared-subject")
    names = {
        split: sorted(
            name
            for file in (data / "hagrid_annotations" / split).glob("*.json")
            for name in json.loads(file.read_text())
        )
        for split in ("train", "test")
    }
    places = {one.stem: one for one in data.rglob("*.jpg")}
    shutil.copy(places[names["train"][0]], places[names["test"][0]])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        study("[audit]\n")
    return folder


@pytest.fixture
def folder(leaking, tmp_path, monkeypatch):
    shutil.copytree(leaking, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def study(audit, head=""):
    """Outcomes by stage of a study with this audit, or none."""
    with open("study.toml", "w", encoding="utf-8") as file:
        file.write(
            f"name = 'small'\n{head}[[pair]]\nmodel = 'tiny'\n[[task]]\nname = 'hagrid'\n"
            f"data_root = 'hagrid'\n{audit}{PROBE}[report]\nout = 'report'\n"
        )
    done = run("study", "study.toml", "--json", "--cache", "cache", "--results", "results")
    return {one["stage"]: one["outcome"] for one in json.loads(done)}


def report():
    with open("report/report.md", encoding="utf-8") as file:
        return file.read()


def test_planted_leaks_are_told_and_the_audit_is_kept(folder):
    said = "`hagrid`, 2 of 102 (1 by the same picture, 1 by the same subject)"
    assert f"Rows of test were seen in training, so scores flatter both sides: {said}" in report()
    assert "`sdiag audit --task hagrid=DATA --clean NAME` writes lists" in report()
    assert set(study("[audit]\n").values()) == {"kept"}


def test_rows_without_leaks_stand_beside(folder):
    assert study("[audit]\nclean = 'own'\n", head="rows = 'own'\n") == {
        "audit": "done", "extract": "kept", "probe": "done", "report": "done",
    }  # fmt: skip
    assert "The runs without these stand beside: `hagrid@own`." in report()
    assert "the list `own` leaves out 2 of 204 rows of train" in report()
    assert "sdiag audit --task hagrid=DATA --clean own" in report()
    (folder / "cache" / "rows" / "own" / "hagrid" / "train.txt").unlink()
    assert study("[audit]\nclean = 'own'\n", head="rows = 'own'\n")["audit"] == "done"


def test_an_audit_of_other_rows_is_called_that(folder):
    (folder / "hagrid" / "hagrid_annotations" / "train" / "dislike.json").unlink()
    assert study("")["probe"] == "done"
    assert "The audit of `hagrid` is of other rows than those probed" in report()
    assert "Rows of test were seen" not in report()
    assert study("[audit]\n")["audit"] == "done"
    assert "other rows" not in report()


def test_without_a_record_nobody_audited(folder):
    shutil.rmtree(folder / "results" / "audits")
    run("report", "--results", "results", "--out", "report")
    assert "Nothing in the records says that the splits of `hagrid` were audited" in report()
