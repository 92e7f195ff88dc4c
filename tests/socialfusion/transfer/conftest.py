"""The settings that comparisons of the tests start from, and a trainer that needs no training."""

from functools import partial

import fusion_runs
import pytest

from socialfusion.records import FusionSettings


@pytest.fixture
def base():
    return FusionSettings(
        encoder="tiny:pre", tasks=("moods", "b-moods", "a-gaze"), language_model="lm", steps=10
    )


@pytest.fixture
def trainer(tmp_path):
    return partial(fusion_runs.fake_trainer, tmp_path)


@pytest.fixture
def made():
    """The makers of predictions and questions."""
    return fusion_runs
