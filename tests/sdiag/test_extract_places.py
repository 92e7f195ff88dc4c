"""The options of `sdiag extract` that say which commit is read, and whether the hub is asked."""

import pytest
from typer.testing import CliRunner

from degradation.encoders import registry
from degradation.errors import ConfigError, WeightsError
from sdiag.cli import app


def extract(*options: str) -> None:
    CliRunner().invoke(app, ["extract", *options], catch_exceptions=False, standalone_mode=False)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict]:
    """What `load_encoder` is called with, by name; at the side after it gives up."""
    calls: dict[str, dict] = {}

    def load_encoder(name: str, **options: object) -> object:
        calls[name] = options
        if len(calls) == 2:
            raise WeightsError("both sides were asked for")
        return registry_load("tiny:pre")

    registry_load = registry.load_encoder
    monkeypatch.setattr(registry, "load_encoder", load_encoder)
    return calls


def test_each_side_has_its_own_commit(asked: dict[str, dict]) -> None:
    with pytest.raises(WeightsError, match="both sides"):
        extract("--model", "qwen2-vl", "--pre-revision", "v1", "--post-revision", "b" * 40)
    pre, post = asked["dfn-h-378"], asked["qwen2-vl:post"]
    assert (pre["revision"], post["revision"]) == ("v1", "b" * 40)
    assert not pre["offline"]
    assert not post["offline"]


def test_offline_is_told_to_both_sides(asked: dict[str, dict]) -> None:
    with pytest.raises(WeightsError, match="both sides"):
        extract("--pre", "clip-l-336", "--post", "llava-1.5:post", "--offline")
    assert [one["offline"] for one in asked.values()] == [True, True]
    assert [one["revision"] for one in asked.values()] == [None, None]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "tiny"], "published encoders only, but tiny:pre got v1"),
        (["--model", "molmoe", "--model", "llava-1.5"], "Give one --model with it"),
    ],
)
def test_a_commit_of_nothing_is_refused(options: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        extract(*options, "--pre-revision", "v1")
