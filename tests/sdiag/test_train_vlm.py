"""`sdiag train-socialfusion --vlm`: what is asked for, and what does not go together."""

import pytest
from typer.testing import CliRunner

import socialfusion.run
from degradation.errors import ConfigError
from sdiag.cli import app
from sdiag.commands.trainings import reference


class Asked(Exception):
    """Carries what would have been trained."""


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """A function that returns the name and settings of the run that a command asks for."""

    def stop(run, settings, **_):
        raise Asked(run, settings)

    monkeypatch.setattr(socialfusion.run, "train_socialfusion", stop)
    monkeypatch.setattr("sdiag.commands.train_socialfusion.extract_embedded", lambda *_: None)

    def ask(*options):
        done = CliRunner().invoke(
            app, ["train-socialfusion", "--cache", str(tmp_path), *options], catch_exceptions=True
        )
        assert done.exception is not None
        if not isinstance(done.exception, Asked):
            raise done.exception
        return done.exception.args

    return ask


def test_a_vlm_is_trained_in_place_of_socialfusion(asked):
    run, settings = asked(
        "--vlm", "Qwen/Qwen2-VL-2B-Instruct", "--task", "scenes-gaze", "--train-vision"
    )
    assert run == "scenes-gaze-vlm-seed0"
    assert (settings.vlm, settings.train_vision) == (True, True)
    assert settings.language_model == "Qwen/Qwen2-VL-2B-Instruct"
    # Not what suits the small parts that ship.
    assert (settings.lora_rank, settings.learning_rate, settings.dtype) == (32, 2e-4, "bfloat16")
    assert settings.max_pixels == 451584
    assert not asked("--task", "scenes-gaze")[1].vlm


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--vlm", "x/y", "--attention", "prefix"), "no --attention with --vlm"),
        (("--vlm", "x/y", "--language-model", "tiny"), "no --language-model with --vlm"),
        (("--max-pixels", "5000"), "Expected --vlm for --max-pixels"),
    ],
)
def test_options_without_effect_are_refused(asked, options, message):
    with pytest.raises(ConfigError, match=message):
        asked(*options)


def test_comparisons_start_from_the_settings_of_published_models():
    named = ["vlm=true", "language_model=x/y", "lora_rank=16"]
    settings = reference("tiny:pre", ["scenes-gaze"], None, named)
    assert settings.vlm
    assert (settings.language_model, settings.lora_rank) == ("x/y", 16)
    assert settings.learning_rate == 2e-4
    assert not reference("tiny:pre", None, None, None).vlm
