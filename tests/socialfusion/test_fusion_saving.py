"""One folder holds all that was trained, nothing frozen, and comes back bit for bit."""

import json
import warnings

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from degradation.errors import ConfigError, WeightsError
from socialfusion.language import load_language
from socialfusion.model import SocialFusion


@pytest.fixture
def saved(make_model, tmp_path):
    """A model whose every weight differs from those of its seed, and its folder."""
    model = make_model(attention="prefix").eval()
    draw = torch.Generator().manual_seed(5)
    for one in model.trained_parameters().values():
        torch.nn.init.normal_(one, std=0.2, generator=draw)
    model.save_pretrained(tmp_path / "run")
    return model, tmp_path / "run"


@torch.no_grad()
def test_it_comes_back_bit_for_bit(saved, make_batch, questions) -> None:
    model, folder = saved
    again = SocialFusion.from_pretrained(folder)
    assert not again.training
    mine, theirs = model.trained_parameters(), again.trained_parameters()
    assert list(mine) == list(theirs)
    assert all(torch.equal(one, theirs[name]) for name, one in mine.items())
    assert again.config.to_dict() == model.config.to_dict()
    for question in questions.values():
        assert torch.equal(model(make_batch(question)), again(make_batch(question)))


def test_the_folder_holds_what_was_trained_and_nothing_else(saved) -> None:
    model, folder = saved
    assert {one.name for one in folder.iterdir()} == {
        "adapter", "config.json", "model.safetensors", "tokenizer", "trained.json",
    }  # fmt: skip
    manifest = json.loads((folder / "trained.json").read_text())
    trained = model.trained_parameters()
    assert manifest["trained"] == {name: list(one.shape) for name, one in trained.items()}
    assert manifest["parameters"] == sum(one.numel() for one in trained.values())
    assert manifest["frozen"]["language_model"]["digest"] == model.config.language_model_digest
    held = [load_file(folder / "model.safetensors")]
    held.append(load_file(folder / "adapter" / "adapter_model.safetensors"))
    assert sum(one.numel() for part in held for one in part.values()) == manifest["parameters"]
    adapter = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert adapter["base_model_name_or_path"] == "tiny"  # no folder of this machine
    assert len(adapter["target_modules"]) > 10
    assert adapter["target_modules"] == sorted(adapter["target_modules"])  # the same in every run


@torch.no_grad()
def test_peft_loads_the_adapter_on_the_bare_language_model(saved) -> None:
    model, folder = saved
    bare = load_language("tiny").model
    plain = bare(input_ids=torch.tensor([[1, 7, 105]])).logits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 with transformers 5.24
        adapted = PeftModel.from_pretrained(bare, str(folder / "adapter"))
    logits = adapted(input_ids=torch.tensor([[1, 7, 105]])).logits
    assert torch.equal(logits, model.causal(input_ids=torch.tensor([[1, 7, 105]])).logits)
    assert not torch.allclose(logits, plain, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "adapter/adapter_model.safetensors"]
)
def test_a_folder_that_is_not_whole_is_refused(saved, name: str) -> None:
    _, folder = saved
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f"has no {name}"):
        SocialFusion.from_pretrained(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "adapter/adapter_model.safetensors"])
def test_damaged_weights_are_refused(saved, name: str) -> None:
    _, folder = saved
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    with pytest.raises(WeightsError, match="damaged"):
        SocialFusion.from_pretrained(folder)


def test_weights_of_another_shape_or_name_are_refused(saved) -> None:
    _, folder = saved
    file = folder / "model.safetensors"
    weights = load_file(file)
    save_file({**weights, "boxes.vectors": weights["boxes.vectors"][:1].clone()}, file)
    with pytest.raises(WeightsError, match=r"boxes.vectors of \(4, 10\) in .* found \(1, 10\)"):
        SocialFusion.from_pretrained(folder)
    save_file({**weights, "boxes.more": torch.zeros(1)}, file)
    with pytest.raises(WeightsError, match=r"boxes.more of nothing"):
        SocialFusion.from_pretrained(folder)


def test_a_configuration_of_something_else_is_refused(saved) -> None:
    _, folder = saved
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    with pytest.raises(ConfigError, match="found one of llama"):
        SocialFusion.from_pretrained(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="Expected JSON"):
        SocialFusion.from_pretrained(folder)


def test_a_language_model_that_changed_is_refused(saved, tmp_path) -> None:
    _, folder = saved
    other = load_language("tiny")
    other.model.model.norm.weight.data[0] += 1
    other.model.save_pretrained(tmp_path / "other")
    other.tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(WeightsError, match="Expected the language model"):
        SocialFusion.from_pretrained(folder, language_model=str(tmp_path / "other"))


def test_a_language_model_that_moved_is_found(saved, make_batch, questions, tmp_path) -> None:
    model, folder = saved
    same = load_language("tiny")
    same.model.save_pretrained(tmp_path / "moved")
    same.tokenizer.save_pretrained(tmp_path / "moved")
    again = SocialFusion.from_pretrained(folder, language_model=str(tmp_path / "moved"))
    batch = make_batch(questions["relation"])
    assert torch.equal(model.scores(batch), again.scores(batch))
