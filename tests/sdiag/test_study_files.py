"""Study files: read, refused with the place and the nearest key, written out whole."""

import tomllib

import pytest
from typer.testing import CliRunner

from degradation.encoders.registry import get_pair
from degradation.errors import ConfigError
from degradation.tasks.registry import DEFAULT_TASKS, task_names
from sdiag.cli import app
from sdiag.study.reading import read_study, ready_studies, study_path, to_toml
from sdiag.study.schema import STAGES, Study
from sdiag.study.tiny import tiny_version

LEAST = 'name = "one"\n[[pair]]\nmodel = "tiny"\n[[task]]\nname = "scenes-gaze"\n'


def written(folder, more="", least=LEAST):
    path = folder / "study.toml"
    path.write_text(least + more, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[prob]\n", ["no key 'prob' at the top", "'probe'"]),
        ("[probe]\ndraw = 5\n", ["no key 'draw' in probe", "'draws'"]),
        ("modle = 'x'\n", ["no key 'modle' in task[1]", "name, data_root"]),
        ("[[pair]]\nmodel = 'erased'\nsiz = 3\n", ["no key 'siz' in pair[2]", "'size'"]),
        ("[[pair]]\nmodel = 'erased'\nsize = 'big'\n", ["pair[2].size cannot be 'big'"]),
        ("[[pair]]\nmodel = 'erased'\npre = 'tiny:pre'\n", ["pair[2]", "either `model`"]),
        ("[[pair]]\nmodel = 'erased'\nname = 'x'\n", ["pair[2]", "no `name`"]),
        ("[probe]\ndraws = 3\n", ["probe.draws cannot be 3", "100"]),
        ("[[ablate]]\nvalues = [1]\n", ["ablate[1].setting is missing"]),
        ("[[task]]\nname = 'scenes-gaze'\n", ["scenes-gaze is named twice"]),
        ("[slices]\n", ["[slices]", "[probe]"]),
        ("[gcd]\nagainst_transfer = true\n", ["pairwise"]),
        ("[train]\ntasks = ['hagrid']\n", ["hagrid", "no [[task]]"]),
        ("[extract]\ngeometry = 'round'\n", ["extract.geometry cannot be 'round'"]),
        ("[gcd\n", ["as TOML"]),
    ],
    ids=lambda value: value.replace("\n", " ") if isinstance(value, str) else None,
)
def test_what_a_study_cannot_say_is_refused_at_its_place(tmp_path, more, words):
    with pytest.raises(ConfigError) as caught:
        read_study(written(tmp_path, more))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "study.toml" in str(caught.value)


@pytest.mark.parametrize("margin", ["inf", "nan", "-1.0"])
def test_numbers_that_mean_nothing_are_refused(tmp_path, margin):
    with pytest.raises(ConfigError, match="margin cannot be"):
        read_study(written(tmp_path, least=f"margin = {margin}\n{LEAST}"))


def test_a_study_written_out_reads_back_as_itself(tmp_path):
    more = (
        '[train]\nsettings = {lora_rank = 4, aggregator = "", learning_rate = 1e-3}\n'
        "[[ablate]]\nsetting = 'connector-depth'\nvalues = [1, 3]\n[report]\nout = 'a \"b\" \\c'\n"
    )
    study = read_study(written(tmp_path, more))
    again = Study.model_validate(tomllib.loads(to_toml(study)))
    assert again == study
    assert "draws" not in to_toml(study)  # no [probe], so no stage
    assert "shard_rows = 256" in to_toml(study)


def test_data_roots_are_relative_to_the_file_of_the_study(tmp_path):
    (path,) = [written(tmp_path, "data_root = 'data'\n")]
    assert read_study(path).task[0].data_root == tmp_path / "data"


def test_names_that_are_neither_file_nor_ready_are_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"Did you mean 'three-families'"):
        study_path("tree-families")


@pytest.mark.parametrize("name", sorted(ready_studies()))
def test_ready_studies_say_what_they_need_and_can_be_made_tiny(name):
    study = ready_studies()[name]
    assert study.name == name
    assert study.needs is not None
    assert study.about
    for one in study.pair:
        assert one.pre or get_pair(one.model)
    assert {one.name for one in study.task} <= set(task_names())
    tiny = tiny_version(study)
    assert {one.name for one in tiny.task} <= set(DEFAULT_TASKS)
    for stage in STAGES:
        assert bool(getattr(tiny, stage)) == bool(getattr(study, stage))
    assert Study.model_validate(tiny.model_dump()) == tiny  # checks hold for the copy too


def test_ready_studies_are_the_five_of_the_paper():
    assert set(ready_studies()) == {
        "three-families", "gradient-conflict", "joint-against-single", "clip-and-dinov2",
        "connector-depth",
    }  # fmt: skip


def test_the_command_lists_shows_and_places_studies(tmp_path):
    listed = CliRunner().invoke(app, ["study", "--list"])
    assert "three-families" in listed.stdout
    assert "data:" in listed.stdout
    shown = CliRunner().invoke(
        app, ["study", "three-families", "--show", "--task", f"hagrid={tmp_path}"]
    )
    again = Study.model_validate(tomllib.loads(shown.stdout))
    assert {one.name: one.data_root for one in again.task}["hagrid"] == tmp_path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--list"),
        (["three-families", "--task", "hagrd=x"], "hagrd"),
        (["three-families", "--task", "hagrid"], "hagrid=DIR"),
    ],
)
def test_mistakes_on_the_command_line_are_one_message(arguments, words):
    done = CliRunner().invoke(app, ["study", *arguments])
    assert isinstance(done.exception, ConfigError)
    assert words in str(done.exception)
