"""Language models from the package and from folders, and what is none."""

import json
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from tokenizers import Tokenizer
from transformers import AutoConfig, LlamaConfig

from degradation.encoders.shipped import tiny_folder
from degradation.errors import ConfigError, WeightsError
from socialfusion import language as module
from socialfusion.language import load_language, load_tokenizer


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(tiny_folder() / "language-model", tmp_path / "model")
    return tmp_path / "model"


def test_it_comes_frozen(folder) -> None:
    language = load_language("tiny")
    assert not any(one.requires_grad for one in language.model.parameters())
    assert not language.model.training
    assert {one.dtype for one in language.model.parameters()} == {torch.float32}
    assert language.pad == 0
    copy = load_language(str(folder), dtype="bfloat16")
    assert {one.dtype for one in copy.model.parameters()} == {torch.bfloat16}


def test_without_a_token_to_fill_up_with_the_end_is_taken(folder) -> None:
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace('"pad_token": "<pad>",', ""))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "padding": None}))
    language = load_language(str(folder))
    assert language.tokenizer.pad_token_id is None
    assert language.pad == language.tokenizer.eos_token_id


def test_without_an_end_it_is_refused(folder) -> None:
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace('"eos_token": "<eos>",', ""))
    with pytest.raises(ConfigError, match="end-of-sequence token"):
        load_language(str(folder))


def test_a_tokenizer_with_more_words_than_the_model_is_refused(folder) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.add_tokens(["castle"])
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(ConfigError, match=r"at most the 156 words .* found word number 156"):
        load_language(str(folder))


@pytest.mark.parametrize("name", ["nowhere", "./nowhere/here", "/nowhere/here", "a/b/c"])
def test_a_folder_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(WeightsError, match=f"there is no folder {name}"):
        load_language(name)


def test_a_folder_without_a_model_is_refused(tmp_path) -> None:
    with pytest.raises(WeightsError, match=r"no config\.json"):
        load_tokenizer(str(tmp_path))


def test_a_folder_without_weights_is_refused(folder) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_language(str(folder))


def test_what_is_no_language_model_is_refused(folder) -> None:
    (folder / "config.json").write_text('{"model_type": "of another planet"}')
    with pytest.raises(ConfigError, match="Expected a causal language model"):
        load_language(str(folder))


def test_what_sees_is_refused(folder, monkeypatch) -> None:
    config = LlamaConfig()
    config.vision_config = {}
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda *_, **__: config)
    with pytest.raises(ConfigError, match="has a vision tower of its own"):
        load_language(str(folder))


def test_a_gated_model_says_what_to_do(monkeypatch) -> None:
    def gated(*_: object, **__: object) -> None:
        response: Any = SimpleNamespace(headers={}, request=None, status_code=403)
        try:
            raise GatedRepoError("no", response=response)
        except GatedRepoError as error:
            raise OSError("You are trying to access a gated repo.") from error

    monkeypatch.setattr(module.AutoTokenizer, "from_pretrained", gated)
    with pytest.raises(WeightsError, match=r"owner/model is gated.*hf auth login"):
        load_language("owner/model")
