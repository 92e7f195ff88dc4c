"""What cannot be fine-tuned says so."""

import json
import shutil

import pytest
from pydantic import ValidationError
from transformers import AutoTokenizer

from degradation.encoders.shipped import tiny_folder
from degradation.errors import ConfigError, WeightsError
from socialfusion.vlm.config import VlmConfig
from socialfusion.vlm.model import build_vlm
from socialfusion.vlm.saving import load_vlm


def test_another_kind_of_model_is_refused(config):
    other = str(tiny_folder() / "language-model")
    with pytest.raises(ConfigError, match=r"Expected a Qwen2-VL to fine-tune, found .* type llama"):
        build_vlm(config.model_copy(update={"model": other}), seed=0)


def test_the_tokenizer_of_another_model_is_refused(config, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "mixed")
    other = AutoTokenizer.from_pretrained(tiny_folder() / "language-model")
    other.save_pretrained(tmp_path / "mixed")
    with pytest.raises(ConfigError, match="tokenizer of a Qwen2-VL"):
        build_vlm(config.model_copy(update={"model": str(tmp_path / "mixed")}), seed=0)


def test_other_weights_are_refused(config):
    with pytest.raises(WeightsError, match="digest 0123"):
        build_vlm(config.model_copy(update={"digest": "0123" * 16}), seed=0)


def test_damaged_weights_are_refused(config, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "half")
    weights = tmp_path / "half" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(WeightsError, match="half"):
        build_vlm(config.model_copy(update={"model": str(tmp_path / "half")}), seed=0)


def test_folders_that_are_no_models_are_refused(config, tmp_path):
    with pytest.raises(WeightsError, match=r"has no vlm\.json"):
        load_vlm(tmp_path)
    build_vlm(config, seed=0).save_pretrained(tmp_path)
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="damaged"):
        load_vlm(tmp_path)
    fields = json.loads((tmp_path / "vlm.json").read_text())
    (tmp_path / "vlm.json").write_text(json.dumps({**fields, "lora_rank": 0}))
    with pytest.raises(ConfigError, match=r"1 faults.*greater than or equal to 1"):
        load_vlm(tmp_path)


def test_a_batch_without_what_the_loss_needs_is_refused(config, questions, ask):
    model = build_vlm(config, seed=0)
    with pytest.raises(ConfigError, match="Expected labels"):
        model(ask(questions["expression"], [(2, 2)]))
    with pytest.raises(ConfigError, match="Expected points"):
        model(ask(questions["gaze"], [(2, 2)]))
    with pytest.raises(ConfigError, match="Expected a point in every sample"):
        model(ask(questions["gaze"], [(2, 2)], points=[[[float("nan")] * 2]]))
    with pytest.raises(ConfigError, match="answered by a point"):
        model.scores(ask(questions["gaze"], [(2, 2)]))
    with pytest.raises(ConfigError, match="answered in words"):
        model.heatmaps(ask(questions["expression"], [(2, 2)]))


def test_a_question_that_it_was_not_made_for_is_refused(config, questions, ask):
    one = config.model_copy(update={"questions": (questions["gaze"].as_json(),)})
    with pytest.raises(ConfigError, match="was asked scenes-expression/expression"):
        build_vlm(one, seed=0).scores(ask(questions["expression"], [(2, 2)]))


def test_configurations_are_checked(folder, questions):
    own = questions["gaze"].as_json()
    with pytest.raises(ValidationError, match="each question once"):
        VlmConfig(model=str(folder), questions=(own, own))
    with pytest.raises(ValidationError, match="min_pixels"):
        VlmConfig(model=str(folder), questions=(own,), min_pixels=10, max_pixels=9)
