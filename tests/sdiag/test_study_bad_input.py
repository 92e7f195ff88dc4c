"""Study files that are damaged or say the impossible: one message, and nothing is started."""

import pytest

from degradation.errors import ConfigError
from sdiag.study.encoders import study_pairs
from sdiag.study.reading import read_study, study_path
from sdiag.study.run import study_steps
from sdiag.study.world import World

LEAST = "name = 'small'\n[[pair]]\nmodel = 'tiny'\n[[task]]\nname = 'scenes-gaze'\n"
LONG = "k" * 5000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"x = {'[' * 5000}", ["as TOML", "Mend it"]),
        (f"seed = {'9' * 5000}\n{LEAST}", ["as TOML"]),
        (f"seed = -1\n{LEAST}", ["seed cannot be -1"]),
        (f"{LEAST}data_root = '~nobody-of-that-name/x'\n", ["data_root", "without ~"]),
        (LEAST.replace("[[pair]]", "[pair]"), ["pair cannot be", "[[pair]]"]),
        (f"{LEAST}{LONG} = 1\n", ["no key 'kkk", "Known: name, data_root"]),
    ],
    ids=range(6),
)
def test_damaged_studies_are_one_short_message(tmp_path, text, words):
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_study(path)
    said = str(caught.value)
    assert all(word in said for word in words), said
    assert len(said) < 800 + len(str(path))


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(LEAST, encoding="utf-8-sig")
    assert read_study(path).name == "small"


@pytest.mark.parametrize("name", [LONG, "a\0b", "", "."])
def test_names_that_no_file_has_are_refused(name):
    with pytest.raises(ConfigError, match="Ready studies"):
        study_path(name)


def test_what_is_asked_for_twice_is_refused(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(f"{LEAST}[train]\nsides = ['post', 'post']\n", encoding="utf-8")
    study = read_study(path)
    world = World(study, study_pairs(study, None), tmp_path / "cache", tmp_path / "results")
    with pytest.raises(ConfigError, match=r"'train .*' asked for 2 times"):
        study_steps(world)
